"""A histogram while it is counted: dense, or sparse where there are few occurrences for many cells.

A shard of some thousand sessions in a thousand groups has two million cells. To allocate and to copy them takes
longer than to count the sessions.
"""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, Histogram, Ints, SmallInts, Sparse, sparse_sum
from qoemon.core.counting.window import count

FEW_CELLS = 2**16
"""An array of that size is always dense: it takes half a megabyte."""
CELLS_EACH = 16
"""From so many cells for each occurrence on, a histogram is sparse."""


def is_sparse(groups: int, bins: int, occurrences: int) -> bool:
    """Whether a histogram (groups, bins) of that many occurrences is sparse."""
    return groups * bins > max(FEW_CELLS, CELLS_EACH * occurrences)


class Tally:
    """Counts occurrences of bins in groups.

    occurrences  that will be added at most
    """

    def __init__(self, groups: int, bins: int, occurrences: int) -> None:
        self._shape = groups, bins
        self._dense: Counts | None = None
        self._cells: list[Ints] = []
        self._numbers: list[Ints] = []
        if not is_sparse(groups, bins, occurrences):
            self._dense = np.zeros(self._shape, np.int64)

    def add(self, group: SmallInts, bins: Ints) -> None:
        """Count (N,) bins in (N,) groups."""
        if self._dense is not None:
            count(self._dense, group, bins)
            return
        self._cells.append(np.multiply(group, self._shape[1], dtype=np.int64) + bins)
        self._numbers.append(np.ones(len(group), np.int64))

    def add_to_all(self, bins: int, numbers: Ints) -> None:
        """Add (G,) occurrences of one bin."""
        if self._dense is not None:
            self._dense[:, bins] += numbers
            return
        some = np.flatnonzero(numbers)
        self._cells.append(some * self._shape[1] + bins)
        self._numbers.append(numbers[some])

    def histogram(self) -> Histogram:
        """The counts so far."""
        if self._dense is not None:
            return self._dense
        none: Ints = np.zeros(0, np.int64)
        return sparse_sum(self._shape, np.concatenate([*self._cells, none]), np.concatenate([*self._numbers, none]))


def added(histogram: Histogram, group: Ints, bins: Ints) -> Histogram:
    """A copy with (N,) further bins in (N,) groups."""
    if not isinstance(histogram, Sparse):
        dense = histogram.copy()
        count(dense, group, bins)
        return dense
    cells = np.concatenate([histogram.cells, group * histogram.shape[1] + bins], dtype=np.int64)
    numbers = np.concatenate([histogram.counts, np.ones(len(group), np.int64)], dtype=np.int64)
    return sparse_sum(histogram.shape, cells, numbers)
