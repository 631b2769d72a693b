"""Windows, compared with a recount of the rating intervals that they cover."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import Counts, to_dense, to_sparse
from qoemon.core.counting.counts import Counted
from qoemon.core.counting.window import Windows
from tests.support.streams import FEW

D = 60
LENGTHS_S = (2 * D, 3 * D)


def windows(bins: int = 10) -> Windows:
    return Windows(LENGTHS_S, D, bins)


def counted(users: np.ndarray, recounted: Mapping[int, np.ndarray] | None = None) -> Counted:
    """Sessions with one condition each in an interval, and no pairs."""
    return Counted(users, recounted or {}, users, np.zeros((len(users), 2), np.int64))


def close(into: Windows, end: int, levels: Counts) -> None:
    into.close(end * D, levels, counted(levels.sum(axis=1)))


PARTS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(0, 9), max_size=5), st.sampled_from([1, 1, 1, 2, 4])),
    max_size=12,
)


@FEW
@given(PARTS, st.booleans())
def test_a_window_equals_a_recount_of_its_span(parts: list[tuple[int, list[int], int]], sparse: bool) -> None:
    """Adding and forgetting, while groups come and intervals are left out, gives what a recount would give."""
    rolling, history, groups, end = windows(), {}, 1, 0
    for more, where, step in parts:
        groups, end = groups + more, end + step
        histogram = np.zeros((groups, 10), np.int64)
        for cell in where:
            histogram[cell % groups, cell] += 1
        rolling.close(end * D, to_sparse(histogram) if sparse else histogram, counted(histogram.sum(axis=1)))
        history[end] = histogram
        for length_s in LENGTHS_S:
            recount = np.zeros((groups, 10), np.int64)
            for at, each in history.items():
                if at * D > end * D - length_s:
                    recount[: len(each)] += each
            assert rolling.counts[length_s].tobytes() == recount.tobytes()
            assert rolling.users[length_s].tolist() == recount.sum(axis=1).tolist()


LATE = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 9)), max_size=3)
"""How many intervals ago, the group and the bin."""


@FEW
@given(st.lists(st.tuples(PARTS.map(lambda parts: parts[:1]), LATE), max_size=10), st.integers(0, 9))
def test_late_counts_are_in_the_windows_that_cover_their_interval(
    steps: list[tuple[list[tuple[int, list[int], int]], list[tuple[int, int, int]]]], restart: int
) -> None:
    """Before the interval that is closing, also where that interval had been left out, over a restart."""
    rolling, history, end = windows(), {}, 0
    for number, (parts, late) in enumerate(steps):
        for ago, group, cell in late:
            histogram = np.zeros((group + 1, 10), np.int64)
            histogram[group, cell] = 1
            rolling.add_late((end - ago) * D, to_sparse(histogram), counted(histogram.sum(axis=1)))
            history.setdefault(end - ago, []).append(histogram)
            assert_recounted(rolling, history, end)
        if number == restart:
            state, rolling = rolling.dump(), windows()
            rolling.load(state, groups=4)
            assert_recounted(rolling, history, end)
        for _, where, step in parts:
            end += step
            histogram = np.zeros((4, 10), np.int64)
            for cell in where:
                histogram[cell % 4, cell] += 1
            rolling.close(end * D, to_sparse(histogram), counted(histogram.sum(axis=1)))
            history.setdefault(end, []).append(histogram)
            assert_recounted(rolling, history, end)


def assert_recounted(rolling: Windows, history: Mapping[int, list[Counts]], end: int) -> None:
    for length_s in LENGTHS_S:
        recount = np.zeros((4, 10), np.int64)
        for at, histograms in history.items():
            for each in histograms if at * D > end * D - length_s else ():
                recount[: len(each)] += each
        counts, users = rolling.counts[length_s], rolling.users[length_s]
        assert counts.tolist() == recount[: len(counts)].tolist()
        assert users.tolist() == recount.sum(axis=1)[: len(users)].tolist()
        assert not recount[len(counts) :].any()
        assert not recount[len(users) :].any()


def test_what_is_late_changes_neither_a_snapshot_nor_the_counts_that_were_handed_in() -> None:
    rolling = windows(2)
    levels, users = to_sparse(np.array([[1, 2]])), np.array([3])
    rolling.close(1 * D, levels, counted(users))
    held = dict(rolling.counts), dict(rolling.users)
    copies = [{length: array.copy() for length, array in each.items()} for each in held]
    rolling.add_late(1 * D, levels, counted(users))
    rolling.add_late(1 * D, levels, counted(users))
    assert all(np.array_equal(each[w], copy[w]) for each, copy in zip(held, copies, strict=True) for w in LENGTHS_S)
    assert (users.tolist(), levels.counts.tolist()) == ([3], [1, 2])
    assert [rolling.counts[w].tolist() for w in LENGTHS_S] == [[[3, 6]]] * 2
    rolling.close(9 * D, np.zeros((1, 2), np.int64), counted(np.zeros(1, np.int64)))
    assert [rolling.counts[w].tolist() for w in LENGTHS_S] == [[[0, 0]]] * 2


def test_a_late_session_leaves_the_interval_that_counted_it() -> None:
    rolling = windows(2)
    one, users = np.array([[1, 0]]), np.array([1])
    for end in (1, 2):
        rolling.close(end * D, one, counted(users))
    rolling.add_late(2 * D, to_sparse(one), counted(users, {1 * D: users}))
    assert [rolling.users[length_s].tolist() for length_s in LENGTHS_S] == [[2], [2]]
    rolling.close(3 * D, 0 * one, counted(0 * users))
    rolling.close(4 * D, 0 * one, counted(0 * users))
    assert [rolling.users[length_s].tolist() for length_s in LENGTHS_S] == [[0], [2]]


@FEW
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=3))
def test_sparse_counts_are_the_dense_ones(rows: list[list[int]]) -> None:
    counts = np.zeros((len(rows), 7), np.int64)
    for row, values in enumerate(rows):
        counts[row, : len(values)] = values
    assert np.array_equal(to_dense(to_sparse(counts)), counts)
    assert to_dense(counts) is counts


def test_large_counts_stay_whole_when_they_are_sparse() -> None:
    counts = np.array([[0, 2**40], [1, 0]])
    assert np.array_equal(to_dense(to_sparse(counts)), counts)


def test_an_emptied_window_equals_a_fresh_one() -> None:
    used, fresh = windows(4), windows(4)
    for end in range(1, 6):
        close(used, end, np.array([[1, 2, 3, 4], [10**15, 0, 1, 0]]))
    for each in (used, fresh):
        for end in range(6, 9):
            close(each, end, np.zeros((2, 4), np.int64))
    for length_s in LENGTHS_S:
        assert used.counts[length_s].tobytes() == fresh.counts[length_s].tobytes()


def test_what_a_snapshot_holds_does_not_change_under_it() -> None:
    rolling = windows(2)
    close(rolling, 1, np.array([[1, 2]]))
    held = dict(rolling.counts), dict(rolling.users)
    copies = [{length: array.copy() for length, array in each.items()} for each in held]
    for end in range(2, 6):
        close(rolling, end, np.array([[5, 5]]))
    assert all(np.array_equal(each[w], copy[w]) for each, copy in zip(held, copies, strict=True) for w in LENGTHS_S)


def test_a_session_that_is_recounted_is_one_user_of_the_window() -> None:
    rolling = windows(2)
    one = np.array([[1, 0]])
    rolling.close(1 * D, one, counted(np.array([1])))
    rolling.close(2 * D, one, counted(np.array([1]), {1 * D: np.array([1])}))
    assert [rolling.users[length_s].tolist() for length_s in LENGTHS_S] == [[1], [1]]
    # Of an interval that is no longer held, and of groups that it did not have.
    rolling.close(6 * D, np.array([[1, 0], [1, 0]]), counted(np.array([1, 1]), {2 * D: np.array([1, 0])}))
    assert [rolling.users[length_s].tolist() for length_s in LENGTHS_S] == [[1, 1], [1, 1]]


@pytest.mark.parametrize("closed", [0, 1, 2, 3, 5])
def test_a_window_continues_from_its_dump(closed: int) -> None:
    rng = np.random.default_rng(9)
    whole, loaded = windows(6), windows(6)
    for end in range(1, closed + 1):
        close(whole, end, rng.integers(0, 3, (2, 6)))
    loaded.load(whole.dump(), groups=2)
    for end in range(closed + 1, closed + 6):
        more = rng.integers(0, 3, (2, 6))
        for each in (whole, loaded):
            close(each, end, more)
        for length_s in LENGTHS_S:
            assert whole.counts[length_s].tobytes() == loaded.counts[length_s].tobytes()
            assert whole.users[length_s].tobytes() == loaded.users[length_s].tobytes()


def test_intervals_move_with_a_clock_that_is_set() -> None:
    still, moved = windows(2), windows(2)
    for end in range(1, 6):
        close(still, end, np.array([[end, 1]]))
        close(moved, end + (100 if end > 3 else 0), np.array([[end, 1]]))
        if end == 3:
            moved.shift(100 * D)
    assert all(np.array_equal(still.counts[w], moved.counts[w]) for w in LENGTHS_S)
