"""What is impossible is not counted, and is counted as that, with the likely cause."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from qoemon.core.counting.counts import DOUBTS, Event
from qoemon.core.counting.findings import Finding
from qoemon.core.counting.plausibility import CODE, MOST_MS, SLACK_MS, Implausible, TimeCredit
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Service
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.core import T0, VIDEO, WEB, OneShard, base, levels, plan
from tests.support.oracle import bin_of, level_of

EU = ("eu",)
SLACK_S = SLACK_MS / 1000
REASON_OF = {code: reason for reason, code in CODE.items()}
Cut = tuple[float, float, Implausible | None]


class Credit:
    """The credit of one run, whose first report has just come."""

    def __init__(self) -> None:
        self.table = SessionTable(10)
        self.rows = self._begin()
        self.credit = TimeCredit(self.table)
        self.cut(-0.001, 0, 0)

    def _begin(self) -> np.ndarray:
        rows = self.table.find_or_create(["s"])
        self.table.hear(rows, np.zeros(1), np.zeros(1, np.bool_), np.zeros(1, np.int64))
        return rows

    def cut(self, gap_s: float, stall_s: float, play_s: float, *, backward: bool = False) -> Cut:
        """The seconds that are possible, and why others are not; gap_s after the report before, -0.001 for none."""
        added = np.array([[1], [round(stall_s * 1000)], [round(play_s * 1000)]])
        gap_ms = np.array([round(gap_s * 1000)])
        possible, code = self.credit.cut(self.rows, gap_ms, added, np.array([backward]), 60_000)
        assert possible[0].tolist() == [1]
        return possible[1, 0] / 1000, possible[2, 0] / 1000, REASON_OF.get(int(code[0]))

    def restart(self) -> None:
        state, self.table = self.credit.dump(), SessionTable(10)
        self.rows = self._begin()
        self.credit = TimeCredit(self.table)
        self.credit.load(state, self.rows)


POSSIBLE = [
    (10, 0, 10),
    (10, 10, 0),
    (10, 4, 6),
    (10, 0, 20),
    (10, 5, 10),
    (10, 0, 0),
    (1, 2, 2),
    (10, SLACK_S, 10),
]


@pytest.mark.parametrize(("gap_s", "stall_s", "play_s"), POSSIBLE)
def test_what_fits_in_the_time_that_passed_is_believed(gap_s: float, stall_s: float, play_s: float) -> None:
    """Stalling takes its time, playing half of it at double speed; the delivery may be off by the slack."""
    assert Credit().cut(gap_s, stall_s, play_s) == (stall_s, play_s, None)


IMPOSSIBLE = {
    # Gap, stall, play; what is left of them within the gap and the slack of 4 s.
    "played at three times the speed": (10, 0, 30, 0, 28),
    "the stall fits, the rest may have been played": (10, 10, 20, 10, 8),
    "nothing but stalling": (10, 20, 0, 14, 0),
    "neither fits: in proportion, and the rest played at double speed": (10, 28, 28, 7, 14),
    "a laptop slept": (1, 28_800, 0, 5, 0),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_seconds_beyond_the_time_that_passed_are_cut(name: str) -> None:
    gap_s, stall_s, play_s, stall_left_s, play_left_s = IMPOSSIBLE[name]
    stall_kept_s, play_kept_s, reason = Credit().cut(gap_s, stall_s, play_s)
    assert (stall_kept_s, play_kept_s) == (stall_left_s, play_left_s)
    assert reason in {Implausible.TOO_FAST, Implausible.MILLISECONDS}


def test_the_slack_is_given_once() -> None:
    """A client whose seconds are a fifth too long gains the slack, and then no more than the time that passes."""
    credit = Credit()
    counted_s = [sum(credit.cut(10, 12, 0)[:2]) for _ in range(20)]
    assert sum(counted_s) == 20 * 10 + SLACK_S
    assert counted_s[:3] == [12, 12, 10]


def test_time_that_was_not_used_can_be_reported_later() -> None:
    """A backlog that arrives at once counts in full: nothing for 200 s, then 20 reports in a moment."""
    credit = Credit()
    assert credit.cut(200, 10, 0) == (10, 0, None)
    assert {credit.cut(0, 10, 0) for _ in range(19)} == {(10, 0, None)}
    assert credit.cut(0, 10, 0) == (SLACK_S, 0, Implausible.TOO_FAST)


def test_unused_time_is_kept_for_an_hour_at_most() -> None:
    credit = Credit()
    credit.cut(10 * 3600, 0, 0)
    assert credit.cut(0, 3 * 3600, 0)[:2] == (MOST_MS / 1000, 0)


def test_a_first_report_is_believed_up_to_a_rating_interval() -> None:
    assert Credit().cut(-0.001, 20, 40) == (20, 40, None)
    assert Credit().cut(-0.001, 20, 41)[2] is Implausible.TOO_FAST
    stall_s, play_s, _ = Credit().cut(-0.001, 20, 50)
    assert (stall_s, play_s) == (20, 50) or stall_s + play_s <= 60


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (3, Implausible.TOO_FAST),
        (199, Implausible.TOO_FAST),
        (200, Implausible.MILLISECONDS),
        (1000, Implausible.MILLISECONDS),
        (5000, Implausible.MILLISECONDS),
        (5001, Implausible.TOO_FAST),
    ],
)
def test_hundreds_to_thousands_of_times_too_fast_are_probably_milliseconds(
    factor: int, reason: Implausible
) -> None:
    """Of the time that may have passed: 10 s and the slack."""
    seconds = factor * (10 + SLACK_S) / 2
    assert Credit().cut(10, seconds, seconds)[2] is reason


def test_where_play_s_fell_the_reason_is_the_position() -> None:
    """What was played since is unknown; half of the time that is left is as likely as any other part."""
    assert Credit().cut(10, 2, 1800, backward=True) == (2, 6, Implausible.POSITION)
    assert Credit().cut(10, 2, 3, backward=True) == (2, 3, Implausible.POSITION)


@pytest.mark.parametrize("at", range(6))
def test_credit_continues_after_a_restart(at: int) -> None:
    whole, resumed = Credit(), Credit()
    for number, told in enumerate([(10, 3, 7), (200, 5, 5), (0, 50, 50), (1, 90, 90), (10, 12, 0), (10, 12, 0)]):
        if number == at:
            resumed.restart()
        assert whole.cut(*told) == resumed.cut(*told)


def test_a_new_run_begins_with_the_slack_and_the_time_since_its_session_was_last_heard() -> None:
    feed = Feed()
    feed.count(5, 0, 0, 20, seq=4)
    feed.count(15, 1, 10.3, 0.1, seq=0)
    feed.count(25, 1, 10.3, 10.1, seq=1)
    assert (feed.monitor.events[Event.RESET], feed.implausible) == (1, {})
    feed.count(35, 1, 90, 20, seq=2)
    assert feed.implausible == {"too_fast": 1}


def test_states_without_credit_begin_with_the_slack() -> None:
    credit = Credit()
    credit.credit.load({}, credit.rows)
    assert credit.cut(10, 14, 0) == (14, 0, None)
    assert credit.cut(10, 10.001, 0)[2] is Implausible.TOO_FAST


def test_a_row_that_is_used_again_has_no_credit_of_the_former_run() -> None:
    credit = Credit()
    credit.cut(3600, 0, 0)
    credit.credit.remove(credit.rows)
    assert credit.cut(-0.001, 0, 0) == (0, 0, None)
    assert credit.cut(0, 100, 0) == (SLACK_S, 0, Implausible.TOO_FAST)


class Feed:
    """One session's reports to a whole shard; fields as on the wire."""

    def __init__(self, service: Service = VIDEO) -> None:
        self.service, self.monitor = service, OneShard(plan(service))

    def say(self, at_s: float, **fields: Any) -> None:
        route = Route(self.service.name, EU)
        batch, bad = batch_of([Report(**{"session": "s", **fields})], [0], [T0 + at_s], [route])
        assert not len(bad)
        self.monitor.apply(batch, T0 + at_s)

    def count(self, at_s: float, stalls: int, stall_s: float, play_s: float, **more: Any) -> None:
        self.say(at_s, stall_count=stalls, stall_s=stall_s, play_s=play_s, **more)

    @property
    def implausible(self) -> dict[str, int]:
        return {
            event.removeprefix("reports_implausible_"): number
            for event, number in self.monitor.events.items()
            if number and event.startswith("reports_implausible_")
        }

    def doubtful(self, at_s: float) -> int:
        """Reports in the last rating interval that conflict or are impossible in part."""
        return int(self.monitor.counts(T0 + at_s)[0].doubtful.sum())


