"""Conditions at a point in time: response times, and measures in reports.

Each is one condition, and counted once in every window that covers it.
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

PAIR_BASE = 2**31
"""More than the largest group number: a session's row and a group are combined in one number."""


class MeasurementSlices:
    """The measurements of the last rating interval, in one slice per tick, in the bins that are rated."""

    def __init__(self, sessions: SessionTable, service: Service, slices: int) -> None:
        self._sessions, self._service = sessions, service
        self._size = len(service.rated_at)
        self._tick = 0
        self._cells: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        self._counts: Counts = np.zeros((0, self._size), np.int64)
        self._pairs: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        """Sessions with measurements, and their groups, by slice: row * PAIR_BASE + group."""

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the measurements of admitted reports; returns 0, as they have no counters that could be reset."""
        of, bins = self._measurements(placed)
        row_of = np.full(len(placed.batch), -1)
        row_of[admitted.position] = admitted.row
        row, tick = row_of[of], placed.tick[of]
        counts = (row >= 0) & (tick > self._tick - len(self._cells))
        cell, pair = placed.group[of] * self._size + bins, row * PAIR_BASE + placed.group[of]
        for age in range(len(self._cells)):
            in_slice = counts & (tick == self._tick - age)
            self._add(cell[in_slice], pair[in_slice], age)
        return 0

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The measurements of the rating interval that ends with this tick."""
        self._counts = grow_rows(self._counts, groups)
        counts = self._counts.copy()
        shown = counts if self._service.mapping.qos is Qos.RESPONSES else np.zeros((groups, 1), np.int64)
        pairs = np.unique(_joined(chain.from_iterable(self._pairs)))
        rows, found = pairs // PAIR_BASE, pairs % PAIR_BASE
        return BaseWindow(counts, shown, np.bincount(found, minlength=groups), rows, found)

    def open_stalls(self) -> tuple[Ints, Floats]:
        """No rows, no times: measurements have no stalls."""
        return np.zeros(0, np.int64), np.zeros(0)

    def enter(self, tick: int) -> None:
        """Begin a tick: remove the measurements of a rating interval ago."""
        self._tick = tick
        for cells in self._cells[0]:
            np.subtract.at(self._counts.reshape(-1), cells, 1)
        self._cells.append([])
        self._pairs[-1][:] = [np.unique(np.concatenate(self._pairs[-1]))] if self._pairs[-1] else []
        self._pairs.append([])

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals: only the number of the current tick changes."""
        self._tick = tick

    def remove(self, rows: Ints) -> None:
        """Nothing to remove: measurements of expired sessions have left the slices before."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """The slices, oldest first; sessions by their index in SessionTable.occupied."""
        index = np.full(self._sessions.rows, -1)
        index[self._sessions.occupied] = np.arange(len(self._sessions))
        cells = [_joined(each) for each in self._cells]
        pairs = [_joined(each) for each in self._pairs]
        pair = _joined(pairs)
        return {
            "cells": _joined(cells),
            "sizes": np.array([len(each) for each in cells], np.int64),
            "pairs": index[pair // PAIR_BASE] * PAIR_BASE + pair % PAIR_BASE,
            "pair_sizes": np.array([len(each) for each in pairs], np.int64),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        pair = rows[state["pairs"] // PAIR_BASE] * PAIR_BASE + state["pairs"] % PAIR_BASE
        cells = np.split(state["cells"], np.cumsum(state["sizes"])[:-1])
        pairs = np.split(pair, np.cumsum(state["pair_sizes"])[:-1])
        for age, (cell, one) in enumerate(zip(reversed(cells), reversed(pairs), strict=True)):
            self._add(cell, one, age)

    def _measurements(self, placed: Placed) -> tuple[Ints, Ints]:
        """(E,) index of the report of each measurement, and (E,) its bin."""
        batch, mapping = placed.batch, self._service.mapping
        if mapping.qos is Qos.RESPONSES:
            return batch.response_of, response_bin(batch.response_s)
        inputs = [batch.measures[name] for name in mapping.inputs]
        of = np.flatnonzero(inputs[0] != ABSENT_FLOAT)  # the codec accepts all inputs or none
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
