"""The stalls of each session: differences of its counters are added to slices of one tick each.

A session's condition is the sum of its slices over the rating interval, plus the stall that is still open. In a
total outage no client reports the end of a stall, so an open stall counts while it runs, also without reports. Its
running time is provisional: with the next report, the difference of the counter replaces it, and is distributed
over the slices in which the stall ran. So each second of stalling counts once, in the interval in which it
happened.

Example, with ticks of 10 s. A session reports at 12 s, 35 s and 41 s, with the stall open from the first to the
third:

    report at                       12 s   35 s   41 s
    stall_s as reported              1 s   23 s   28 s
    difference                       1 s   22 s    5 s

    stall seconds in the slice from     10 s   20 s   30 s   40 s
    after the report at 12 s             1 s
    at the tick at 30 s                  1 s                        and 18 s provisional, running since 12 s
    after the report at 35 s             9 s   10 s    4 s          22 s from 12 s on: 8 s, 10 s and 4 s
    after the report at 41 s             9 s   10 s    9 s          5 s from 35 s on
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Flags, Floats, Ints, SmallInts, grow_columns
from qoemon.core.counting.conditions import BaseWindow
from qoemon.core.counting.session_table import Admitted, SessionTable
from qoemon.core.counting.window import count
from qoemon.core.plan.plan import Counters, Service, Timing
from qoemon.core.qoe.bins import STALL_BINS, mos_level, stall_bin
from qoemon.core.qoe.mapping import ENDLESS, MEDIA_S
from qoemon.core.wire.batch import Placed
from qoemon.core.wire.report import ABSENT_INT

MAX_SLICE = 2**30
"""Maximum of a slice (12 days in ms): sums cannot overflow, whatever clients report."""


def stall_condition(stalls: Ints, stall_ms: Ints, play_ms: Ints) -> tuple[Floats, Floats]:
    """Stalls n and stall seconds t per MEDIA_S of media, (N,) each.

    Both are ENDLESS if the session stalled and played nothing: the worst condition.

    stalls, stall_ms, play_ms  (N,) sums over the rating interval
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        n, t = stalls * (MEDIA_S * 1000) / play_ms, stall_ms * MEDIA_S / play_ms
    frozen = play_ms == 0
    n[frozen] = t[frozen] = np.where(stall_ms[frozen] > 0, ENDLESS, 0)
    return n, t


class _Reported(NamedTuple):
    """The values of R admitted reports, in their order, (R,) each; counters are stalls, stall_ms, play_ms."""

    counters: list[Ints]
    stalled: Flags
    at_s: Floats
    tick: Ints


