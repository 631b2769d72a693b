"""Pairs of observations of one session in two rating intervals, by group and by the distance of the intervals.

They are what the sum of the squares of the sessions' weights grows by when an interval joins a window: a session
with c observations in the window and n in the new interval adds n^2 + 2 n c. They are counted by distance, since a
shorter window has those of small distances only.
"""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, Ints, SmallInts
from qoemon.core.counting.distances import UNITS, ranges, widths
from qoemon.core.counting.tally import is_sparse


class Pairs:
    """Counts pairs of G groups in windows of so many intervals."""

    def __init__(self, groups: int, intervals: int) -> None:
        self._groups, self._size = groups, ranges(intervals)
        width = widths(self._size)
        self._begins = np.cumsum(width) - width
        self._most = int(width.sum())
        self._range_of = np.repeat(np.arange(self._size), width)
        """(most,) range of each distance, from 1."""
        self._ends = np.zeros((groups, self._size), np.int64)
        """Units of the spans that end in a range."""
        self._parts = np.zeros((groups, self._size), np.int64)
        """Units of these spans within that range."""
        self._runs: Counts | None = None
        """(G * (most + 1),) runs by length, while there are many: they are added in one piece."""

    def add_runs(self, group: SmallInts, length: SmallInts) -> None:
        """Add a pair at each distance from 1 to (N,) lengths in (N,) groups."""
        length = np.minimum(length, self._most)
        if is_sparse(self._groups, self._most + 1, len(group)):
            self.add(group, length, np.full(len(group), UNITS))
            return
        cells = np.multiply(group, self._most + 1, dtype=np.int64)
        cells += length
        counted = np.bincount(cells, minlength=self._groups * (self._most + 1))
        self._runs = counted if self._runs is None else np.add(self._runs, counted, out=self._runs)

    def add(self, group: SmallInts, farthest: SmallInts, units: Ints) -> None:
        """Add so many units at each distance from 1 to `farthest`, 0 for none; (N,) each."""
        distance: Ints = np.minimum(farthest, self._most).astype(np.int64)
        some = np.flatnonzero(distance > 0)
        farthest = distance[some]
        at, units = self._range_of[farthest - 1], units[some]
        cells = np.multiply(group[some], self._size, dtype=np.int64) + at
        np.add.at(self._ends.reshape(-1), cells, units)
        np.add.at(self._parts.reshape(-1), cells, units * (farthest - self._begins[at]))

    def by_range(self) -> Counts:
        """(G, R) units in each range."""
        if self._runs is not None:
            found = np.flatnonzero(self._runs)
            self.add(found // (self._most + 1), found % (self._most + 1), self._runs[found] * UNITS)
            self._runs = None
        farther = self._ends[:, ::-1].cumsum(axis=1)[:, ::-1] - self._ends
        return np.asarray(self._parts + farther * widths(self._size))