def test_a_position_of_the_player_that_is_sought_back_is_told_and_its_stalls_count() -> None:
    """Case 3: 0/0/3600, 1/1/1800, 2/3/1801 within 2 s are 3 s of stalling in 6 s at most: the worst there is."""
    feed = Feed()
    feed.count(5, 0, 0, 3600, seq=1)
    feed.count(6, 1, 1, 1800, seq=2)
    feed.count(7, 2, 3, 1801, seq=3)
    assert levels(feed.monitor.counts(T0 + 10)[0], 60) == Counter({(EU, 100): 1})  # MOS 1.5
    assert feed.monitor.snapshot(T0 + 10).services[0].distributions[60].pow[0] == pytest.approx(0.89, abs=0.005)
    assert feed.implausible == {"position": 1}


def test_a_laptop_that_slept_stalls_no_longer_than_the_time_that_passed() -> None:
    """Case 4: in a second and the slack, 5 s; what it played before remains."""
    feed = Feed()
    for number in range(6):
        feed.count(5 + 10 * number, 0, 0, 10 * number, seq=number)
    feed.count(56, 1, 28_800, 50, seq=6)
    assert base(feed.monitor, T0 + 60) == Counter({(EU, *bin_of(1, 5_000, 50_000)): 1})
    assert feed.implausible == {"too_fast": 1}
    assert feed.doubtful(60) == 1


