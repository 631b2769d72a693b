"""Response times: each is a condition of its own, counted once in every window that covers it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.batch import Placed
from qoemon.core.histogram import RESPONSE_BINS, Ints, grown, response_bin
from qoemon.core.scale import Counts, Floats
from qoemon.core.sessions import Admitted


class ResponseSlices:
    """The responses of the last rating interval, tick by tick.

    slices  how many ticks a rating interval has
    """

    def __init__(self, slices: int) -> None:
        self._tick = 0
        self._cells: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        self._counts: Counts = np.zeros((0, RESPONSE_BINS.size), np.int64)

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the responses of the reports that count; no counter of theirs can fall, so there are 0 resets."""
        counts = np.zeros(len(placed.batch), np.bool_)
        counts[admitted.position] = True
        of = placed.batch.response_of
        cell = placed.group[of] * RESPONSE_BINS.size + response_bin(placed.batch.response_s)
        age = np.where(counts[of], self._tick - placed.tick[of], -1)
        for ticks in range(len(self._cells)):
            self._add(cell[age == ticks], ticks)
        return 0

    def histograms(self, at_s: float, groups: int) -> tuple[Counts, Counts]:
        """Responses of the rating interval that ends at at_s, (groups, B); judged and shown in the same bins."""
        self._counts = grown(self._counts, groups)
        counts = self._counts.copy()
        return counts, counts

    def open_stalls(self) -> tuple[Ints, Floats]:
        """None: rows and times without an element."""
        return np.zeros(0, np.int64), np.zeros(0)

    def enter(self, tick: int) -> None:
        """Begin a tick: what was reported a rating interval ago is forgotten."""
        self._tick = tick
        for cells in self._cells[0]:
            np.subtract.at(self._counts.reshape(-1), cells, 1)
        self._cells.append([])

    def remove(self, rows: Ints) -> None:
        """Sessions that leave take no responses with them."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """The cells of each slice, oldest first."""
        slices = [np.concatenate([*cells, np.zeros(0, np.int64)]) for cells in self._cells]
        return {
            "cells": np.concatenate(slices),
            "sizes": np.array([len(cells) for cells in slices], np.int64),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Take over what dump() gave, into empty slices."""
        oldest_first = np.split(state["cells"], np.cumsum(state["sizes"])[:-1])
        for age, cells in enumerate(reversed(oldest_first)):
            self._add(cells, age)

    def _add(self, cells: Ints, age: int) -> None:
        if not len(cells):
            return
        self._counts = grown(self._counts, int(cells.max()) // RESPONSE_BINS.size + 1)
        np.add.at(self._counts.reshape(-1), cells, 1)
        self._cells[-1 - age].append(cells)
