"""Distinct sessions in a window, compared with sets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qoemon.core.counting.session_table import SessionTable
from qoemon.core.counting.unique_sessions import UniqueSessions
from tests.support.core import T0, VIDEO, WEB, WINDOWS_S, OneShard, batch, plan, responses
from tests.support.oracle import Said
from tests.support.streams import FEW

INTERVALS = 4
GROUPS = 4
NAMES = "abcde"


@dataclass
class Audience:
    """Sessions with their Users, and beside them who was judged in which interval and group, as sets.

    A session that left and came back is another one: nobody knows whether it is the same person.
    """

    table: SessionTable = field(default_factory=lambda: SessionTable(100))
    group: dict[str, int] = field(default_factory=dict)
    times_there: Counter[str] = field(default_factory=Counter)
    judged: defaultdict[int, set[tuple[int, str, int]]] = field(default_factory=lambda: defaultdict(set))
    """By the number of the interval: the first that closes is 1, those before it may be judged late."""
    closed: int = 0

    def __post_init__(self) -> None:
        self.users = UniqueSessions(self.table, INTERVALS)
        self.newest: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(GROUPS, np.int64))
        """Sessions by the number of the interval that counts them."""

    def close(self, present: dict[str, int]) -> None:
        """Close an interval with these rated sessions, by group."""
        rows, groups = self._heard(present)
        order = np.argsort(rows)
        users, recounted, *_ = self.users.close(
            rows[order], groups[order], *[np.bincount(groups, minlength=GROUPS)] * 2
        )
        self.closed += 1
        self._count(present, self.closed, users, recounted)

    def judge_late(self, present: dict[str, int], ago: int) -> None:
        """Rate these sessions, by group, in an interval that has closed; ago 0 is the newest."""
        rows, groups = self._heard(present)
        order = np.argsort(rows)
        rows, groups = rows[order], groups[order]
        users, recounted, *_ = self.users.count_late(rows, groups, np.ones_like(rows), GROUPS, ago)
        self._count(present, self.closed - ago, users, recounted)

    def _heard(self, present: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        names, size = sorted(present), len(present)
        rows = self.table.find_or_create(names)
        groups = np.array([present[name] for name in names], np.int64)
        self.table.hear(rows, np.zeros(size), np.zeros(size, np.bool_), groups)
        return rows, groups

    def _count(
        self, present: dict[str, int], number: int, users: np.ndarray, recounted: Mapping[int, np.ndarray]
    ) -> None:
        for ago, sessions in recounted.items():
            assert 1 <= ago <= INTERVALS
            self.newest[self.closed - ago] = self.newest[self.closed - ago] - sessions
        self.newest[number] = self.newest[number] + users
        self.group |= present
        self.judged[number] |= {(group, name, self.times_there[name]) for name, group in present.items()}

    def leave(self, name: str) -> None:
        rows = self.table.find_or_create([name])
        self.table.remove(rows)
        self.users.remove(rows)
        del self.group[name]
        self.times_there[name] += 1

    def restart(self) -> None:
        """Restore the state into a new table and new UniqueSessions."""
        sessions, users = self.table.dump(), self.users.dump()
        self.table = SessionTable(100)
        rows = self.table.load(sessions)
        self.users = UniqueSessions(self.table, INTERVALS)
        self.users.load(users, rows)

    def in_window(self, intervals: int) -> list[int]:
        """Sessions of each group in the last intervals, from the sums of what close() returned."""
        counted = [self.newest[number] for number in range(self.closed - intervals + 1, self.closed + 1)]
        return np.sum(counted, axis=0).tolist()  # type: ignore[no-any-return]

    def recount(self, intervals: int) -> list[int]:
        """Sessions of each group in the last intervals, from the sets."""
        there = set().union(*(self.judged[self.closed - ago] for ago in range(intervals)))
        return [sum(group == at for at, *_ in there) for group in range(GROUPS)]


Move = tuple[dict[str, bool], dict[str, tuple[int, int]], set[str], bool]
"""Sessions rated in an interval, and whether each moves to the next group first; sessions rated late before that,
with their group and how many intervals ago; sessions removed; restart."""

MOVES = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([False, False, True])),
    st.dictionaries(
        st.sampled_from(NAMES), st.tuples(st.integers(0, GROUPS - 1), st.integers(0, INTERVALS - 1)), max_size=2
    ),
    st.sets(st.sampled_from(NAMES), max_size=2),
    st.sampled_from([False, False, True]),
)


@settings(FEW, max_examples=200)
@given(st.lists(MOVES, min_size=1, max_size=14))
def test_every_session_is_one_user_of_each_group_it_was_in(moves: list[Move]) -> None:
    """With sessions that stay, pause, change their group, are rated late, expire and return, over restarts."""
    audience = Audience()
    for judged, late, leaving, restart in moves:
        for name, (group, ago) in late.items():
            audience.judge_late({name: group}, ago)
        if restart:
            audience.restart()
        audience.close({n: min(audience.group.get(n, 0) + moves_on, GROUPS - 1) for n, moves_on in judged.items()})
        for name in leaving & audience.group.keys():
            audience.leave(name)
        if restart:
            audience.restart()
        for intervals in range(1, INTERVALS + 1):
            assert audience.in_window(intervals) == audience.recount(intervals)


def test_a_session_that_is_rated_late_stays_the_user_of_a_newer_interval() -> None:
    """And moves to a late one that is newer than the one that counted it, also across restarts."""
    audience = Audience()
    audience.close({"a": 0})
    audience.close({"b": 0})
    audience.restart()
    audience.judge_late({"b": 0}, 1)
    assert [audience.in_window(intervals) for intervals in (1, 2)] == [[1, 0, 0, 0], [2, 0, 0, 0]]
    audience.judge_late({"a": 0, "b": 0}, 0)
    audience.restart()
    assert [audience.in_window(intervals) for intervals in (1, 2)] == [[2, 0, 0, 0], [2, 0, 0, 0]]
    audience.close({})
    assert [audience.in_window(intervals) for intervals in (1, 2)] == [[0, 0, 0, 0], [2, 0, 0, 0]]


def test_what_is_before_all_windows_brings_no_users() -> None:
    audience = Audience()
    audience.close({"a": 0})
    row = np.zeros(1, np.int64)
    users, recounted, *_ = audience.users.count_late(row, row, row + 1, GROUPS, INTERVALS)
    assert (users.tolist(), recounted) == ([0, 0, 0, 0], {})


def test_a_session_that_goes_to_and_fro_is_one_user_of_each_group() -> None:
    audience = Audience()
    for at in range(INTERVALS):
        audience.close({"a": at % 2})
    assert audience.in_window(INTERVALS) == audience.recount(INTERVALS) == [1, 1, 0, 0]


def heard(at_s: int, sessions: int) -> list[Said]:
    return [
        Said(f"v{i}", (T0 + at_s) * 1000, stalls=0, stall_ms=0, play_ms=at_s * 1000, seq=at_s)
        for i in range(sessions)
    ]


def users(monitor: OneShard, at_s: int) -> list[int]:
    """Users of the first group, by window."""
    tally = monitor.counts(T0 + at_s)[0]
    return [int(tally.users[length][0]) for length in WINDOWS_S]


def test_a_session_that_counts_in_many_intervals_is_one_user() -> None:
    monitor = OneShard(plan(VIDEO))
    for at_s in range(1, 300, 10):
        monitor.apply(batch(heard(at_s, 3)), T0 + at_s)
    (tally,) = monitor.counts(T0 + 300)
    assert [tally.windows[length].sum() for length in WINDOWS_S] == [3, 15, 15]
    assert users(monitor, 300) == [3, 3, 3]
    assert users(monitor, 420) == [0, 3, 3]
    assert users(monitor, 600) == [0, 0, 3]
    assert users(monitor, 900) == [0, 0, 0]


def test_an_interval_that_has_not_closed_is_in_the_base_window_only() -> None:
    monitor = OneShard(plan(VIDEO))
    monitor.apply(batch(heard(9, 4)), T0 + 9)
    assert users(monitor, 50) == [4, 0, 0]
    assert users(monitor, 60) == [4, 4, 4]


def test_a_user_with_many_responses_is_one() -> None:
    monitor = OneShard(plan(WEB))
    for at_s in range(1, 180, 30):
        monitor.apply(responses(T0 + at_s, [0.5] * 9, session="a", seq=at_s), T0 + at_s)
        monitor.apply(responses(T0 + at_s, [0.5], session="b", seq=at_s), T0 + at_s)
    assert users(monitor, 180) == [2, 2, 2]


def test_sessions_that_left_stay_users_of_the_windows_they_were_in() -> None:
    """Their rows are reused by other sessions, which are users of their own."""
    monitor = OneShard(plan(VIDEO, sessions=3))
    for at_s in (1, 31):
        monitor.apply(batch([replace(said, end=at_s == 31) for said in heard(at_s, 3)]), T0 + at_s)
    late = [replace(said, session=f"late {said.session}", play_ms=20_000) for said in heard(201, 3)]
    monitor.apply(batch(late), T0 + 201)
    assert users(monitor, 240) == [3, 6, 6]


def test_whoever_caused_an_observation_of_a_group_is_a_user_of_it() -> None:
    """A response counts where it was reported; so does the user behind it."""
    monitor = OneShard(plan(WEB))
    monitor.apply(responses(T0, [0.5] * 3, group="eu", seq=1), T0)
    monitor.apply(responses(T0 + 1, [0.5] * 4, group="us", seq=2), T0 + 1)
    (tally,) = monitor.counts(T0 + 60)
    assert [tally.users[length].tolist() for length in WINDOWS_S] == [[1, 1]] * 3
    (told,) = monitor.snapshot(T0 + 60).services
    assert np.isfinite(told.distributions[60].pow_bounds).all()
