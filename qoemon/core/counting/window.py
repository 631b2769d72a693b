"""Rolling windows: how counts age."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Ints, grow_rows


def histogram(group: Ints, bins: Ints, groups: int, size: int) -> Counts:
    """(groups, size) how often each bin occurs in each group."""
    return np.bincount(group * size + bins, minlength=groups * size).reshape(groups, size)


def count(counts: Counts, group: Ints | NDArray[np.int32], bins: Ints) -> None:
    """Add to counts (G, B) how often each bin occurs in each group."""
    cells = np.multiply(group, counts.shape[1], dtype=np.int64) + bins
    np.add.at(counts.reshape(-1), cells, 1)


class Window:
    """The sum of the last `length` histograms, one appended at a time.

    Only the sum is dense; what will have to be taken off again is kept as the cells that are not zero.
    """

    def __init__(self, length: int, bins: int) -> None:
        self._length, self._bins = length, bins
        self._parts: deque[tuple[Ints, Ints]] = deque()
        self.counts: Counts = np.zeros((0, bins), dtype=np.int64)

    def append(self, counts: Counts) -> None:
        """Take in the newest histogram, (G, B), and forget the one that is now too old. G may have grow_rows."""
        # A new array: snapshots hold on to the former one.
        self.counts = grow_rows(self.counts, len(counts)) + counts
        flat = counts.ravel()
        cells = np.flatnonzero(flat)
        self._parts.append((cells, flat[cells]))
        while len(self._parts) > self._length:
            old_cells, old_counts = self._parts.popleft()
            self.counts.ravel()[old_cells] -= old_counts

    def dump(self) -> dict[str, Ints]:
        """The parts, oldest first, as flat arrays."""
        cells, counts = zip(*self._parts, strict=True) if self._parts else ((), ())
        return {
            "sizes": np.array([len(part) for part in cells], dtype=np.int64),
            "cells": np.concatenate([*cells, np.zeros(0, np.int64)]),
            "counts": np.concatenate([*counts, np.zeros(0, np.int64)]),
        }

    def load(self, state: dict[str, Ints], groups: int) -> None:
        """Take over what dump() gave."""
        ends = np.cumsum(state["sizes"])[:-1]
        parts = zip(np.split(state["cells"], ends), np.split(state["counts"], ends), strict=True)
        for cells, counts in parts:
            histogram = np.zeros((groups, self._bins), dtype=np.int64)
            histogram.ravel()[cells] = counts
            self.append(histogram)
