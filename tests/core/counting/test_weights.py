"""The sum of the squares of the sessions' observations in a window, compared with a recount."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import to_sparse
from qoemon.core.counting.counts import Counted
from qoemon.core.counting.distances import range_of, ranges, widths
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.counting.unique_sessions import UniqueSessions, squared_sums
from qoemon.core.counting.window import Windows
from qoemon.core.qoe.confidence import interval
from qoemon.core.snapshot.snapshot import Snapshot
from tests.support.core import T0, VIDEO, WEB, OneShard, batch, plan, responses
from tests.support.oracle import Said
from tests.support.streams import FEW

D, GROUPS = 60, 3

Observed = tuple[str, int, int]
"""A session, its group, and its number of observations in an interval."""


@dataclass
class Weighed:
    """UniqueSessions and Windows of some lengths, in intervals, and beside them all observations."""

    lengths: tuple[int, ...]
    observations: defaultdict[tuple[str, int], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    closed: int = 0

    def __post_init__(self) -> None:
        self.table = SessionTable(10_000)
        self.unique = UniqueSessions(self.table, max(self.lengths))
        self.windows = Windows([length * D for length in self.lengths], D, 1)

    def close(self, observed: Iterable[Observed]) -> None:
        rows, groups, numbers = self._rows(observed, self.closed + 1)
        order = np.lexsort((groups, rows))
        alone = None if (numbers == 1).all() else numbers[order]
        users, squares = np.bincount(groups, minlength=GROUPS), squared_sums(groups, GROUPS, numbers)
        counted = self.unique.close(rows[order], groups[order], users, squares, alone)
        self.closed += 1
        self.windows.close(self.closed * D, np.zeros((GROUPS, 1), np.int64), self._by_end(counted, 0))

    def late(self, observed: Iterable[Observed], ago: int) -> None:
        rows, groups, numbers = self._rows(observed, self.closed - ago)
        order = np.lexsort((groups, rows))
        rows, groups, numbers = rows[order], groups[order], numbers[order]
        counted = self.unique.count_late(rows, groups, numbers, GROUPS, ago)
        none = to_sparse(np.zeros((GROUPS, 1), np.int64))
        self.windows.add_late((self.closed - ago) * D, none, self._by_end(counted, ago))

    def restart(self) -> None:
        sessions, unique, windows = self.table.dump(), self.unique.dump(), self.windows.dump()
        self.__post_init__()
        self.unique.load(unique, self.table.load(sessions))
        self.windows.load(windows, GROUPS)

    def leave(self, name: str) -> None:
        rows = self.table.find_or_create([name])
        self.table.remove(rows)
        self.unique.remove(rows)

    def squares(self, length: int) -> list[float]:
        squares = self.windows.squares[length * D]
        return np.append(squares, np.zeros(GROUPS - len(squares))).tolist()  # type: ignore[no-any-return]

    def recount(self, length: int) -> list[int]:
        total = [0] * GROUPS
        for (_, group), numbers in self.observations.items():
            total[group] += sum(n for number, n in numbers.items() if number > self.closed - length) ** 2
        return total

    def _by_end(self, counted: Counted, ago: int) -> Counted:
        ends = {(self.closed - age) * D: users for age, users in counted.recounted.items()}
        return counted._replace(recounted=ends)

    def _rows(self, observed: Iterable[Observed], number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        some = list(observed)
        names = list(dict.fromkeys(name for name, *_ in some))
        at = dict(zip(names, self.table.find_or_create(names).tolist(), strict=True))
        for name, group, numbers in some:
            here = self.observations[name, group]
            here[number] = here.get(number, 0) + numbers
        for name, row in at.items():
            group = next(group for other, group, _ in some if other == name)
            self.table.hear(np.array([row]), np.zeros(1), np.zeros(1, np.bool_), np.array([group]))
        columns = [at[name] for name, *_ in some], [group for _, group, _ in some], [n for *_, n in some]
        return tuple(np.array(column, np.int64) for column in columns)  # type: ignore[return-value]


SESSIONS = st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(1, 12), st.integers(1, 12)), max_size=8)
"""Group, first interval and number of intervals."""


@FEW
@given(SESSIONS, st.integers(0, 20), st.sets(st.integers(1, 20)))
def test_weights_of_sessions_without_pauses_are_exact(
    sessions: list[tuple[int, int, int]], restart: int, behind: set[int]
) -> None:
    """In windows of up to nine intervals; also of intervals whose conditions all come late, and over a restart."""
    weighed = Weighed((2, 3, 5, 9))
    waiting: list[tuple[int, list[Observed]]] = []
    for number in range(1, 25):
        here = [
            (f"s{at}", group, 1)
            for at, (group, first, length) in enumerate(sessions)
            if first <= number < first + length
        ]
        if number in behind:
            waiting.append((number, here))
            here = []
        else:
            for late, some in waiting:
                weighed.late(some, weighed.closed - late)
            waiting = []
        weighed.close(here)
        if number == restart:
            weighed.restart()
        if not waiting:
            for length in weighed.lengths:
                assert weighed.squares(length) == weighed.recount(length)


def test_a_session_is_weighed_in_each_of_its_groups() -> None:
    weighed = Weighed((9,))
    for _ in range(3):
        weighed.close([("a", 0, 1), ("a", 1, 1), ("b", 1, 1)])
    weighed.restart()
    weighed.close([("a", 1, 1)])
    assert weighed.squares(9) == weighed.recount(9) == [9, 16 + 9, 0]


def test_responses_of_an_interval_are_weighed_by_their_number() -> None:
    weighed = Weighed((3,))
    weighed.close([("a", 0, 7), ("b", 0, 1)])
    assert weighed.squares(3) == [49 + 1, 0, 0]
    weighed.close([("a", 0, 2)])
    assert weighed.squares(3) == [81 + 1, 0, 0]


def test_the_first_interval_after_a_pause_is_exact() -> None:
    weighed = Weighed((3, 9))
    for heard in (1, 1, 1, 0, 0, 1):
        weighed.close([("a", 0, 1)] * heard)
    assert [weighed.squares(length)[0] for length in (3, 9)] == [1, 16]


def test_a_session_that_no_window_covers_any_more_begins_anew() -> None:
    weighed = Weighed((3,))
    for heard in (1, 1, 0, 0, 0, 1, 1):
        weighed.close([("a", 0, 1)] * heard)
    assert weighed.squares(3)[0] == 4


def test_a_row_of_a_session_that_left_brings_its_successor_no_weight() -> None:
    weighed = Weighed((9,))
    for _ in range(2):
        weighed.close([("a", 0, 1)])
    weighed.leave("a")
    weighed.close([("b", 0, 1)])
    assert weighed.squares(9)[0] == 4 + 1


def test_a_condition_that_comes_out_of_order_is_weighed_with_older_and_newer_ones() -> None:
    weighed = Weighed((9,))
    for heard in (0, 1, 1, 1):
        weighed.close([("a", 0, 1)] * heard)
    weighed.late([("a", 0, 1)], 3)
    assert weighed.squares(9) == weighed.recount(9) == [16, 0, 0]
    weighed.late([("a", 0, 1)], 1)
    assert weighed.squares(9) == weighed.recount(9) == [25, 0, 0]


@pytest.mark.parametrize(("share", "most", "pauses"), [(1.0, 1, 0.0), (0.6, 1, 0.0), (0.4, 4, 0.0), (1.0, 1, 0.1)])
def test_weights_are_nearly_exact_whatever_sessions_do(share: float, most: int, pauses: float) -> None:
    """With gaps, pauses, several observations in an interval, late ones, and windows of 60 intervals."""
    rng = np.random.default_rng(5)
    weighed = Weighed((5, 20, 60))
    begins, lengths = rng.integers(1, 120, 800), np.ceil(rng.exponential(15, 800)).astype(int)
    pausing: dict[int, int] = {}
    errors: dict[int, list[float]] = {length: [] for length in weighed.lengths}
    late: list[Observed] = []
    for number in range(1, 120):
        here: list[Observed] = []
        for at in np.flatnonzero((begins <= number) & (number < begins + lengths)).tolist():
            if rng.random() < pauses:
                pausing[at] = number + int(rng.integers(2, 12))
            if pausing.get(at, 0) <= number and rng.random() < share:
                here.append((f"s{at}", at % GROUPS, int(rng.integers(1, most + 1))))
        if late:
            weighed.late(late, 0)
        late = [observed for observed in here if rng.random() < 0.1]
        weighed.close([observed for observed in here if observed not in late])
        if number > 60:
            for length in weighed.lengths:
                ratio = np.divide(weighed.squares(length), weighed.recount(length))
                errors[length].append(float(ratio.mean()) - 1)
    for length, of_length in errors.items():
        assert abs(np.mean(of_length)) < ACCURATE_TO[length], (length, np.mean(of_length))


ACCURATE_TO = {5: 0.1, 20: 0.05, 60: 0.02}


@pytest.mark.parametrize("intervals", [1, 2, 9, 10, 60, 61, 1440])
def test_each_distance_in_a_window_is_in_one_range(intervals: int) -> None:
    width = widths(ranges(intervals))
    of_each = np.repeat(np.arange(len(width)), width)
    assert len(of_each) >= intervals - 1
    assert [range_of(distance) for distance in range(1, len(of_each) + 1)] == of_each.tolist()


def heard(session: str, from_s: int, to_s: int, every_s: int = 10) -> list[Said]:
    """Reports of a session that plays without stalls."""
    return [
        Said(session, (T0 + at_s) * 1000, stalls=0, stall_ms=0, play_ms=(at_s - from_s) * 1000, seq=at_s)
        for at_s in range(from_s, to_s + 1, every_s)
    ]


def fed(monitor: OneShard, said: Iterable[Said], until_s: int) -> list[Snapshot]:
    """The snapshots of all ticks."""
    told, snapshots = sorted(said, key=lambda each: each.at_ms), []
    for at_s in range(10, until_s + 1, 10):
        due = [each for each in told if T0 * 1000 + (at_s - 10) * 1000 <= each.at_ms < (T0 + at_s) * 1000]
        for each in due:
            monitor.apply(batch([each]), each.at_ms / 1000)
        snapshots.append(monitor.snapshot(T0 + at_s))
    return snapshots


def test_bounds_are_those_of_the_effective_number_of_users() -> None:
    """One session in all five intervals, and five in one each: N is 6, and (10)^2 / (25 + 5) is 3.3."""
    said = heard("long", 1, 299) + [each for at in range(5) for each in heard(f"s{at}", 60 * at + 1, 60 * at + 59)]
    (service,) = fed(OneShard(plan(VIDEO)), said, 300)[-1].services
    rated, counts = service.distributions[300], service.counts
    assert (counts.users[300][0], rated.observations[0], counts.squares[300][0]) == (6, 10, 30)
    assert rated.effective_users[0] == pytest.approx(100 / 30)
    assert rated.pow_bounds.tolist() == interval(rated.pow, rated.pow_square, np.array([100 / 30])).tolist()
    assert service.distributions[60].effective_users.tolist() == counts.users[60].tolist() == [2]


def test_a_session_with_many_responses_weighs_more_in_the_base_window_too() -> None:
    monitor = OneShard(plan(WEB))
    monitor.apply(responses(T0 + 1, [0.5] * 9, session="a"), T0 + 1)
    monitor.apply(responses(T0 + 15, [0.5], session="a", seq=1), T0 + 15)
    monitor.apply(responses(T0 + 2, [0.5] * 2, session="b"), T0 + 2)
    for at_s in (20, 60, 80):
        (service,) = monitor.snapshot(T0 + at_s).services
        wanted = {60: 104, 300: 0 if at_s < 60 else 104, 600: 0 if at_s < 60 else 104}
        if at_s == 80:
            wanted[60] = 0
        assert {length: squares[0] for length, squares in service.counts.squares.items()} == wanted


@pytest.mark.parametrize("every_s", [10, 60, 150, 200])
def test_all_conditions_of_a_single_session_are_one_user(every_s: int) -> None:
    """At every tick, also while conditions of a session that reports seldom are not counted yet."""
    monitor = OneShard(plan(VIDEO, timing={"session_timeout_s": 600}))
    for snapshot in fed(monitor, heard("a", 1, 900, every_s), 900):
        (service,) = snapshot.services
        for length, rated in service.distributions.items():
            if rated.observations.any():
                # Pairs at distances from 9 intervals on are taken to be even.
                assert service.counts.squares[length][0] == pytest.approx(rated.observations[0] ** 2, rel=0.02)
                assert rated.effective_users[0] == 1


def test_a_state_of_an_earlier_version_counts_sessions_until_its_intervals_are_over() -> None:
    said = heard("long", 1, 900) + [each for at in range(15) for each in heard(f"s{at}", 60 * at + 1, 60 * at + 59)]
    before, after = OneShard(plan(VIDEO)), OneShard(plan(VIDEO))
    fed(before, [each for each in said if each.at_ms < (T0 + 300) * 1000], 300)
    state = {
        name: array
        for name, array in before.dump().items()
        if name.rsplit("/", 1)[-1] not in {"first", "extra", "squares", "pairs", "pair_numbers"}
        and "/feedback/" not in name
    }
    moved = {name.replace("/elsewhere", "/abroad"): array for name, array in state.items()}
    assert moved.keys() != state.keys()
    after.load({name: array[:, :3] if "/abroad" in name else array for name, array in moved.items()})
    snapshots = fed(after, [each for each in said if each.at_ms >= (T0 + 300) * 1000], 900)
    first, last = snapshots[30].services[0], snapshots[-1].services[0]
    assert first.distributions[300].effective_users[0] <= first.counts.users[300][0]
    assert last.counts.squares[300].tolist() == [30]
    assert last.distributions[300].effective_users[0] == pytest.approx(100 / 30)
