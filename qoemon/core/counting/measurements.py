"""Conditions at a point in time: response times, and measures in reports.

Each is one condition, and counted once in every window that covers it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Flags, Floats, Histogram, Ints, SmallInts, grow_rows, sparse_sum
from qoemon.core.counting.conditions import BaseWindow
from qoemon.core.counting.feedback_counts import NO_CONDITION, condition_number
from qoemon.core.counting.late import NONE_LATE, PAIR_BASE, LateConditions, LatePart
from qoemon.core.counting.runs import Reports
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.counting.tally import is_sparse
from qoemon.core.counting.unique_sessions import squared_sums
from qoemon.core.plan.plan import Service, Timing
from qoemon.core.qoe.bins import mos_level, response_bin
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.report import ABSENT_FLOAT

UNKNOWN_LEVELS = -(2**31)


class _Pairs(NamedTuple):
    """Sessions and groups, row * PAIR_BASE + group; number of their measurements, sums of levels and of bins."""

    pair: Ints
    number: Ints
    levels: Ints
    bins: Ints


class MeasurementSlices:
    """The measurements of the last rating interval, in one slice per tick, in the bins that are rated."""

    def __init__(self, sessions: SessionTable, service: Service, timing: Timing, late: LateConditions) -> None:
        self._sessions, self._service, self._timing, self._late = sessions, service, timing, late
        self._size, slices = len(service.rated_at), timing.slices
        self._tick = self.late_revision = 0
        self._cells: deque[list[Ints]] = deque([[] for _ in range(slices)], maxlen=slices)
        self._counts: Counts | None = np.zeros((0, self._size), np.int64)
        """Sum of the slices; None while it would be sparse."""
        self._pairs: deque[list[_Pairs]] = deque([[] for _ in range(slices)], maxlen=slices)
        """Sessions with measurements, and their groups, by slice."""
        self._level = mos_level(service.rated_at, service.scale)

    def apply(self, reports: Reports, batch: Batch, group: Ints, added: Ints, began: Flags) -> Flags:
        """Count the measurements of these reports; returns (R,) whether some are impossible."""
        of, bins, possible = self._measurements(batch)
        mine = _report_of(of, reports, batch)
        impossible = np.zeros(len(reports.row), np.bool_)
        impossible[mine[(mine >= 0) & ~possible]] = True
        counts = (mine >= 0) & possible
        mine, bins = mine[counts], bins[counts]
        row, in_group = reports.row[mine], group[mine]
        at_s = np.floor(reports.at_s[mine]).astype(np.int64)
        # Equals at_s // tick_s, but numpy converts that to integers slowly.
        tick = np.minimum(at_s // self._timing.tick_s, self._tick)
        cell, pair = in_group * self._size + bins, row * PAIR_BASE + in_group
        for age in range(len(self._cells)):
            in_slice = tick == self._tick - age
            ones = np.ones(np.count_nonzero(in_slice), np.int64)
            self._add(
                cell[in_slice], _Pairs(pair[in_slice], ones, self._level[bins[in_slice]], bins[in_slice]), age
            )
        self._count_late(row, in_group, bins, tick)
        return impossible

    def measured(self, reports: Reports, batch: Batch) -> tuple[Ints, Ints]:
        """(R,) measurements that apply() counts, and (R,) milliseconds in those that are impossible."""
        of, _, possible = self._measurements(batch)
        mine, size = _report_of(of, reports, batch), len(reports.row)
        impossible = np.flatnonzero((mine >= 0) & ~possible)
        impossible_ms: Ints = np.zeros(size, np.int64)
        np.add.at(impossible_ms, mine[impossible], np.rint(batch.response_s[impossible] * 1000).astype(np.int64))
        return np.bincount(mine[(mine >= 0) & possible], minlength=size), impossible_ms

    def told_quality(self, reports: Reports, batch: Batch) -> None:
        """None: measures are conditions by themselves."""

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The measurements of the rating interval that ends with this tick."""
        counts = self._counted(groups)
        shown = counts if self._service.mapping.qos is Qos.RESPONSES else np.zeros((groups, 1), np.int64)
        pairs, numbers, _, _ = _summed(list(chain.from_iterable(self._pairs)))
        rows, found = pairs // PAIR_BASE, pairs % PAIR_BASE
        users = np.bincount(found, minlength=groups)
        return BaseWindow(counts, shown, users, squared_sums(found, groups, numbers), rows, found, numbers)

    def conditions_of(self, rows: Ints, at_s: float) -> Ints:
        """As Conditions.conditions_of(): the means of the levels and of the bins of what was measured."""
        place = np.full(self._sessions.rows, -1)
        place[rows] = np.arange(len(rows))
        numbers, levels, bins = np.zeros((3, len(rows)), np.int64)
        for pairs in chain.from_iterable(self._pairs):
            of = place[pairs.pair // PAIR_BASE]
            some = np.flatnonzero(of >= 0)
            for total, added in ((numbers, pairs.number), (levels, pairs.levels), (bins, pairs.bins)):
                np.add.at(total, of[some], added[some])
        # Half up, in integers.
        level, shown = ((2 * sums + numbers) // np.maximum(2 * numbers, 1) for sums in (levels, bins))
        if self._service.mapping.qos is Qos.MEASURES:
            shown = np.zeros_like(shown)
        return np.where((numbers > 0) & (level >= 0), condition_number(level, shown), NO_CONDITION)

    def unsettled(self) -> Ints:
        """No rows."""
        return np.zeros(0, np.int64)

    def late(self) -> LatePart:
        """Nothing: late measurements are counted as they come."""
        return NONE_LATE

    def settle(self) -> None:
        """Nothing to rate: late measurements are counted as they come."""

    def close(self, end_s: int, rows: SmallInts) -> None:
        """Nothing to record: each measurement is counted once, in the interval of its time."""

    def end_stalls(self, rows: Ints) -> None:
        """Nothing to end: measurements have no stalls."""

    def open_stalls(self) -> tuple[Ints, Floats]:
        """No rows, no times: measurements have no stalls."""
        return np.zeros(0, np.int64), np.zeros(0)

    def enter(self, tick: int) -> None:
        """Begin a tick: remove the measurements of a rating interval ago."""
        self._tick = tick
        if self._counts is not None:
            for cells in self._cells[0]:
                np.subtract.at(self._counts.reshape(-1), cells, 1)
        self._cells.append([])
        self._pairs[-1][:] = [_summed(self._pairs[-1])] if self._pairs[-1] else []
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
        pairs = [_joined(each.pair for each in some) for some in self._pairs]
        pair = _joined(pairs)
        return {
            "cells": _joined(cells),
            "sizes": np.array([len(each) for each in cells], np.int64),
            "pairs": index[pair // PAIR_BASE] * PAIR_BASE + pair % PAIR_BASE,
            "pair_sizes": np.array([len(each) for each in pairs], np.int64),
            "pair_numbers": _joined(each.number for some in self._pairs for each in some),
            "pair_levels": _joined(each.levels for some in self._pairs for each in some),
            "pair_bins": _joined(each.bins for some in self._pairs for each in some),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._counts = None  # summed when the base window is due, if it is not sparse then
        session, ones = state["pairs"] // PAIR_BASE, np.ones_like(state["pairs"])
        # Earlier versions could let a session expire that still had measurements: its index is -1.
        known = session >= 0
        age_of = np.repeat(np.arange(len(state["pair_sizes"])), state["pair_sizes"])[known]
        splits = np.cumsum(np.bincount(age_of, minlength=len(state["pair_sizes"])))[:-1]
        cells = np.split(state["cells"], np.cumsum(state["sizes"])[:-1])
        each_pair = (
            rows[session[known]] * PAIR_BASE + state["pairs"][known] % PAIR_BASE,
            # Nor have they kept how many measurements each session has: one.
            state.get("pair_numbers", ones)[known],
            # Nor the levels: their sum is below 0, so there is no condition.
            state.get("pair_levels", UNKNOWN_LEVELS * ones)[known],
            state.get("pair_bins", 0 * ones)[known],
        )
        columns = (reversed(np.split(column, splits)) for column in each_pair)
        by_slice = zip(reversed(cells), map(_Pairs, *columns), strict=True)
        for age, (cell, some) in enumerate(by_slice):
            self._add(cell, some, age)

    def _counted(self, groups: int) -> Histogram:
        """(groups, size) measurements in all slices."""
        if is_sparse(groups, self._size, sum(len(cells) for each in self._cells for cells in each)):
            self._counts = None
            cells = _joined(chain.from_iterable(self._cells))
            return sparse_sum((groups, self._size), cells, np.ones(len(cells), np.int64))
        if self._counts is None:
            self._counts = np.zeros((groups, self._size), np.int64)
            for each in self._cells:
                np.add.at(self._counts.reshape(-1), _joined(each), 1)
        self._counts = grow_rows(self._counts, groups)
        return self._counts.copy()

    def _measurements(self, batch: Batch) -> tuple[Ints, Ints, Flags]:
        """(E,) index of the report of each measurement, (E,) its bin, and (E,) whether it is possible."""
        mapping = self._service.mapping
        if mapping.qos is Qos.RESPONSES:
            # A session that is silent for that long has expired, so none waits for longer.
            possible = batch.response_s <= self._timing.session_timeout_s
            return batch.response_of, response_bin(batch.response_s), possible
        inputs = [batch.measures[name] for name in mapping.inputs]
        of = np.flatnonzero(inputs[0] != ABSENT_FLOAT)  # the codec accepts all inputs or none
        bins = mos_level(mapping(*(column[of] for column in inputs)), self._service.scale)
        return of, bins, np.ones(len(of), np.bool_)

    def _count_late(self, row: Ints, group: Ints, bins: Ints, tick: Ints) -> None:
        """Count measurements of closed intervals there; those with a slice are in the base window, too."""
        slices = self._timing.slices
        closed = self._tick // slices * slices
        if not len(tick) or tick.min() >= closed:
            return
        shown = bins if self._service.mapping.qos is Qos.RESPONSES else np.zeros_like(bins)
        late = np.flatnonzero(tick < closed)
        end_s = (tick[late] // slices + 1) * slices * self._timing.tick_s
        self._late.add(LatePart(end_s, row[late], group[late], bins[late], shown[late]))

    def _add(self, cells: Ints, pairs: _Pairs, age: int) -> None:
        if not len(cells):
            return
        if self._counts is not None:
            self._counts = grow_rows(self._counts, int(cells.max()) // self._size + 1)
            np.add.at(self._counts.reshape(-1), cells, 1)
        self._cells[-1 - age].append(cells)
        self._pairs[-1 - age].append(pairs)


def _report_of(of: Ints, reports: Reports, batch: Batch) -> Ints:
    """(E,) index in `reports` of the report of each measurement; -1 if it is none of them."""
    index = np.full(len(batch), -1)
    index[reports.position] = np.arange(len(reports.row))
    return index[of]


def _summed(parts: Sequence[_Pairs]) -> _Pairs:
    """The distinct pairs, ascending, and their sums."""
    pairs, index = np.unique(_joined(each.pair for each in parts), return_inverse=True)
    numbers, levels, bins = np.zeros((3, len(pairs)), np.int64)
    np.add.at(numbers, index, _joined(each.number for each in parts))
    np.add.at(levels, index, _joined(each.levels for each in parts))
    np.add.at(bins, index, _joined(each.bins for each in parts))
    return _Pairs(pairs, numbers, levels, bins)


def _joined(parts: Iterable[Ints]) -> Ints:
    return np.concatenate([*parts, np.zeros(0, np.int64)])
