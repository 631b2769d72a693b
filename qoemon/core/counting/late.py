"""Conditions of rating intervals that have closed: late reports are counted in the interval of their time.

They are handed on with the next interval that closes, so that each interval is added once, whatever is resent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Ints, Sparse, named, part
from qoemon.core.counting.counts import IntervalCounts
from qoemon.core.counting.unique_sessions import UniqueSessions

PAIR_BASE = 2**31
"""More than the largest group number: a session's row and a group are combined in one number."""


class LatePart(NamedTuple):
    """(N,) conditions of rows and groups in the interval that ends at end_s, seconds since the epoch.

    level, shown  in the bins that are rated, and in the bins that are shown
    """

    end_s: int
    row: Ints
    group: Ints
    level: Ints
    shown: Ints

    @property
    def pairs(self) -> Ints:
        """(N,) row and group, combined in one number."""
        return self.row * PAIR_BASE + self.group


class LateConditions:
    """Conditions of closed intervals that are not handed on yet, by the end of the interval.

    levels, bins  number of bins that are rated, and of bins that are shown
    interval_s    length of a rating interval
    longest_s     length of the longest window

    revision      grows with each condition that is added
    """

    def __init__(self, levels: int, bins: int, interval_s: int, longest_s: int) -> None:
        self._levels, self._bins = levels, bins
        self._interval_s, self._longest_s = interval_s, longest_s
        self._cells: dict[int, list[tuple[Ints, Ints, Ints]]] = {}
        """By end, s since the epoch: cells of levels, cells of bins, and pairs of row and group; (N,) each."""
        self.revision = 0

    def add(self, part: LatePart) -> None:
        """Count conditions in a closed interval."""
        if len(part.row):
            levels, bins = part.group * self._levels + part.level, part.group * self._bins + part.shown
            self._cells.setdefault(part.end_s, []).append((levels, bins, part.pairs))
            self.revision += 1

    def waiting(self) -> Iterator[tuple[int, Ints, Ints]]:
        """By interval, what is not handed on yet: its end, (N,) cells of levels, and (N,) pairs."""
        for end_s, parts in self._cells.items():
            for levels, _, pairs in parts:
                yield end_s, levels, pairs

    def rows(self) -> Ints:
        """Rows with conditions that are not handed on yet."""
        pairs = [pairs for parts in self._cells.values() for _, _, pairs in parts]
        return np.concatenate([*pairs, np.zeros(0, np.int64)]) // PAIR_BASE

    def drain(self, end_s: int, groups: int, unique: UniqueSessions) -> Mapping[int, IntervalCounts]:
        """The counts by the end of their interval, before the interval that ends at end_s closes.

        What is older than the longest window is in one interval just before it: it enters the totals only.
        """
        newest_s = end_s - self._interval_s
        oldest_s = newest_s - self._longest_s
        moved: dict[int, list[tuple[Ints, Ints, Ints]]] = {}
        for late_s in sorted(self._cells):
            moved.setdefault(max(late_s, oldest_s), []).extend(self._cells[late_s])
        self._cells = {}
        return {late_s: self._counts(late_s, newest_s, parts, groups, unique) for late_s, parts in moved.items()}

    def dump(self) -> Arrays:
        """The whole state, as arrays by name; rows are indexes of the table."""
        state: Arrays = {"end_s": np.array(sorted(self._cells), np.int64)}
        for number, end_s in enumerate(sorted(self._cells)):
            for name, column in zip(_NAMES, zip(*self._cells[end_s], strict=True), strict=True):
                state |= named(f"{number}/", {name: np.concatenate(column)})
        return state

    def load(self, state: Arrays, row_of: Mapping[int, int]) -> None:
        """Restore a dump(); row_of: the rows after loading, by the rows of the dump."""
        for number, end_s in enumerate(state.get("end_s", np.zeros(0)).tolist()):
            levels, bins, pairs = (part(f"{number}/", state)[name] for name in _NAMES)
            rows = np.array([row_of[row] for row in (pairs // PAIR_BASE).tolist()], np.int64)
            self._cells[end_s] = [(levels, bins, rows * PAIR_BASE + pairs % PAIR_BASE)]

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds."""
        self._cells = {end_s + by_s: parts for end_s, parts in self._cells.items()}

    def _counts(
        self, end_s: int, newest_s: int, parts: list[tuple[Ints, Ints, Ints]], groups: int, unique: UniqueSessions
    ) -> IntervalCounts:
        levels, bins, pairs = (np.concatenate(column) for column in zip(*parts, strict=True))
        pairs = np.unique(pairs)
        ago = (newest_s - end_s) // self._interval_s
        users, recounted = unique.count_late(pairs // PAIR_BASE, pairs % PAIR_BASE, groups, ago)
        return IntervalCounts(
            levels=sparse_counts(levels, (groups, self._levels)),
            qos=sparse_counts(bins, (groups, self._bins)),
            users=users,
            recounted={newest_s - age * self._interval_s: sessions for age, sessions in recounted.items()},
        )


_NAMES = ("levels", "bins", "pairs")


def sparse_counts(cells: Ints, shape: tuple[int, int]) -> Sparse:
    """A histogram of this shape, from (N,) flat indexes, one per condition."""
    distinct, counts = np.unique(cells, return_counts=True)
    numbers: NDArray[Any] = counts.astype(np.uint32)
    return Sparse(shape, distinct, numbers)
