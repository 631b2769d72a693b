"""Conditions from counters, compared with an oracle that keeps every report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.quality import SUM, UNMEASURED
from qoemon.core.plan.plan import Counters, Service
from tests.support.core import DELTAS, MEDIA, T0, VIDEO, WINDOWS_S, OneShard, base, batch, cells, levels, plan
from tests.support.oracle import MOS_STEP, Mixture, Oracle, Said, bin_of, level_of
from tests.support.streams import FEW, Step, streams

EU = ("eu",)


def one(n: int, t_ms: int, p_ms: int) -> Counter:
    return Counter({(EU, *bin_of(n, t_ms, p_ms)): 1})


def heard(monitor: OneShard, at_s: float, **counters: object) -> None:
    """One report of session a, at at_s after T0."""
    at_ms = T0 * 1000 + round(at_s * 1000)
    monitor.apply(batch([Said(**{"session": "a", "at_ms": at_ms, **counters})]), at_ms / 1000)


def stall_slices_s(monitor: OneShard) -> list[float]:
    """Stall seconds of session a in each slice of the rating interval, in the order of the ticks from T0 on."""
    slices = monitor.monitor.dump()["video/conditions/slices"]
    return (slices[1, :, 0] / 1000).tolist()


def agree(steps: list[Step], service: Service) -> None:
    """Every figure of the two is the same after each batch, and in the minutes after the last one."""
    monitor = OneShard(plan(service))
    cumulative, measured = service.counters is Counters.CUMULATIVE, bool(service.mapping.measures)
    oracle = Oracle(WINDOWS_S, cumulative=cumulative, rates_quality=measured)
    after = [(steps[-1][0] + passed_ms, []) for passed_ms in (30_000, 60_000, 400_000)]
    for now_ms, said in [*steps, *after]:
        oracle.apply(said, now_ms)
        if said:
            monitor.apply(batch(said), now_ms / 1000)
        (total,) = monitor.counts(now_ms / 1000)
        assert cells(total) == oracle.qos
        for length in WINDOWS_S:
            assert levels(total, length) == oracle.window(length)
        assert by_group(total.groups, total.active_sessions) == oracle.active()
        assert by_group(total.groups, total.open_stalls) == oracle.open_stalls()
        if measured:
            qualities = Counter()
            for rating in oracle.shown:
                qualities[rating.group] += rating.quality
            assert by_group(total.groups, total.quality[:, SUM]) == +qualities
            assert by_group(total.groups, total.quality[:, UNMEASURED]) == oracle.unmeasured
        assert {str(event): number for event, number in monitor.events.items() if number} == +oracle.events
        assert_same_totals(total, oracle)


def assert_same_totals(total: ServiceCounts, oracle: Oracle) -> None:
    """The conditions of closed intervals by axis, and the ratings that they predict."""
    for number, group in enumerate(total.groups):
        mine = [rating for rating in oracle.totals if rating.group == group]
        for axis, marginal in enumerate(total.marginals):
            found = Counter({index: count for index, count in enumerate(marginal[number].tolist()) if count})
            assert found == Counter(rating.cell[1 + axis] for rating in mine)
        expected = sum((ratings_at(rating.level[1]) for rating in mine), np.zeros(5))
        np.testing.assert_allclose(total.expected_ratings[number], expected, rtol=1e-9, atol=1e-9)


@cache
def ratings_at(level: int) -> np.ndarray:
    """What a user answers on 1..5 at a level of MOS."""
    return np.array(Mixture([(1 + level * MOS_STEP, 1)], VIDEO.theta).ratings)


def by_group(groups: tuple[tuple[str, ...], ...], numbers: np.ndarray) -> Counter:
    return Counter({group: number for group, number in zip(groups, numbers.tolist(), strict=True) if number})


@FEW
@given(streams())
def test_cumulative_counters_give_what_the_oracle_counts(steps: list[Step]) -> None:
    agree(steps, VIDEO)


@FEW
@given(streams(cumulative=False))
def test_delta_counters_give_what_the_oracle_counts(steps: list[Step]) -> None:
    agree(steps, DELTAS)


@FEW
@given(streams(measured=True))
def test_cumulative_counters_with_measures_give_what_the_oracle_counts(steps: list[Step]) -> None:
    agree(steps, MEDIA)


@FEW
@given(streams(measured=True, cumulative=False))
def test_delta_counters_with_measures_give_what_the_oracle_counts(steps: list[Step]) -> None:
    agree(steps, replace(MEDIA, counters=Counters.DELTA))


@pytest.fixture
def monitor() -> OneShard:
    return OneShard(plan(VIDEO))


def test_the_example_of_the_module_docstring_has_these_slices(monitor: OneShard) -> None:
    """Reports at 12, 35 and 41 s during one stall, after one at 11 s; slices from 0, 10, ... 50 s."""
    heard(monitor, 11, stalls=0, stall_ms=0, play_ms=11_000)
    heard(monitor, 12, stalls=1, stall_ms=1_000, play_ms=11_000, stalled=True)
    assert stall_slices_s(monitor) == [0, 1, 0, 0, 0, 0]
    assert base(monitor, T0 + 30) == one(1, 1_000 + 18_000, 11_000)
    assert stall_slices_s(monitor) == [0, 1, 0, 0, 0, 0]
    heard(monitor, 35, stalls=1, stall_ms=23_000, play_ms=11_000, stalled=True)
    assert stall_slices_s(monitor) == [0, 9, 10, 4, 0, 0]
    heard(monitor, 41, stalls=1, stall_ms=28_000, play_ms=11_000, stalled=True)
    assert stall_slices_s(monitor) == [0, 9, 10, 9, 0, 0]


def test_a_long_session_does_not_dilute_its_stalls(monitor: OneShard) -> None:
    """Two hours without a stall do not affect the condition of the last minute."""
    for minute in range(120):
        heard(monitor, 60 * minute + 5, stalls=0, stall_ms=0, play_ms=60_000 * (minute + 1))
    heard(monitor, 7205, stalls=4, stall_ms=20_000, play_ms=7_240_000)
    assert base(monitor, T0 + 7260) == one(4, 20_000, 40_000)


def test_first_report_of_an_old_session_sets_only_the_baseline(monitor: OneShard) -> None:
    heard(monitor, 5, stalls=50, stall_ms=500_000, play_ms=900_000)
    assert base(monitor, T0 + 10) == Counter()
    heard(monitor, 15, stalls=51, stall_ms=503_000, play_ms=907_000)
    assert base(monitor, T0 + 20) == one(1, 3_000, 7_000)


@pytest.mark.parametrize(("play_ms", "counts"), [(59_000, True), (59_001, False)])
def test_first_report_of_a_session_counts_up_to_an_age_of_one_interval(
    monitor: OneShard, play_ms: int, *, counts: bool
) -> None:
    heard(monitor, 5, stalls=1, stall_ms=1_000, play_ms=play_ms)
    assert base(monitor, T0 + 10) == (one(1, 1_000, play_ms) if counts else Counter())


def test_a_session_that_only_stalled_is_rated_worst_and_shown_with_one_stall(monitor: OneShard) -> None:
    heard(monitor, 5, stalls=1, stall_ms=5_000, play_ms=0)
    (total,) = monitor.counts(T0 + 10)
    assert cells(total) == Counter({(EU, 1, 61): 1})
    assert levels(total, 60) == Counter({(EU, 100): 1})
    assert monitor.snapshot(T0 + 10).services[0].distributions[60].mos[0] == pytest.approx(1.5, abs=1e-12)


def test_an_open_stall_is_shown_as_one_stall_however_little_was_played_and_however_long_it_runs(
    monitor: OneShard,
) -> None:
    """Per minute of media it is 60 after one second played, and without any media a number without end."""
    heard(monitor, 1, stalls=1, stall_ms=0, play_ms=1_000, stalled=True)
    for at_s in (60, 70, 120, 200):
        assert cells(monitor.counts(T0 + at_s)[0]) == Counter({(EU, 1, 61): 1})
    assert monitor.snapshot(T0 + 200).services[0].distributions[60].mos[0] == pytest.approx(1.5, abs=1e-12)


@pytest.mark.parametrize(("stall_ms", "rated"), [(2_999, 0), (3_000, 1)])
def test_below_min_active_nothing_is_rated(monitor: OneShard, stall_ms: int, rated: int) -> None:
    heard(monitor, 5, stalls=1, stall_ms=stall_ms, play_ms=2_000)
    assert base(monitor, T0 + 10).total() == rated


def test_an_open_stall_counts_as_it_runs(monitor: OneShard) -> None:
    heard(monitor, 5, stalls=1, stall_ms=0, play_ms=5_000, stalled=True)
    for at_s in (10, 20, 30, 60):
        assert base(monitor, T0 + at_s) == one(1, (at_s - 5) * 1000, 5_000)
    assert base(monitor, T0 + 70) == one(0, 60_000, 0)


def test_an_open_stall_is_not_counted_twice_across_closed_intervals(monitor: OneShard) -> None:
    """A stall of 200 s, reported at its start and at its end, sums to 200 s over the closed intervals."""
    heard(monitor, 30, stalls=1, stall_ms=0, play_ms=30_000, stalled=True)
    heard(monitor, 230, stalls=1, stall_ms=200_000, play_ms=30_000)
    heard(monitor, 240, stalls=1, stall_ms=200_000, play_ms=40_000)
    expected = Counter([(EU, level_of(1, 30_000, 30_000)), *[(EU, level_of(0, 60_000, 0))] * 3])
    assert levels(monitor.counts(T0 + 240)[0], 300) == expected
    expected[EU, level_of(0, 0, 10_000)] += 1
    assert levels(monitor.counts(T0 + 300)[0], 300) == expected


def test_stall_time_told_at_the_end_of_a_stall_lies_where_it_ran(monitor: OneShard) -> None:
    """A stall ran from 5 s to 20 s; reported at 55 s, it must leave the window with second 20."""
    heard(monitor, 5, stalls=1, stall_ms=0, play_ms=5_000, stalled=True)
    heard(monitor, 55, stalls=1, stall_ms=15_000, play_ms=40_000)
    assert base(monitor, T0 + 60) == one(1, 15_000, 40_000)
    assert base(monitor, T0 + 70) == one(0, 10_000, 35_000)
    assert base(monitor, T0 + 80) == one(0, 0, 35_000)


def test_oldest_open_stall_runs_from_when_it_was_first_heard_of(monitor: OneShard) -> None:
    heard(monitor, 5, stalls=1, stall_ms=0, play_ms=5_000, stalled=True)
    heard(monitor, 25, stalls=1, stall_ms=20_000, play_ms=5_000, stalled=True)
    assert monitor.counts(T0 + 40)[0].oldest_stall_s.tolist() == [35]
    heard(monitor, 45, stalls=1, stall_ms=40_000, play_ms=5_000)
    assert monitor.counts(T0 + 50)[0].oldest_stall_s.tolist() == [0]


def test_a_session_counts_in_the_group_of_its_last_report(monitor: OneShard) -> None:
    heard(monitor, 5, play_ms=10_000)
    heard(monitor, 6, play_ms=11_000, group=("us",))
    assert base(monitor, T0 + 10) == Counter({(("us",), 0, 0): 1})


def test_a_counter_that_falls_counts_from_zero_and_as_a_reset(monitor: OneShard) -> None:
    """13 s in 14 s, numbered from the beginning: a new run, which is rated as a session of its own."""
    heard(monitor, 1, seq=4, stalls=2, stall_ms=8_000, play_ms=20_000)
    heard(monitor, 15, seq=0, stalls=1, stall_ms=3_000, play_ms=10_000)
    assert base(monitor, T0 + 20) == one(2, 8_000, 20_000) + one(1, 3_000, 10_000)
    assert monitor.events[Event.RESET] == 1


def test_without_seq_the_second_report_shows_that_a_run_has_begun(monitor: OneShard) -> None:
    """The first one may be a report of before, delivered late; nothing of it is lost."""
    heard(monitor, 1, stalls=2, stall_ms=8_000, play_ms=20_000)
    heard(monitor, 15, stalls=1, stall_ms=3_000, play_ms=10_000)
    assert monitor.events[Event.RESET] == 0
    heard(monitor, 25, stalls=1, stall_ms=3_000, play_ms=20_000)
    assert base(monitor, T0 + 30) == one(2, 8_000, 20_000) + one(1, 3_000, 20_000)
    assert monitor.events[Event.RESET] == 1


def test_a_counter_that_falls_begins_no_run_that_had_no_time_to_happen(monitor: OneShard) -> None:
    """13 s in one second: a report of before, delivered late."""
    heard(monitor, 1, stalls=2, stall_ms=8_000, play_ms=20_000)
    heard(monitor, 2, stalls=1, stall_ms=3_000, play_ms=10_000)
    assert base(monitor, T0 + 10) == one(2, 8_000, 20_000)
    assert monitor.events[Event.RESET] == 0


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_may_begin_with_the_words_of_the_one_before(monitor: OneShard, *, ended: bool) -> None:
    """Nothing has happened yet: that is taken for a repeated report, unless the run before has ended."""
    for seq in range(4):
        heard(monitor, 1 + 10 * seq, seq=seq, stalls=0, stall_ms=0, play_ms=10_000 * seq, end=ended and seq == 3)
    heard(monitor, 40, seq=0, stalls=0, stall_ms=0, play_ms=0)
    assert monitor.events[Event.RESET] == ended
    heard(monitor, 50, seq=1, stalls=1, stall_ms=2_000, play_ms=8_000)
    assert base(monitor, T0 + 60) == one(0, 0, 30_000) + one(1, 2_000, 8_000)
    assert monitor.events[Event.RESET] == 1


def test_an_open_stall_ends_with_its_run(monitor: OneShard) -> None:
    """The page is loaded anew at 20 s: nobody reports the end of the stall, and the new run has none."""
    heard(monitor, 10, seq=1, stalls=1, stall_ms=0, play_ms=10_000, stalled=True)
    heard(monitor, 30, seq=0, stalls=0, stall_ms=0, play_ms=10_000)
    heard(monitor, 90, seq=1, stalls=0, stall_ms=0, play_ms=70_000)
    assert by_group((EU,), monitor.counts(T0 + 90)[0].open_stalls) == Counter()
    assert base(monitor, T0 + 100) == one(0, 0, 50_000)


def test_a_difference_belongs_to_the_time_since_the_session_was_last_heard(monitor: OneShard) -> None:
    """One report in three minutes, with a third of the time stalled: three minutes like that, rated late.

    The next minute is taken to be like that, too, until the next report says that it was perfect.
    """
    perfect, stalled = (EU, level_of(0, 0, 59_000)), (EU, level_of(2, 20_000, 40_000))
    heard(monitor, 60, stalls=0, stall_ms=0, play_ms=59_000)
    heard(monitor, 240, stalls=6, stall_ms=60_000, play_ms=179_000)
    assert levels(monitor.counts(T0 + 300)[0], 300) == Counter({perfect: 1, stalled: 3 + 1})
    heard(monitor, 320, stalls=6, stall_ms=60_000, play_ms=259_000)
    assert levels(monitor.counts(T0 + 360)[0], 300) == Counter({stalled: 3, perfect: 2})


def test_a_session_that_reports_seldom_keeps_its_condition_until_twice_its_pause(monitor: OneShard) -> None:
    """A report each 90 s, the last one at 185 s: it counts as heard until 364 s, and not at 365 s."""
    for at_s, stalls, stall_ms, play_ms in ((5, 0, 0, 5_000), (95, 3, 27_000, 68_000), (185, 6, 54_000, 131_000)):
        heard(monitor, at_s, stalls=stalls, stall_ms=stall_ms, play_ms=play_ms)
    for at_s in (190, 250, 360):
        assert base(monitor, T0 + at_s) == one(3, 27_000, 63_000)
    assert base(monitor, T0 + 370) == Counter()


def test_no_session_plays_and_stalls_for_longer_than_the_time_that_passed(monitor: OneShard) -> None:
    """A laptop slept: eight hours of stalling in a second are the second, and the slack of 4 s."""
    heard(monitor, 10, stalls=0, stall_ms=0, play_ms=10_000)
    heard(monitor, 11, stalls=1, stall_ms=28_800_000, play_ms=10_000)
    assert base(monitor, T0 + 20) == one(1, 5_000, 10_000)
    assert monitor.events[Event.TOO_FAST] + monitor.events[Event.MILLISECONDS] == 1


def test_a_stall_that_is_open_while_the_session_plays_is_none(monitor: OneShard) -> None:
    heard(monitor, 10, stalls=1, stall_ms=1_000, play_ms=9_000, stalled=True)
    for at_s in (20, 30):
        heard(monitor, at_s, stalls=1, stall_ms=1_000, play_ms=1000 * at_s - 1_000, stalled=True)
    assert base(monitor, T0 + 50) == one(1, 1_000, 29_000)
    assert monitor.events[Event.STALLED] == 2


short = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 2_000), st.integers(1_000, 3_000), st.booleans()),
    min_size=2,
    max_size=8,
)
"""Stalls, stall_ms, play_ms and whether a stall is open, each in 5 s."""


def short_session(news: list[tuple[int, int, int, bool]], times_ms: list[int]) -> list[Said]:
    """Reports of a session younger than a rating interval, whose last stall has ended."""
    sums = np.cumsum([each[:3] for each in news], axis=0).tolist()
    return [
        Said("a", T0 * 1000 + at_ms, EU, seq, *counters, stalled and seq < len(news) - 1)
        for seq, (counters, at_ms, (*_, stalled)) in enumerate(zip(sums, times_ms, news, strict=True))
    ]


@FEW
@given(short, st.data())
def test_lost_reports_leave_the_window_what_it_was(
    news: list[tuple[int, int, int, bool]], data: st.DataObject
) -> None:
    said = short_session(news, [5_000 * (i + 1) for i in range(len(news))])
    kept = [each for each in said[:-1] if data.draw(st.booleans())] + said[-1:]
    windows = []
    for sent in (said, kept):
        monitor = OneShard(plan(VIDEO))
        for each in sent:
            monitor.apply(batch([each]), each.at_ms / 1000)
        windows.append(base(monitor, T0 + 60))
    assert windows[0] == windows[1]


@FEW
@given(short, st.data())
def test_order_within_a_tick_does_not_matter(news: list[tuple[int, int, int, bool]], data: st.DataObject) -> None:
    """In one batch or in several: counters are cumulative, and a report that was overtaken says nothing new."""
    said = short_session(news, [45_000] * len(news))
    shuffled = data.draw(st.permutations(said))
    cut = data.draw(st.integers(0, len(said)))
    whole, parts = OneShard(plan(VIDEO)), OneShard(plan(VIDEO))
    whole.apply(batch(said), T0 + 45)
    for part in (shuffled[:cut], shuffled[cut:]):
        parts.apply(batch(part), T0 + 45)
    for at_s in (50, 60):
        assert base(whole, T0 + at_s) == base(parts, T0 + at_s)


def one_each(said: list[Said]) -> list[Said]:
    """The first report of each session."""
    return [each for at, each in enumerate(said) if [s.session for s in said[:at]].count(each.session) < 1]


@FEW
@given(streams(), st.data())
def test_redelivered_reports_change_nothing_but_their_count(steps: list[Step], data: st.DataObject) -> None:
    """QoS 1 delivers at least once. A repeated report with a seq does not change any window.

    One that comes after two newer ones looks like that of a second player, so a batch has one of a session.
    """
    steps = [(now_ms, one_each([s for s in said if s.seq is not None])) for now_ms, said in steps]
    once, again = OneShard(plan(VIDEO)), OneShard(plan(VIDEO))
    for (now_ms, said), (next_ms, _) in pairwise([*steps, (steps[-1][0] + 60_000, [])]):
        repeated = data.draw(st.permutations(said * 2)) if said else []
        for monitor, sent in ((once, said), (again, sorted(repeated, key=said.index))):
            monitor.apply(batch(sent), now_ms / 1000)
        again.apply(batch(said), now_ms / 1000)
        assert base(once, next_ms / 1000) == base(again, next_ms / 1000)
        for length in WINDOWS_S:
            one_of, other = (monitor.counts(next_ms / 1000)[0].windows[length] for monitor in (once, again))
            assert one_of.tobytes() == other.tobytes()


def test_absurd_deltas_stop_at_a_bound() -> None:
    """A billion stalls and seconds, thousands of times in one batch, are no more than the time that passed."""
    monitor = OneShard(plan(DELTAS))
    most = 10**12
    said = [Said("a", T0 * 1000 + 5_000, EU, i, 10**9, most, most, stalled=i % 2 == 0) for i in range(3_000)]
    for start in (0, 1_000, 2_000):
        monitor.apply(batch(said[start : start + 1_000]), T0 + 5 + start / 100)
    assert base(monitor, T0 + 40) == one(10**9, 30_000, 60_000)
    assert base(monitor, T0 + 500) == Counter()
    assert monitor.events[Event.TOO_FAST] == 3_000


def test_absurd_cumulative_counters_are_differences_like_others(monitor: OneShard) -> None:
    """Up to the time that passed, a second and the slack of 4 s: half of it stalled, half played twice as fast."""
    heard(monitor, 1, stalls=10**8, stall_ms=10**11, play_ms=10**11)
    heard(monitor, 2, stalls=0, stall_ms=0, play_ms=0)
    heard(monitor, 3, stalls=10**9, stall_ms=10**12, play_ms=10**12)
    assert base(monitor, T0 + 10) == one(10**9, 2_500, 5_000)


def test_slices_add_up_to_more_than_a_slice_may_hold() -> None:
    """A client that reports a billion stalls per tick is limited to the maximum in each slice; the sum is exact."""
    monitor = OneShard(plan(DELTAS))
    for tick in range(7):
        heard(monitor, 10 * tick, play_ms=9_000, stalls=10**9, stall_ms=1_000)
    assert base(monitor, T0 + 60) == one(6 * 10**6, 6_000, 54_000)
    (total,) = monitor.counts(T0 + 60)
    assert levels(total, 60) == Counter({(EU, level_of(6 * 10**6, 6_000, 54_000)): 1})