def test_milliseconds_for_seconds_are_told_with_a_sample() -> None:
    """Case 5: both counters grow a thousand times too fast."""
    feed = Feed()
    for number in range(1, 6):
        feed.count(10 * number, number, 1000 * number, 9000 * number, seq=number)
    # The first report is longer than the rating interval: a baseline.
    assert feed.implausible == {"milliseconds": 4}
    assert feed.doubtful(60) == 4
    ((service, event, finding),) = feed.monitor.monitor.drain_findings()
    assert (service, event) == ("video", Event.MILLISECONDS)
    assert finding == Finding(EU, "s", Implausible.MILLISECONDS, passed_s=10, stall_s=1000, play_s=9000)


@pytest.mark.parametrize(("longest_s", "told"), [(300, {}), (300.001, {"response": 1}), (1310, {"response": 1})])
def test_a_response_time_longer_than_a_silent_session_lives_is_impossible(
    longest_s: float, told: dict[str, int]
) -> None:
    """Case 5 for response times: `[840, 1310]`; what is possible in the same report counts."""
    feed = Feed(WEB)
    feed.say(5, response_s=[0.5, longest_s], seq=1)
    assert feed.monitor.counts(T0 + 10)[0].windows[60].sum() == (1 if told else 2)
    assert feed.implausible == told
    assert feed.doubtful(10) == len(told)
    findings = feed.monitor.monitor.drain_findings()
    assert [finding.longest_response_s for _, _, finding in findings] == [longest_s] * len(told)


def test_a_stall_that_is_said_to_be_open_while_playing_goes_on_is_none() -> None:
    """Case 6: `stalled` is never taken back. Its first 10 s count, while nothing else was known."""
    feed = Feed()
    for number in range(30):
        feed.count(5 + 10 * number, min(number, 1), 0, 10 * number, seq=number, stalled=number > 0)
    (tally,) = feed.monitor.counts(T0 + 300)
    assert tally.open_stalls.tolist() == [0]
    assert levels(tally, 60) == Counter({(EU, level_of(0, 0, 10_000)): 1})
    assert feed.implausible == {"stalled": 28}


def test_a_stall_that_is_open_may_have_played_a_little_before() -> None:
    """A new stall explains that time was played; so does a short one that began at once."""
    feed = Feed()
    feed.count(5, 0, 0, 5, seq=1)
    feed.count(15, 1, 0, 14, seq=2, stalled=True)
    feed.count(25, 2, 2, 22, seq=3, stalled=True)
    feed.count(35, 2, 12, 22, seq=4, stalled=True)
    (tally,) = feed.monitor.counts(T0 + 40)
    assert (tally.open_stalls.tolist(), feed.implausible) == ([1], {})


def heard(monitor: OneShard, at_s: float) -> tuple[int, int]:
    """Reports in the last rating interval, and doubtful ones."""
    (tally,) = monitor.counts(T0 + at_s)
    return int(tally.heard.sum()), int(tally.doubtful.sum())


def test_reports_heard_and_doubtful_are_those_of_the_interval_that_ends_with_the_tick() -> None:
    """Repeated reports are not heard; impossible ones and conflicts are doubtful. As before after a restart."""
    feed = Feed()
    for number in range(3):
        feed.count(5 + 10 * number, 0, 0, 10 * number, seq=number)
    feed.count(26, 0, 0, 20, seq=2)
    assert heard(feed.monitor, 30) == (3, 0)
    feed.count(31, 0, 900, 20, seq=4)
    assert heard(feed.monitor, 39) == (3, 0)
    assert heard(feed.monitor, 40) == (4, 1)
    state = {name: array.copy() for name, array in feed.monitor.dump().items()}
    feed.monitor = OneShard(plan(VIDEO))
    feed.monitor.load(state)
    assert heard(feed.monitor, 40) == (4, 1)
    assert heard(feed.monitor, 60) == (4, 1)
    # At 70 s the interval begins at 10 s.
    assert [heard(feed.monitor, at_s) for at_s in (70, 80, 90, 100)] == [(3, 1), (2, 1), (1, 1), (0, 0)]


def test_doubtful_reports_are_counted_by_event() -> None:
    feed = Feed()
    for k in range(0, 30, 10):
        feed.count(5 + k, 10, 50, 1000 + k)
        feed.count(7 + k, 0, 0, 1 + k)
    feed.count(36, 11, 900, 1030)
    (tally,) = feed.monitor.counts(T0 + 40)
    found = dict(zip(DOUBTS, tally.doubtful[0].tolist(), strict=True))
    # Of the first report of the other player it is not known yet that it conflicts.
    assert {event: number for event, number in found.items() if number} == {Event.CONFLICT: 2, Event.TOO_FAST: 1}
    assert {event: feed.monitor.events[event] for event in DOUBTS} == found