class StallCounters:
    """The stall columns of a SessionTable, with the same rows.

    counters  (3, rows) stalls, stall_ms, play_ms as last reported
    known     (rows,) whether a report has set them
    slices    (3, ticks in a rating interval, rows) their differences; the slice of a tick is its number, modulo the
              ticks in a rating interval
    since_s   (rows,) when the open stall was first reported, seconds since the epoch; NaN without one
    """

    def __init__(self, sessions: SessionTable, service: Service, timing: Timing) -> None:
        self._sessions, self._service, self._timing = sessions, service, timing
        self._tick = self._used = 0
        self.counters = np.zeros((3, 0), np.int64)
        self.known = np.zeros(0, np.bool_)
        self.slices = np.zeros((3, timing.slices, 0), np.int32)
        self.since_s = np.zeros(0)

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the reports of a batch; returns the number of resets: reports with a decreased counter."""
        self._grow()
        reported = _reported(admitted, placed)
        if self._service.counters is Counters.CUMULATIVE:
            differences, resets = self._differences(admitted, reported.counters)
        else:
            differences, resets = [np.maximum(column, 0) for column in reported.counters], 0
        # Stalls and played media count in the tick of the report, stall time in the ticks in which it ran.
        self._add(0, admitted.row, reported.tick, differences[0])
        self._add(2, admitted.row, reported.tick, differences[2])
        self._add_stall_time(admitted, reported, differences[1])
        self._update_open_stalls(admitted, reported)
        return resets

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The conditions of sessions that were active in the rating interval that ends at at_s."""
        self._grow()
        levels = np.zeros((groups, len(self._service.rated_at)), np.int64)
        qos = np.zeros((groups, STALL_BINS.size), np.int64)
        rows_of_parts, groups_of_parts = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for part in self._sessions.parts:
            sums = self._sums(part, at_s)
            stalls, stall_ms, play_ms = sums
            rated = stall_ms + play_ms >= max(self._timing.min_active_s * 1000, 1)
            group = self._sessions.group[part]
            stalled = np.flatnonzero(rated & ((stalls | stall_ms) != 0))
            self._count(levels, qos, group[stalled], [column[stalled] for column in sums])
            rows = np.flatnonzero(rated)
            rows_of_parts.append((part.start + rows).astype(np.int32))  # there may be a million
            groups_of_parts.append(group[rows])
        group_of_row = np.concatenate(groups_of_parts)
        users = np.bincount(group_of_row, minlength=groups)
        self._count_without_stalls(levels, qos, users - levels.sum(axis=1))
        return BaseWindow(levels, qos, users, np.concatenate(rows_of_parts), group_of_row)

    def _sums(self, part: slice, at_s: float) -> tuple[Ints, Ints, Ints]:
        """Sums of stalls, stall_ms and play_ms of a part of the rows, over the interval that ends at at_s."""
        stalls, stall_ms, play_ms = (_total(slices[:, part]) for slices in self.slices)
        running = np.flatnonzero(~np.isnan(self.since_s[part]))
        ran_s = np.clip(at_s - self._sessions.last_s[part][running], 0, self._timing.interval_s)
        stall_ms[running] += np.rint(ran_s * 1000).astype(np.int64)
        return stalls, stall_ms, play_ms

    def _count(self, levels: Counts, qos: Counts, group: SmallInts, sums: Sequence[Ints]) -> None:
        n, t = stall_condition(*sums)
        count(levels, group, mos_level(self._service.mapping(n, t), self._service.scale))
        count(qos, group, stall_bin(n, t))

    def _count_without_stalls(self, levels: Counts, qos: Counts, number: Ints) -> None:
        """Count (G,) sessions that did not stall: these are many, and all have the same condition."""
        n = t = np.zeros(1)
        levels[:, mos_level(self._service.mapping(n, t), self._service.scale)] += number[:, None]
        qos[:, stall_bin(n, t)] += number[:, None]

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and when it was first reported, seconds since the epoch."""
        rows = np.flatnonzero(self._open())
        return rows, self.since_s[rows]

    def enter(self, tick: int) -> None:
        """Begin a tick: clear its slice, which holds the counts of a rating interval ago."""
        self._tick = tick
        self.slices[:, tick % self._timing.slices, : self._used] = 0

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals, in seconds, which does not move any slice."""
        self._tick = tick
        self.since_s[: self._used] += by_s

    def remove(self, rows: Ints) -> None:
        """Remove these sessions."""
        self._grow()
        self.counters[:, rows] = 0
        self.known[rows] = False
        self.slices[:, :, rows] = 0
        self.since_s[rows] = np.nan

    def dump(self) -> dict[str, NDArray[Any]]:
        """The columns of all sessions, in the order of SessionTable.occupied."""
        self._grow()
        rows = self._sessions.occupied
        return {
            "counters": self.counters[:, rows],
            "known": self.known[rows],
            "slices": self.slices[:, :, rows],
            "since_s": self.since_s[rows],
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        self.counters[:, rows] = state["counters"]
        self.known[rows] = state["known"]
        self.slices[:, :, rows] = state["slices"]
        self.since_s[rows] = state["since_s"]

    def _open(self) -> Flags:
        self._grow()
        return ~np.isnan(self.since_s[: self._used])

    def _grow(self) -> None:
        """Extend the columns to all rows of the table; new rows have no open stall."""
        used, room = self._used, self._sessions.capacity
        if room > len(self.known):
            self.counters, self.slices = (
                grow_columns(self.counters, used, room),
                grow_columns(self.slices, used, room),
            )
            self.known, self.since_s = grow_columns(self.known, used, room), grow_columns(self.since_s, used, room)
        self._used = self._sessions.rows
        self.since_s[used : self._used] = np.nan

    def _differences(self, admitted: Admitted, reported: list[Ints]) -> tuple[list[Ints], int]:
        """The differences of cumulative counters between reports, (R,) per counter, and the number of resets."""
        row, last = admitted.row, admitted.last
        known = [column[row] for column in self.counters]
        values = [_fill_missing(*columns, admitted.first) for columns in zip(reported, known, strict=True)]
        for counter, value in zip(self.counters, values, strict=True):
            counter[row[last]] = value[last]
        differences = [value - admitted.previous(old, value) for value, old in zip(values, known, strict=True)]
        decreased = np.logical_or.reduce([difference < 0 for difference in differences])
        if decreased.any():
            differences = [np.where(new < 0, value, new) for new, value in zip(differences, values, strict=True)]
        unknown = admitted.first & ~self.known[row]
        if unknown.any():
            # A session older than the interval has no baseline yet. Its age is the time that it stalled and played:
            # clients' clocks are unreliable, and paused time is not rated.
            older = values[1] + values[2] > self._timing.interval_s * 1000
            differences = [np.where(unknown & older, 0, difference) for difference in differences]
            self.known[row] = True
        return differences, int(np.count_nonzero(decreased))

    def _add_stall_time(self, admitted: Admitted, reported: _Reported, stall_ms: Ints) -> None:
        """Add stall time to the slices in which it ran: those since the last report if a stall was open then."""
        continued = self._was_open(admitted, reported.stalled) & (stall_ms > 0)
        if not continued.any():
            self._add(1, admitted.row, reported.tick, stall_ms)
            return
        self._add(1, admitted.row, reported.tick, np.where(continued, 0, stall_ms))
        row, tick, at_s = admitted.row[continued], reported.tick[continued], reported.at_s[continued]
        began_s, total = admitted.before_s[continued], stall_ms[continued]
        # The open stall ran from the previous report on, for at most the time between the two reports.
        ran = np.minimum(total, np.rint(np.maximum(at_s - began_s, 0) * 1000).astype(np.int64))
        remaining = total.copy()
        for back in range(self._timing.slices):
            start_s = (tick - back) * self._timing.tick_s
            earlier = np.clip(np.rint((start_s - began_s) * 1000).astype(np.int64), 0, ran)
            self._add(1, row, tick - back, remaining - earlier)
            remaining = earlier

    def _was_open(self, admitted: Admitted, stalled: Flags) -> Flags:
        """(R,) whether a stall was open in the session's report before each report."""
        return admitted.previous(~np.isnan(self.since_s[admitted.row]), stalled)

    def _add(self, counter: int, row: Ints, tick: Ints, amount: Ints) -> None:
        """Add (R,) amounts to the slices of their ticks, except those too old for any slice.

        Several amounts may belong to one cell; a cell is limited to MAX_SLICE.
        """
        slices = self.slices[counter]
        recent = np.flatnonzero((amount > 0) & (tick > self._tick - self._timing.slices))
        if not len(recent):
            return
        cell, amount = tick[recent] % self._timing.slices * slices.shape[1] + row[recent], amount[recent]
        if np.any(cell[1:] < cell[:-1]):
            order = np.argsort(cell, kind="stable")
            cell, amount = cell[order], amount[order]
        begins = np.flatnonzero(np.diff(cell, prepend=-1))
        if len(begins) < len(cell):
            cell, amount = cell[begins], np.add.reduceat(amount, begins)
        flat = slices.reshape(-1)
        flat[cell] = np.minimum(flat[cell] + amount, MAX_SLICE)

    def _update_open_stalls(self, admitted: Admitted, reported: _Reported) -> None:
        last = admitted.last
        row, opened = admitted.row[last], reported.stalled[last]
        changed = np.flatnonzero(opened == np.isnan(self.since_s[row]))
        self.since_s[row[changed]] = np.where(opened[changed], reported.at_s[last][changed], np.nan)


def _reported(admitted: Admitted, placed: Placed) -> _Reported:
    batch, position = placed.batch, admitted.position
    return _Reported(
        counters=[column[position] for column in (batch.stalls, batch.stall_ms, batch.play_ms)],
        stalled=batch.stalled[position] & ~batch.end[position],
        at_s=placed.at_s[position],
        tick=placed.tick[position],
    )


def _total(slices: NDArray[np.int32]) -> Ints:
    """(S, N) summed to (N,)."""
    # 32 bits take two thirds of the time, and are used where the sum cannot overflow.
    narrow = slices.max(initial=0) <= np.iinfo(np.int32).max // len(slices)
    return np.asarray(slices.sum(axis=0, dtype=np.int32 if narrow else np.int64), np.int64)


def _fill_missing(reported: Ints, known: Ints, first: Flags) -> Ints:
    """(R,) counters by session, then seq; missing values are replaced by the last known ones."""
    if (reported != ABSENT_INT).all():
        return reported
    index = np.arange(len(reported))
    begin = np.maximum.accumulate(np.where(first, index, 0))
    newest = np.maximum.accumulate(np.where(reported != ABSENT_INT, index, -1))
    return np.where(newest >= begin, reported[newest], known)
