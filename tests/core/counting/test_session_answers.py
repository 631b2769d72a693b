"""What users say is joined with the conditions of their sessions, and counted once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.feedback_counts import DAY_S, REASONS, FeedbackTotals
from qoemon.core.counting.past_sessions import PastSessions, digests
from qoemon.core.feedback.day import DaySums, floating
from qoemon.core.feedback.prediction import predicted
from qoemon.core.plan.plan import Clock, Feedback, Plan, Service
from qoemon.core.qoe.bins import mos_level, mos_levels
from qoemon.core.sharding.sparse import sparse_counts
from tests.support.core import MEDIA, T0, VIDEO, WEB, plan
from tests.support.opinions import Core, Sent, sent, viewing
from tests.support.streams import FEWER

PLAN = replace(plan(VIDEO, WEB), feedback=Feedback(scores=("face",)))
LENGTH_S = 58
"""Of a viewing that ends in the last second before a tick."""


def totals(messages: list[Sent], until_s: int = 600, told: Plan = PLAN, service: int = 0) -> FeedbackTotals:
    snapshot = Core(told).run(messages, until_s)[-1].snapshot
    return snapshot.services[service].counts.feedback


def ratings(of: FeedbackTotals) -> dict[int, int]:
    return {rating: int(count) for rating, count in enumerate(of.ratings, 1) if count}


def unmatched(of: FeedbackTotals) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in zip(REASONS, of.unmatched, strict=True) if count}


def expected_at(mos: float, service: Service) -> np.ndarray:
    """The predicted shares of ratings at a MOS."""
    level = mos_level(np.array([mos]), service.scale)
    return predicted(mos_levels(service.scale)[level], service.theta, service.scale).shares[0]


def video_mos(stall_s: float) -> float:
    """MOS of a viewing with one stall of so many seconds."""
    play_s = LENGTH_S - stall_s
    return float(VIDEO.mapping(np.array([60 / play_s]), np.array([stall_s * 60 / play_s]))[0])


def test_a_rating_is_compared_with_the_condition_of_its_own_session() -> None:
    """Of the last rating interval, which differs from session to session."""
    stalled = [*viewing(58, "a", stall_s=6), sent(59, "a", rating=2, seq=1000)]
    fine = [*viewing(58, "b"), sent(59, "b", rating=5, seq=1000)]
    only = totals(stalled)
    assert ratings(only) == {2: 1}
    np.testing.assert_allclose(only.expected, expected_at(video_mos(6), VIDEO), atol=1e-5)
    both = totals([*stalled, *fine])
    assert ratings(both) == {2: 1, 5: 1}
    np.testing.assert_allclose(both.expected, only.expected + expected_at(5, VIDEO), atol=1e-5)


def test_a_rating_of_pages_is_compared_with_the_mean_over_the_pages_of_the_last_interval() -> None:
    early = sent(5, "a", "web", seq=1, response_s=30)
    pages = [early, *(sent(65 + s, "a", "web", seq=s, response_s=s) for s in (2, 4))]
    found = totals([*pages, sent(75, "a", "web", rating=3, seq=99)], service=1)
    assert ratings(found) == {3: 1}
    levels = mos_level(WEB.rated_at[[np.argmin(abs(WEB.bins.axes[0].values - s)) for s in (2, 4)]], WEB.scale)
    mean = mos_levels(WEB.scale)[(levels.sum() + 1) // 2]
    np.testing.assert_allclose(found.expected, expected_at(float(mean), WEB), atol=1e-2)


def test_a_rating_of_pictures_and_stalls_is_compared_with_both() -> None:
    told = plan(MEDIA)
    measured = b'"measures": {"q": 3.0}, "seq"'
    shown = [each._replace(payload=each.payload.replace(b'"seq"', measured)) for each in viewing(58)]
    found = totals([*shown, sent(70, rating=3)], told=told)
    np.testing.assert_allclose(found.expected, expected_at(3.0, MEDIA), atol=1e-5)


@pytest.mark.parametrize("after_s", [1, 59, 61, 200, 299])
def test_a_rating_may_come_after_the_end(after_s: int) -> None:
    """Also when the session has left the table; its condition is that of its last minute."""
    found = totals([*viewing(120, stall_s=0), *viewing(58, "a", stall_s=6), sent(58 + after_s, "a", rating=2)])
    assert (ratings(found), unmatched(found)) == ({2: 1}, {})
    np.testing.assert_allclose(found.expected, expected_at(video_mos(6), VIDEO), atol=1e-5)


def test_a_rating_may_come_after_a_session_that_fell_silent() -> None:
    found = totals([*viewing(58, stall_s=6, end=False), sent(250, rating=2)])
    assert ratings(found) == {2: 1}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([sent(5, "nobody", rating=4)], "no_session"),
        ([*viewing(58), sent(58 + 311, rating=4)], "no_session"),
        ([sent(1, seq=1, play_s=1), sent(2, rating=4)], "no_condition"),
        ([*viewing(58), sent(70, rating=6)], "out_of_scale"),
        ([*viewing(58), sent(70, rating=0.5)], "out_of_scale"),
        ([*viewing(58), sent(70, scores={"face": 1.5})], "out_of_scale"),
    ],
)
def test_what_cannot_be_compared_is_counted_by_reason(messages: list[Sent], reason: str) -> None:
    found = totals(messages)
    assert (ratings(found), unmatched(found)) == ({}, {reason: 1})


def test_a_rating_that_comes_too_late_for_a_session_that_is_still_known_says_so() -> None:
    told = replace(PLAN, feedback=Feedback(within_s=100))
    found = totals([*viewing(58, end=False), sent(58 + 101, rating=4)], told=told)
    assert (ratings(found), unmatched(found)) == ({}, {"too_late": 1})


def test_the_last_rating_of_a_session_counts() -> None:
    """Before and after its end; a former one that is delivered again changes nothing."""
    first, second, third = sent(50, rating=4, seq=101), sent(80, rating=2, seq=102), sent(150, rating=1, seq=103)
    reports = viewing(58)
    core = Core(PLAN)
    ticks = core.run([*reports, first, second, first._replace(arrival_s=T0 + 90), third, second], 600)
    final = core.evaluation.feedback["video"]
    assert sum(final.values(), DaySums.nothing(5, ("face",))).histogram.sum(axis=0).tolist() == [1, 0, 0, 0, 0]
    seen = np.array([tick.snapshot.services[0].counts.feedback.ratings for tick in ticks])
    assert (np.diff(seen, axis=0) >= 0).all()


@pytest.mark.parametrize(
    "after", [{"scores": {"face": 0.5}}, {"asked": True}, {"thumb": "down"}, {"rating": 9}, {"scores": {"face": 9}}]
)
@pytest.mark.parametrize("at_s", [150, 320])
def test_a_rating_keeps_its_condition_whatever_is_said_after_it(after: dict[str, Any], at_s: int) -> None:
    """A user who rates after a stall is not compared with the good minutes that follow, also after the end."""
    rated = [*viewing(300, stall_s=20), sent(41, rating=1, seq=85)]
    more = sent(at_s, seq=2000, **after)
    alone, found = totals(rated), totals([*rated, more])
    assert ratings(found) == {1: 1}
    np.testing.assert_array_equal(found.expected, alone.expected)
    np.testing.assert_array_equal(
        totals([*rated, more, more._replace(arrival_s=T0 + 330)]).expected, alone.expected
    )
    again = totals([*rated, sent(150, rating=1, seq=2000)])
    assert again.expected[4] > 0.99  # a newer rating is about the time before it


def test_a_counter_that_fell_back_goes_on_where_it_was_once_it_is_reached_again() -> None:
    some = [*viewing(58, "a"), sent(50, "a", rating=4, seq=101), sent(130, "a", rating=2, seq=102)]
    more = [*viewing(58, "b"), sent(200, "b", rating=4)]
    assert ratings(totals(some)) == {2: 1, 4: 1}
    assert ratings(totals([*some, *more])) == {2: 1, 4: 1}


def test_what_was_said_adds_up_to_one_answer() -> None:
    """Asked, then rated, with a thumb and a score: of one session, in whatever reports."""
    said = [sent(50, asked=True, seq=101), sent(55, rating=4.4, seq=102), sent(75, thumb="down", seq=103)]
    core = Core(PLAN)
    core.run([*viewing(58), *said, sent(70, scores={"face": -0.25}, seq=104)], 300)
    [day] = core.evaluation.feedback["video"].values()
    assert (day.sessions.sum(), day.asked.sum(), day.answered.sum()) == (1, 1, 1)
    assert (day.histogram.sum(axis=0).tolist(), day.thumbs_down.sum()) == ([0, 0, 0, 1, 0], 1)
    assert floating(day.score_sums).tolist() == [-0.25]


def test_sessions_without_an_answer_are_counted_beside_those_with_one() -> None:
    core = Core(PLAN)
    reports = [each for name in "abcd" for each in viewing(58, name)]
    said = [sent(70, "a", asked=True), sent(200, "b", rating=4), sent(5, "short", play_s=1, end=True)]
    core.run([*reports, *said], 600)
    [day] = core.evaluation.feedback["video"].values()
    assert (day.sessions.sum(), day.asked.sum(), day.answered.sum()) == (4, 2, 1)


def test_a_rating_counts_on_the_day_of_its_time() -> None:
    """Its ts is an hour before its arrival, and on the day before."""
    midnight = (T0 // DAY_S + 1) * DAY_S - T0
    begin = midnight // 60 * 60 - 120
    moved = [each._replace(arrival_s=each.arrival_s + begin) for each in viewing(58)]
    late = sent(begin + 200, rating=4, ts=T0 + begin + 100)
    early = {
        day: int(sums.answered.sum())
        for core in [Core(PLAN)]
        if core.run([*moved, late], begin + 600)
        for day, sums in core.evaluation.feedback["video"].items()
        if sums.answered.any()
    }
    assert early == {T0 // DAY_S: 1}


@pytest.mark.parametrize("clock", list(Clock))
@pytest.mark.parametrize("at_s", [59, 200])
@pytest.mark.parametrize("ts", [0, 1e9, T0 - DAY_S, T0 + DAY_S, 1.7e308])
def test_a_rating_with_an_impossible_time_counts_on_the_day_of_its_arrival(
    clock: Clock, at_s: int, ts: float
) -> None:
    told = replace(PLAN, timing=replace(PLAN.timing, clock=clock))
    core = Core(told)
    reports = [sent(at_s, ts=T0 + at_s, seq=at_s, play_s=at_s) for at_s in range(1, 59)]
    core.run([*reports, sent(at_s, rating=4, seq=1000, ts=ts)], 400)
    [(day, sums)] = core.evaluation.feedback["video"].items()
    assert (day, sums.answered.sum()) == (T0 // DAY_S, 1)


def test_no_day_gets_less_than_nothing_when_the_clock_is_set_over_midnight() -> None:
    """A session that is over has been counted on a day; a rating after the step does not take it from another."""
    core = Core(PLAN)
    core.run(viewing(58), 190)
    for part in (*core.pipelines, core.evaluation):
        part.shift(-DAY_S)
    for message in [sent(200 - DAY_S, rating=4)]:
        core.pipelines[0].apply([message])
    for at_s in range(210, 400, 10):
        core.evaluation.tick([sparse_counts(each.tick(T0 + at_s - DAY_S)) for each in core.pipelines])
    days = core.evaluation.feedback["video"]
    assert {day: sums.sessions.sum() for day, sums in days.items()} == {T0 // DAY_S: 1}


def test_a_new_run_rates_its_session_again() -> None:
    """A page that is loaded again, whose seq begins from the beginning."""
    again = [
        each._replace(arrival_s=each.arrival_s + 70, payload=each.payload.replace(b"{", b'{"run": 2, ', 1))
        for each in viewing(58)
    ]
    first = [each._replace(payload=each.payload.replace(b"{", b'{"run": 1, ', 1)) for each in viewing(58)]
    found = Core(PLAN)
    found.run([*first, *again, sent(58, rating=5, seq=900, run=1), sent(128, rating=3, seq=5, run=2)], 600)
    [day] = found.evaluation.feedback["video"].values()
    assert day.histogram.sum(axis=0).tolist() == [0, 0, 1, 0, 0]


SAYING = st.fixed_dictionaries(
    {},
    optional={
        "rating": st.sampled_from([1, 2, 3.5, 5, 9]),
        "thumb": st.sampled_from(["up", "down"]),
        "asked": st.booleans(),
        "scores": st.sampled_from([{"face": 0.5}, {"face": -1}, {"face": 7, "mood": 1}]),
    },
)
CLIENTS = st.lists(
    st.tuples(
        st.integers(20, 150),  # length
        st.sampled_from([0, 0, 3, 15]),  # stalling
        st.booleans(),  # whether it says its end
        st.lists(st.tuples(st.integers(1, 500), SAYING, st.booleans()), max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def stream(clients: list[tuple[int, int, bool, list[tuple[int, dict[str, Any], bool]]]]) -> list[Sent]:
    """Some of what is said is delivered twice."""
    messages = []
    for number, (length, stall_s, end, sayings) in enumerate(clients):
        name = f"s{number}"
        messages += viewing(length, name, stall_s=min(stall_s, length - 5), end=end)
        for seq, (at_s, said, again) in enumerate(sayings):
            messages.append(sent(at_s, name, seq=1000 + seq, **said))
            if again:
                messages.append(messages[-1]._replace(arrival_s=messages[-1].arrival_s + 7))
    return messages


def same(one: Core, other: Core) -> bool:
    """Whether both evaluations have the same sums, to the last digit."""
    found: list[dict[Any, Any]] = [{}, {}]
    for arrays, core in zip(found, (one, other), strict=True):
        for service, days in core.evaluation.feedback.items():
            for day, sums in days.items():
                arrays |= {(service, day, name): array.tolist() for name, array in sums.dump().items()}
    return found[0] == found[1]


RESTARTS = st.sampled_from([None, 30, 70, 130, 300])


@given(
    CLIENTS, st.sampled_from([1, 2, 1000]), st.sampled_from([1, 2, 3]), st.sampled_from([None, 30, 70, 130, 300])
)
@FEWER
def test_sums_are_the_same_over_batches_shards_and_restarts(
    clients: list[Any], at_once: int, shards: int, restart_s: int | None
) -> None:
    messages = stream(clients)
    whole, other = Core(PLAN), Core(PLAN, shards)
    one = whole.run(messages, 900)[-1].snapshot.services[0].counts.feedback
    two = other.run(messages, 900, at_once=at_once, restart_s=restart_s)[-1].snapshot.services[0].counts.feedback
    assert same(whole, other)
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in vars(one))


@given(st.lists(st.text(max_size=40), max_size=8, unique=True))
@FEWER
def test_a_digest_depends_on_its_text_alone(texts: list[str]) -> None:
    together = digests(texts)
    assert together.tolist() == [digests([text])[0] for text in texts]
    assert len({*together.tolist()}) == len(texts)


def test_past_sessions_are_found_until_their_time_is_over() -> None:
    past = PastSessions(300)
    past.add(["a", "b", "a"], np.array([10.0, 20.0, 15.0]), np.array([1, 2, 3]))
    past.add(["c"], np.array([200.0]), np.array([4]))
    assert [column.tolist() for column in past.find(["a", "c", "b"])] == [[15, 200, 20], [3, 4, 2]]
    past.forget(321)
    assert len(past) == 1
    assert np.isnan(past.find(["a"])[0]).all()
