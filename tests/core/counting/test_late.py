"""Conditions of closed rating intervals: handed on with the next one that closes, counted where they belong."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import to_dense
from qoemon.core.counting.counts import IntervalCounts
from qoemon.core.counting.late import LateConditions, LatePart
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.counting.unique_sessions import UniqueSessions
from qoemon.core.plan.plan import Clock, Service
from qoemon.core.qoe.bins import RESPONSE_BINS
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.core import T0, VIDEO, WEB, OneShard, levels, plan, shard_counts
from tests.support.oracle import level_of
from tests.support.streams import FEW

EU = ("eu",)
D = 60
LEVELS, BINS, GROUPS, ROWS = 5, 3, 2, 6
LONGEST = 4
"""Intervals in the longest window."""

Condition = tuple[int, int, int, int, int]
"""How many intervals before the newest one that has closed; row, group, level and bin."""
CONDITIONS = st.lists(
    st.tuples(*(st.integers(0, most) for most in (7, ROWS - 1, GROUPS - 1, LEVELS - 1, BINS - 1))), max_size=12
)


class Kept:
    """Late conditions of a table with some sessions, at the end of an interval."""

    def __init__(self) -> None:
        self.table = SessionTable(100)
        rows = self.table.find_or_create([f"s{row}" for row in range(ROWS)])
        self.table.hear(rows, np.zeros(ROWS), np.zeros(ROWS, np.bool_), np.zeros(ROWS, np.int64))
        self.unique = UniqueSessions(self.table, LONGEST)
        self.late = LateConditions(LEVELS, BINS, D, LONGEST * D)
        self.end_s = 100 * D
        """Of the interval that closes next."""

    def add(self, conditions: list[Condition]) -> None:
        for ago, *columns in conditions:
            self.late.add(LatePart(*(np.array([each]) for each in (self.end_s - D - ago * D, *columns))))

    def drain(self) -> dict[int, IntervalCounts]:
        """By the number of intervals before the newest one that has closed."""
        drained = self.late.drain(self.end_s, GROUPS, self.unique)
        return {(self.end_s - D - end_s) // D: counts for end_s, counts in drained.items()}


def recounted(conditions: list[Condition], column: int, size: int) -> dict[int, list[list[int]]]:
    """(G, size) counts by interval; what is older than the longest window is in one just before it."""
    found: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros((GROUPS, size), np.int64))
    for each in conditions:
        found[min(each[0], LONGEST)][each[2], each[column]] += 1
    return {ago: counts.tolist() for ago, counts in found.items()}


@FEW
@given(CONDITIONS)
def test_conditions_are_counted_in_the_interval_of_their_time(conditions: list[Condition]) -> None:
    kept = Kept()
    kept.add(conditions)
    drained = kept.drain()
    assert {ago: to_dense(counts.levels).tolist() for ago, counts in drained.items()} == recounted(
        conditions, 3, LEVELS
    )
    assert {ago: to_dense(counts.qos).tolist() for ago, counts in drained.items()} == recounted(conditions, 4, BINS)
    assert kept.drain() == {}


@FEW
@given(CONDITIONS)
def test_each_session_is_one_user_of_each_group_over_all_intervals(conditions: list[Condition]) -> None:
    """Of the newest of its intervals; of what is before the longest window there are no users."""
    kept = Kept()
    kept.add(conditions)
    users = np.zeros((2 * LONGEST, GROUPS), np.int64)
    for ago, counts in kept.drain().items():
        users[ago] += counts.users
        for end_s, sessions in counts.recounted.items():
            users[(kept.end_s - D - end_s) // D] -= sessions
    newest: dict[tuple[int, int], int] = {}
    for ago, row, group, *_ in conditions:
        if ago < LONGEST:
            newest[row, group] = min(ago, newest.get((row, group), ago))
    expected = np.zeros((2 * LONGEST, GROUPS), np.int64)
    for (_, group), ago in newest.items():
        expected[ago, group] += 1
    assert users.tolist() == expected.tolist()


def test_rows_with_something_late_are_known_until_it_is_handed_on() -> None:
    """They are needed for counting users, so they are not used again before."""
    kept = Kept()
    kept.add([(0, 1, 0, 2, 1), (7, 3, 0, 2, 1)])
    assert sorted(kept.late.rows().tolist()) == [1, 3]
    kept.drain()
    assert kept.late.rows().tolist() == []


@FEW
@given(CONDITIONS, CONDITIONS)
def test_late_conditions_continue_from_their_dump(before: list[Condition], after: list[Condition]) -> None:
    """The rows after loading are others."""
    kept, loaded = Kept(), Kept()
    kept.add(before)
    loaded.late.load(kept.late.dump(), np.arange(ROWS), np.arange(ROWS)[::-1])
    kept.add(after)
    loaded.add([(ago, ROWS - 1 - row, *rest) for ago, row, *rest in after])
    for one, other in zip(sorted(kept.drain().items()), sorted(loaded.drain().items()), strict=True):
        assert one[0] == other[0]
        assert to_dense(one[1].levels).tolist() == to_dense(other[1].levels).tolist()
        assert to_dense(one[1].qos).tolist() == to_dense(other[1].qos).tolist()
        assert one[1].users.tolist() == other[1].users.tolist()


def test_late_conditions_move_with_the_clock() -> None:
    kept = Kept()
    kept.add([(1, 0, 0, 4, 2)])
    kept.late.shift(10 * D)
    kept.end_s += 10 * D
    assert list(kept.drain()) == [1]


class Feed:
    """Reports with a ts to a whole shard that counts them at it; times in seconds after T0."""

    def __init__(self, *services: Any) -> None:
        self._plan = plan(*services, timing={"clock": Clock.REPORT})
        self.service, self.timing = services[0].name, self._plan.timing
        self.monitor = OneShard(self._plan)

    def say(self, arrival_s: float, ts: float, session: str = "s", group: str = "eu", **fields: Any) -> None:
        report = Report(session, ts=T0 + ts, **fields)
        batch, bad = batch_of([report], [0], [T0 + arrival_s], [Route(self.service, (group,))])
        assert not len(bad)
        self.monitor.apply(batch, T0 + arrival_s)

    def restart(self) -> None:
        state = {name: array.copy() for name, array in self.monitor.dump().items()}
        self.monitor = OneShard(self._plan)
        self.monitor.load(state)

    def windows(self, at_s: float) -> list[list[int]]:
        """Conditions and users of the windows of 60, 300 and 600 s, all groups."""
        (tally,) = self.monitor.counts(T0 + at_s)
        return [[int(counts.sum()), int(tally.users[length].sum())] for length, counts in tally.windows.items()]

    def rated(self, at_s: float) -> float:
        return float(self.monitor.counts(T0 + at_s)[0].expected_ratings.sum())


@pytest.mark.parametrize("restart", [False, True])
def test_late_responses_are_in_the_windows_that_cover_their_time(
    restart: bool,
) -> None:
    """One session with responses of 90 s and -80 s; both arrive at 400 s, within the interval 360..420."""
    feed = Feed(WEB)
    feed.say(350, 350, response_s=1.0, seq=1)
    for seq, ts in enumerate((90, -80), 2):
        feed.say(400, ts, response_s=2.0, seq=seq)
    if restart:
        feed.restart()
    # At 410 s the longer windows end at 360 s. They show what is not counted yet; the totals do not.
    assert feed.windows(410) == [[1, 1], [2, 1], [3, 1]]
    assert feed.rated(410) == pytest.approx(1)
    # 90 s is in 60..120, which 300 s before 420 s do not cover; -80 s is in -120..-60, which 600 s do.
    assert feed.windows(420) == [[0, 0], [1, 1], [3, 1]]
    assert feed.rated(420) == pytest.approx(3)
    assert feed.windows(540) == [[0, 0], [1, 1], [2, 1]]


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_a_session_with_something_late_only_is_a_user_of_the_windows_that_cover_it(
    restart: bool, new: bool
) -> None:
    """Before it is counted, and after it; also in a daemon that has just begun, and not closed any interval."""
    feed = Feed(WEB)
    if not new:
        feed.monitor.counts(T0 + 300)
        feed.monitor.counts(T0 + 360)
    feed.say(400, -80, response_s=1.0, seq=1)
    if restart:
        feed.restart()
    for at_s in (410, 420):
        assert feed.windows(at_s) == [[0, 0], [0, 0], [1, 1]], at_s


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_older_than_the_longest_window_is_in_the_totals_only(restart: bool) -> None:
    feed = Feed(WEB)
    feed.say(5, 5, response_s=1.0, seq=1)
    feed.say(6, -100_000, response_s=[1.0] * 7, seq=2)
    if restart:
        feed.restart()
    assert feed.windows(60) == [[1, 1], [1, 1], [1, 1]]
    (tally,) = feed.monitor.counts(T0 + 60)
    assert tally.expected_ratings.sum() == pytest.approx(8)
    assert [axis.sum() for axis in tally.marginals] == [8]
    assert RESPONSE_BINS.size == tally.qos.shape[1]


@pytest.mark.parametrize("restart", [False, True])
def test_a_viewer_that_is_rated_late_is_rated_once_in_each_interval(restart: bool) -> None:
    """It reports 7 or 8 stalls each 150 s, of half of the time; what is in closed intervals is rated there."""
    feed = Feed(VIDEO)
    for number in range(5):
        at_s = 150 * number
        told = (15 * number // 2, 75 * number, 75 * number)
        feed.say(at_s, at_s, seq=number, stall_count=told[0], stall_s=told[1], play_s=told[2])
        if restart:
            feed.restart()
    # From 0 to 600 s there are ten intervals.
    (tally,) = feed.monitor.counts(T0 + 660)
    assert tally.expected_ratings.sum() == pytest.approx(10)
    assert tally.users[600].tolist() == [1]
    rates = {level for _, level in levels(tally, 600)}
    assert rates == {level_of(7, 75_000, 75_000), level_of(8, 75_000, 75_000)}


@pytest.mark.parametrize("restart", [False, True])
def test_a_viewer_is_rated_once_in_an_interval_however_many_closes_it_takes(restart: bool) -> None:
    """Half of its reports of 60..120 s arrive before the close at 240 s, the others after it: too late for it."""
    feed = Feed(VIDEO)
    feed.say(61, 61, seq=0, stall_count=0, stall_s=0.0, play_s=0.0)
    for number, arrival_s in enumerate((200, 200, 200, 250, 250), 1):
        ts = 61 + 10 * number
        feed.say(arrival_s, ts, seq=number, stall_count=0, stall_s=0.0, play_s=10.0 * number)
        if restart:
            feed.restart()
    (tally,) = feed.monitor.counts(T0 + 300)
    assert tally.expected_ratings.sum() == pytest.approx(1)
    assert levels(tally, 300) == Counter({(EU, level_of(0, 0, 30_000)): 1})


@pytest.mark.parametrize("service", [VIDEO, WEB])
def test_what_is_late_moves_with_the_clock_before_it_is_counted(service: Service) -> None:
    feed = Feed(service)
    feed.say(100, 100, seq=1, response_s=1.0, play_s=30.0)
    feed.say(200, 110, seq=2, response_s=1.0, play_s=40.0)
    feed.monitor.shift(3600)
    conditions = {"video": [[0, 0], [1, 1], [1, 1]], "web": [[0, 0], [2, 1], [2, 1]]}
    assert feed.windows(3840) == conditions[service.name]
    # The interval 60..120 is in 600 s up to 660 s, and no longer.
    assert feed.windows(3600 + 660)[2] == conditions[service.name][2]
    assert feed.windows(3600 + 720)[2] == [0, 0]


def test_late_conditions_count_in_the_group_of_their_report() -> None:
    feed = Feed(WEB)
    feed.say(200, 200, session="a", group="eu", response_s=1.0, seq=1)
    feed.say(201, 100, session="a", group="us", response_s=[1.0, 2.0], seq=2)
    feed.say(202, 100, session="b", group="eu", response_s=3.0, seq=1)
    (tally,) = feed.monitor.counts(T0 + 240)
    by_group = dict(zip([group for (group,) in tally.groups], tally.windows[300].sum(axis=1).tolist(), strict=True))
    assert by_group == {"eu": 2, "us": 2}
    assert dict(zip([group for (group,) in tally.groups], tally.users[300].tolist(), strict=True)) == {
        "eu": 2,
        "us": 1,
    }


def test_no_condition_is_counted_twice_or_lost_whatever_is_late() -> None:
    """Responses at random times of the last ten minutes, each in the totals once all intervals have closed."""
    rng = np.random.default_rng(3)
    feed, told = Feed(WEB), Counter()
    for number in range(300):
        at_s = 3 * number
        ts = at_s - float(rng.choice([0, 0, rng.uniform(0, 600)]))
        feed.say(at_s, ts, session=f"s{number % 7}", seq=number, response_s=1.0)
        told[int(ts // 60)] += 1
        if number % 50 == 0:
            feed.restart()
    (tally,) = feed.monitor.counts(T0 + 900)
    assert tally.windows[600].sum() == sum(number for interval, number in told.items() if interval >= 5)
    assert tally.windows[300].sum() == sum(number for interval, number in told.items() if interval >= 10)
    assert feed.rated(900) == pytest.approx(300)


@pytest.mark.parametrize("years", [0.1, 50])
def test_a_clock_that_jumps_counts_for_no_longer_than_a_session_may_be_silent(years: float) -> None:
    """Seconds of the counters spread over decades would be in millions of intervals; each would cost its time."""
    feed, ago_s = Feed(VIDEO), years * 365 * 86_400
    for seq, ts in enumerate((100, 100 - ago_s, 110)):
        feed.say(120, ts, seq=seq, stall_count=0, stall_s=0.0, play_s=100.0 + 1e6 * seq)
    (tally,) = feed.monitor.counts(T0 + 180)
    silent_s = feed.timing.session_timeout_s + feed.timing.interval_s
    assert 1 <= tally.expected_ratings.sum() <= 3 + silent_s / feed.timing.interval_s


def test_a_session_of_long_ago_is_not_shown_for_all_the_intervals_since() -> None:
    """It paused for nine hours, so its condition is kept; windows cover no more than the last ten minutes."""
    feed = Feed(VIDEO)
    for seq, hours in enumerate((24, 15)):
        feed.say(100, 100 - hours * 3600, seq=seq, stall_count=0, stall_s=0.0, play_s=100.0 + 40 * seq)
    (counts,) = shard_counts(feed.monitor.monitor, T0 + 110, 10).services
    # A condition for each interval since would cost as many sums at every tick.
    assert len(counts.provisional) <= max(feed.timing.windows_s) // feed.timing.interval_s
