"""Sums of arrays by group over shards whose groups have other numbers.

Arrays of many shards are added in one piece: a thousand shards have a million rows together, and a call of numpy
for each shard costs more than the addition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Floats, Histogram, Ints, Sparse, to_dense, to_sparse

AT_ONCE = 256
"""Histograms that are added in one piece: many enough for few calls, few enough for the cache."""


class Sums:
    """Adds up arrays by group.

    numbers  (G,) for each shard, the numbers of its groups in the sum; groups that are pooled have the same one
    size     number of groups in the sum
    """

    def __init__(self, numbers: Sequence[Ints], size: int) -> None:
        self._numbers, self._size = numbers, size
        self._single = len(numbers) == 1 and np.array_equal(numbers[0], np.arange(size))

    def histogram(self, histograms: Sequence[Histogram]) -> Counts:
        """(size, B) sum of histograms (G, B); the array itself if there is a single shard with the same groups."""
        if self._single:
            return to_dense(histograms[0])
        out = np.zeros((self._size, histograms[0].shape[1]), np.int64)
        add_cells(out, zip(self._numbers, histograms, strict=True))
        return out

    def few(self, arrays: Sequence[Counts], columns: int) -> Counts:
        """(size, columns) sum of arrays (G, columns) that are 0 in nearly all shards, or have no rows."""
        if self._single and len(arrays[0]) == self._size:
            return arrays[0]
        out = np.zeros((self._size, columns), np.int64)
        add_cells(out, ((rows, some) for rows, some in zip(self._numbers, arrays, strict=True) if some.any()))
        return out

    def column(self, columns: Sequence[Ints]) -> Ints:
        """(size,) sum of columns (G,)."""
        if self._single:
            return columns[0]
        out = np.zeros(self._size, np.int64)
        np.add.at(out, self._rows, np.concatenate(columns))
        return out

    def greatest(self, columns: Sequence[Floats]) -> Floats:
        """(size,) maximum of columns (G,) and 0."""
        if self._single:
            return columns[0]
        out = np.zeros(self._size)
        np.maximum.at(out, self._rows, np.concatenate(columns))
        return out

    @cached_property
    def _rows(self) -> Ints:
        """The numbers of all shards, one after the other."""
        return np.concatenate(self._numbers)


def add_cells(out: Counts, parts: Iterable[tuple[Ints, Histogram]]) -> None:
    """Add histograms to `out`, (size, B), in place; each with the numbers of its groups there."""
    pairs = [(rows, to_sparse(histogram)) for rows, histogram in parts]
    pairs = [(rows, sparse) for rows, sparse in pairs if len(sparse.cells)]
    for begin in range(0, len(pairs), AT_ONCE):
        some = pairs[begin : begin + AT_ONCE]
        np.add.at(out.reshape(-1), _cells(some), _joined([sparse.counts for _, sparse in some]))


def _cells(parts: Sequence[tuple[Ints, Sparse]]) -> Ints:
    """Flat indexes in the sum of the cells of all parts."""
    bins = parts[0][1].shape[1]
    # How far the cells of each group move, for all groups of all parts; and where the groups of each part begin.
    moved = np.concatenate([(rows - np.arange(len(rows))) * bins for rows, _ in parts])
    begins = np.cumsum([0, *(len(rows) for rows, _ in parts)])[:-1]
    cells = _joined([sparse.cells for _, sparse in parts])
    group = cells // bins
    group += np.repeat(begins, [len(sparse.cells) for _, sparse in parts])
    cells += moved[group]
    return cells


def _joined(arrays: Sequence[NDArray[np.integer]]) -> Ints:
    # np.add.at is fast only if both arrays are of the type of the sum.
    return np.concatenate(arrays, dtype=np.int64)
