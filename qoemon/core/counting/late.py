"""Conditions of rating intervals that have closed: late reports are counted in the interval of their time.

They are handed on with the next interval that closes, so that each interval is added once, whatever is resent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Ints, Sparse, named, part
from qoemon.core.counting.counts import IntervalCounts
from qoemon.core.counting.unique_sessions import UniqueSessions

PAIR_BASE = 2**31
"""More than the largest group number: a session's row and a group are combined in one number."""


class LatePart(NamedTuple):
    """(N,) conditions of rows and groups in the intervals that end at end_s, seconds since the epoch.

    level, shown  in the bins that are rated, and in the bins that are shown
    """

    end_s: Ints
    row: Ints
    group: Ints
    level: Ints
    shown: Ints

    @property
    def pairs(self) -> Ints:
        """(N,) row and group, combined in one number."""
        return self.row * PAIR_BASE + self.group


NONE_LATE = LatePart(*(np.zeros(0, np.int64) for _ in range(5)))


class LateConditions:
    """Conditions of closed intervals that are not handed on yet.

    levels, bins  number of bins that are rated, and of bins that are shown
    interval_s    length of a rating interval
    longest_s     length of the longest window

    revision      grows with the conditions that are added
    """

    def __init__(self, levels: int, bins: int, interval_s: int, longest_s: int) -> None:
        self._levels, self._bins = levels, bins
        self._interval_s, self._longest_s = interval_s, longest_s
        self._parts: list[tuple[Ints, Ints, Ints, Ints]] = []
        """Ends, s since the epoch, cells of levels, cells of bins, and pairs of row and group; (N,) each."""
        self.revision = 0

    def add(self, part: LatePart) -> None:
        """Count conditions in closed intervals."""
        if len(part.row):
            levels, bins = part.group * self._levels + part.level, part.group * self._bins + part.shown
            self._parts.append((part.end_s, levels, bins, part.pairs))
            self.revision += 1

    def waiting(self) -> tuple[Ints, Ints, Ints]:
        """What is not handed on yet: (N,) ends of intervals, (N,) cells of levels, and (N,) pairs."""
        end_s, levels, _, pairs = self._all
        return end_s, levels, pairs

    def rows(self) -> Ints:
        """Rows with conditions that are not handed on yet."""
        return self._all[3] // PAIR_BASE

    def drain(self, end_s: int, groups: int, unique: UniqueSessions) -> Mapping[int, IntervalCounts]:
        """The counts by the end of their interval, before the interval that ends at end_s closes.

        What is older than the longest window is in one interval just before it: it enters the totals only.
        """
        newest_s = end_s - self._interval_s
        late_s, levels, bins, pairs = self._all
        late_s = np.maximum(late_s, newest_s - self._longest_s)
        self._parts = []
        drained = {}
        for each_s in np.unique(late_s).tolist():
            some = np.flatnonzero(late_s == each_s)
            counted = levels[some], bins[some], *np.unique(pairs[some], return_counts=True)
            drained[each_s] = self._counts(each_s, newest_s, *counted, groups, unique)
        return drained

    def dump(self) -> Arrays:
        """The whole state, as arrays by name; rows are indexes of the table."""
        late_s, *columns = self._all
        ends = np.unique(late_s)
        state: Arrays = {"end_s": ends}
        for number, end_s in enumerate(ends.tolist()):
            some = np.flatnonzero(late_s == end_s)
            for name, column in zip(_NAMES, columns, strict=True):
                state |= named(f"{number}/", {name: column[some]})
        return state

    def load(self, state: Arrays, former: Ints, rows: Ints) -> None:
        """Restore a dump(); former: the rows of the sessions in the dump, ascending; rows: those after loading."""
        for number, end_s in enumerate(state.get("end_s", np.zeros(0)).tolist()):
            levels, bins, pairs = (part(f"{number}/", state)[name] for name in _NAMES)
            row = rows[np.searchsorted(former, pairs // PAIR_BASE)]
            of_end_s = np.full(len(levels), end_s, np.int64)
            self._parts.append((of_end_s, levels, bins, row * PAIR_BASE + pairs % PAIR_BASE))

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds."""
        self._parts = [(end_s + by_s, levels, bins, pairs) for end_s, levels, bins, pairs in self._parts]

    @property
    def _all(self) -> tuple[Ints, Ints, Ints, Ints]:
        end_s, levels, bins, pairs = zip(*self._parts, strict=True) if self._parts else ((),) * 4
        none: Ints = np.zeros(0, np.int64)
        columns = (end_s, levels, bins, pairs)
        first, second, third, fourth = (np.concatenate([*column, none]) for column in columns)
        return first, second, third, fourth

    def _counts(
        self,
        end_s: int,
        newest_s: int,
        levels: Ints,
        bins: Ints,
        pairs: Ints,
        numbers: Ints,
        groups: int,
        unique: UniqueSessions,
    ) -> IntervalCounts:
        ago = (newest_s - end_s) // self._interval_s
        counted = unique.count_late(pairs // PAIR_BASE, pairs % PAIR_BASE, numbers, groups, ago)
        return IntervalCounts(
            levels=sparse_counts(levels, (groups, self._levels)),
            qos=sparse_counts(bins, (groups, self._bins)),
            users=counted.users,
            recounted={newest_s - age * self._interval_s: users for age, users in counted.recounted.items()},
            squares=counted.squares,
            pairs=counted.pairs,
        )


_NAMES = ("levels", "bins", "pairs")


def sparse_counts(cells: Ints, shape: tuple[int, int]) -> Sparse:
    """A histogram of this shape, from (N,) flat indexes, one per condition."""
    distinct, counts = np.unique(cells, return_counts=True)
    numbers: NDArray[Any] = counts.astype(np.uint32)
    return Sparse(shape, distinct, numbers)
