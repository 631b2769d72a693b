"""Conditions that happen at a moment: response times, and measures that a report carries.

Each is judged by itself and counted once in every window that covers it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.batch import Placed
from qoemon.core.conditions import Judged
from qoemon.core.histogram import Ints, grown, mos_level, response_bin
from qoemon.core.mapping import Qos
from qoemon.core.plan import Service
from qoemon.core.report import ABSENT_FLOAT
from qoemon.core.scale import Counts, Floats
from qoemon.core.sessions import Admitted, SessionTable

NEVER = -(2**62)


class EventSlices:
    """The events of the last rating interval, tick by tick, in the bins in which they are judged."""

    def __init__(self, sessions: SessionTable, service: Service, slices: int) -> None:
        self._sessions, self._service = sessions, service
        self._size = len(service.judged_at)
        self._tick = 0
        self._cells: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        self._counts: Counts = np.zeros((0, self._size), np.int64)
        self._newest = np.zeros(0, np.int64)
        """(rows,) the tick of each session's newest event, or NEVER."""

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the events of the reports that count; no counter of theirs can fall, so there are 0 resets."""
        self._grow()
        of, bins = self._events(placed)
        row_of = np.full(len(placed.batch), -1)
        row_of[admitted.position] = admitted.row
        row, tick = row_of[of], placed.tick[of]
        counts = (row >= 0) & (tick > self._tick - len(self._cells))
        np.maximum.at(self._newest, row[counts], tick[counts])
        cell = placed.group[of] * self._size + bins
        for age in range(len(self._cells)):
            self._add(cell[counts & (tick == self._tick - age)], age)
        return 0

    def judge(self, at_s: float, groups: int) -> Judged:
        """The events of the rating interval that ends with this tick."""
        self._grow()
        self._counts = grown(self._counts, groups)
        counts = self._counts.copy()
        rows = np.flatnonzero(self._newest[: self._sessions.rows] > self._tick - len(self._cells))
        shown = counts if self._service.mapping.qos is Qos.RESPONSES else np.zeros((groups, 1), np.int64)
        return Judged(counts, shown, rows)

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
        """Sessions that leave take no events with them."""
        self._grow()
        self._newest[rows] = NEVER

    def dump(self) -> dict[str, NDArray[Any]]:
        """The cells of each slice, oldest first, and when each session had its newest event."""
        self._grow()
        slices = [np.concatenate([*cells, np.zeros(0, np.int64)]) for cells in self._cells]
        return {
            "cells": np.concatenate(slices),
            "sizes": np.array([len(cells) for cells in slices], np.int64),
            "newest": self._newest[self._sessions.there],
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Take over what dump() gave, for the rows that the session table gave out."""
        self._grow()
        oldest_first = np.split(state["cells"], np.cumsum(state["sizes"])[:-1])
        for age, cells in enumerate(reversed(oldest_first)):
            self._add(cells, age)
        self._newest[rows] = state["newest"]

    def _events(self, placed: Placed) -> tuple[Ints, Ints]:
        """(E,) which report each event is from, and the bin in which it is judged."""
        batch, mapping = placed.batch, self._service.mapping
        if mapping.qos is Qos.RESPONSES:
            return batch.response_of, response_bin(batch.response_s)
        inputs = [batch.measures[name] for name in mapping.inputs]
        of = np.flatnonzero(inputs[0] != ABSENT_FLOAT)  # the codec takes all of them or none
        return of, mos_level(mapping(*(column[of] for column in inputs)), self._service.scale)

    def _add(self, cells: Ints, age: int) -> None:
        if not len(cells):
            return
        self._counts = grown(self._counts, int(cells.max()) // self._size + 1)
        np.add.at(self._counts.reshape(-1), cells, 1)
        self._cells[-1 - age].append(cells)

    def _grow(self) -> None:
        more = self._sessions.capacity - len(self._newest)
        if more:
            self._newest = np.append(self._newest, np.full(more, NEVER))
