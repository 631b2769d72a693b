"""Conditions that happen at a moment: response times, and measures that a report carries.

Each is judged by itself and counted once in every window that covers it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Floats, Ints, grow_rows
from qoemon.core.counting.conditions import BaseWindow
from qoemon.core.counting.session_table import Admitted, SessionTable
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mos_level, response_bin
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Placed
from qoemon.core.wire.report import ABSENT_FLOAT

PLACES = 2**31
"""More than there can be groups: a session's row and a group make one number."""


class MeasurementSlices:
    """The events of the last rating interval, tick by tick, in the bins in which they are judged."""

    def __init__(self, sessions: SessionTable, service: Service, slices: int) -> None:
        self._sessions, self._service = sessions, service
        self._size = len(service.rated_at)
        self._tick = 0
        self._cells: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        self._counts: Counts = np.zeros((0, self._size), np.int64)
        self._pairs: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        """Which sessions had events in which groups, slice by slice: row * PLACES + group."""

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the events of the reports that count; no counter of theirs can fall, so there are 0 resets."""
        of, bins = self._events(placed)
        row_of = np.full(len(placed.batch), -1)
        row_of[admitted.position] = admitted.row
        row, tick = row_of[of], placed.tick[of]
        counts = (row >= 0) & (tick > self._tick - len(self._cells))
        cell, pair = placed.group[of] * self._size + bins, row * PLACES + placed.group[of]
        for age in range(len(self._cells)):
            here = counts & (tick == self._tick - age)
            self._add(cell[here], pair[here], age)
        return 0

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The events of the rating interval that ends with this tick."""
        self._counts = grow_rows(self._counts, groups)
        counts = self._counts.copy()
        shown = counts if self._service.mapping.qos is Qos.RESPONSES else np.zeros((groups, 1), np.int64)
        pairs = np.unique(_joined(chain.from_iterable(self._pairs)))
        rows, found = pairs // PLACES, pairs % PLACES
        return BaseWindow(counts, shown, np.bincount(found, minlength=groups), rows, found)

    def open_stalls(self) -> tuple[Ints, Floats]:
        """None: rows and times without an element."""
        return np.zeros(0, np.int64), np.zeros(0)

    def enter(self, tick: int) -> None:
        """Begin a tick: what was reported a rating interval ago is forgotten."""
        self._tick = tick
        for cells in self._cells[0]:
            np.subtract.at(self._counts.reshape(-1), cells, 1)
        self._cells.append([])
        self._pairs[-1][:] = [np.unique(np.concatenate(self._pairs[-1]))] if self._pairs[-1] else []
        self._pairs.append([])

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals."""
        self._tick = tick

    def remove(self, rows: Ints) -> None:
        """Sessions that leave take no events with them. They have been silent: their slices have gone."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """What each slice holds, oldest first; sessions by their place among those that are there."""
        place = np.full(self._sessions.rows, -1)
        place[self._sessions.occupied] = np.arange(len(self._sessions))
        cells = [_joined(each) for each in self._cells]
        pairs = [_joined(each) for each in self._pairs]
        pair = _joined(pairs)
        return {
            "cells": _joined(cells),
            "sizes": np.array([len(each) for each in cells], np.int64),
            "pairs": place[pair // PLACES] * PLACES + pair % PLACES,
            "pair_sizes": np.array([len(each) for each in pairs], np.int64),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore what dump() gave, for the rows that the session table gave out."""
        pair = rows[state["pairs"] // PLACES] * PLACES + state["pairs"] % PLACES
        cells = np.split(state["cells"], np.cumsum(state["sizes"])[:-1])
        pairs = np.split(pair, np.cumsum(state["pair_sizes"])[:-1])
        for age, (cell, one) in enumerate(zip(reversed(cells), reversed(pairs), strict=True)):
            self._add(cell, one, age)

    def _events(self, placed: Placed) -> tuple[Ints, Ints]:
        """(E,) which report each event is from, and the bin in which it is judged."""
        batch, mapping = placed.batch, self._service.mapping
        if mapping.qos is Qos.RESPONSES:
            return batch.response_of, response_bin(batch.response_s)
        inputs = [batch.measures[name] for name in mapping.inputs]
        of = np.flatnonzero(inputs[0] != ABSENT_FLOAT)  # the codec takes all of them or none
        return of, mos_level(mapping(*(column[of] for column in inputs)), self._service.scale)

    def _add(self, cells: Ints, pairs: Ints, age: int) -> None:
        if not len(cells):
            return
        self._counts = grow_rows(self._counts, int(cells.max()) // self._size + 1)
        np.add.at(self._counts.reshape(-1), cells, 1)
        self._cells[-1 - age].append(cells)
        self._pairs[-1 - age].append(pairs)


def _joined(parts: Iterable[Ints]) -> Ints:
    return np.concatenate([*parts, np.zeros(0, np.int64)])
