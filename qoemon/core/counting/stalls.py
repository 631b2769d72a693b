"""The stalls of each session: counters become differences, and differences are added to slices of one tick each.

A session's condition is the sum of its slices over the rating interval, plus the stall that is still open. In a
total outage nobody reports the end of a stall, so an open stall counts as it runs, also while its client is silent.
What ran is provisional: at the next report the difference of the counter replaces it, and is placed over the time
in which the stall ran. So each second of stalling counts once, in the interval in which it happened.

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

MOST = 2**30
"""A slice holds no more than this (12 days in ms): adding to it can't overflow, whatever clients claim."""


def stall_condition(stalls: Ints, stall_ms: Ints, play_ms: Ints) -> tuple[Floats, Floats]:
    """Stalls n and stall seconds t per MEDIA_S of media, (N,) each, of sums over the time that is rated.

    As good as infinitely many of both where something stalled and nothing was played: nothing is worse.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        n, t = stalls * (MEDIA_S * 1000) / play_ms, stall_ms * MEDIA_S / play_ms
    stuck = play_ms == 0
    n[stuck] = t[stuck] = np.where(stall_ms[stuck] > 0, ENDLESS, 0)
    return n, t


class _Reported(NamedTuple):
    """What R admitted reports say, in their order, (R,) each: three counters, and the others."""

    counters: list[Ints]
    stalled: Flags
    at_s: Floats
    tick: Ints


class StallCounters:
    """The stall columns beside a SessionTable, row for row.

    counters  (3, rows) stalls, stall_ms, play_ms as last reported
    known     (rows,) whether a report has set them
    slices    (3, ticks in a rating interval, rows) their differences
    since_s   (rows,) when the open stall was first heard of, NaN without one
    """

    def __init__(self, sessions: SessionTable, service: Service, timing: Timing) -> None:
        self._sessions, self._service, self._timing = sessions, service, timing
        self._tick = self._used = 0
        self.counters = np.zeros((3, 0), np.int64)
        self.known = np.zeros(0, np.bool_)
        self.slices = np.zeros((3, timing.slices, 0), np.int32)
        self.since_s = np.zeros(0)

    def apply(self, admitted: Admitted, placed: Placed) -> int:
        """Count the reports of a batch; returns how many reported a counter that fell, which is a reset."""
        self._grow()
        reported = _reported(admitted, placed)
        if self._service.counters is Counters.CUMULATIVE:
            differences, resets = self._differences(admitted, reported.counters)
        else:
            differences, resets = [np.maximum(column, 0) for column in reported.counters], 0
        # Stalls and played media are placed with the report, stall seconds where they ran.
        self._place(0, admitted.row, reported.tick, differences[0])
        self._place(2, admitted.row, reported.tick, differences[2])
        self._place_stall_time(admitted, reported, differences[1])
        self._follow_open_stalls(admitted, reported)
        return resets

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The sessions that were active in the rating interval that ends at at_s."""
        self._grow()
        levels = np.zeros((groups, len(self._service.rated_at)), np.int64)
        qos = np.zeros((groups, STALL_BINS.size), np.int64)
        everyone, groups_of = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for part in self._sessions.parts:
            sums = self._sums(part, at_s)
            stalls, stall_ms, play_ms = sums
            rated = stall_ms + play_ms >= max(self._timing.min_active_s * 1000, 1)
            group = self._sessions.group[part]
            stalled = np.flatnonzero(rated & ((stalls | stall_ms) != 0))
            self._count(levels, qos, group[stalled], [column[stalled] for column in sums])
            rows = np.flatnonzero(rated)
            everyone.append((part.start + rows).astype(np.int32))  # there may be a million
            groups_of.append(group[rows])
        found = np.concatenate(groups_of)
        users = np.bincount(found, minlength=groups)
        self._count_calm(levels, qos, users - levels.sum(axis=1))
        return BaseWindow(levels, qos, users, np.concatenate(everyone), found)

    def _sums(self, part: slice, at_s: float) -> tuple[Ints, Ints, Ints]:
        """Stalls, stall_ms and play_ms of a part of the rows, over the rating interval that ends at at_s."""
        stalls, stall_ms, play_ms = (_total(slices[:, part]) for slices in self.slices)
        running = np.flatnonzero(~np.isnan(self.since_s[part]))
        ran_s = np.clip(at_s - self._sessions.last_s[part][running], 0, self._timing.interval_s)
        stall_ms[running] += np.rint(ran_s * 1000).astype(np.int64)
        return stalls, stall_ms, play_ms

    def _count(self, levels: Counts, qos: Counts, group: SmallInts, sums: Sequence[Ints]) -> None:
        n, t = stall_condition(*sums)
        count(levels, group, mos_level(self._service.mapping(n, t), self._service.scale))
        count(qos, group, stall_bin(n, t))

    def _count_calm(self, levels: Counts, qos: Counts, number: Ints) -> None:
        """Those who did not stall are many and all alike: (G,) how many."""
        n = t = np.zeros(1)
        levels[:, mos_level(self._service.mapping(n, t), self._service.scale)] += number[:, None]
        qos[:, stall_bin(n, t)] += number[:, None]

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and when each was first heard of, seconds since the epoch."""
        rows = np.flatnonzero(self._open())
        return rows, self.since_s[rows]

    def enter(self, tick: int) -> None:
        """Begin a tick: its slice forgets what it held a rating interval ago."""
        self._tick = tick
        self.slices[:, tick % self._timing.slices, : self._used] = 0

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals, which leaves every slice in its place."""
        self._tick = tick
        self.since_s[: self._used] += by_s

    def remove(self, rows: Ints) -> None:
        """Forget these sessions."""
        self._grow()
        self.counters[:, rows] = 0
        self.known[rows] = False
        self.slices[:, :, rows] = 0
        self.since_s[rows] = np.nan

    def dump(self) -> dict[str, NDArray[Any]]:
        """The columns of all rows that are or were in use."""
        self._grow()
        rows = self._sessions.occupied
        return {
            "counters": self.counters[:, rows],
            "known": self.known[rows],
            "slices": self.slices[:, :, rows],
            "since_s": self.since_s[rows],
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore what dump() gave, for the rows that the session table gave out."""
        self._grow()
        self.counters[:, rows] = state["counters"]
        self.known[rows] = state["known"]
        self.slices[:, :, rows] = state["slices"]
        self.since_s[rows] = state["since_s"]

    def _open(self) -> Flags:
        self._grow()
        return ~np.isnan(self.since_s[: self._used])

    def _grow(self) -> None:
        """Columns for every row of the table; new ones have no open stall."""
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
        """Cumulative counters to what is new in each report, (R,) each, and the number of resets."""
        row, last = admitted.row, admitted.last
        known = [column[row] for column in self.counters]
        now = [_carried(*columns, admitted.first) for columns in zip(reported, known, strict=True)]
        for column, newest in zip(self.counters, now, strict=True):
            column[row[last]] = newest[last]
        new = [newest - admitted.previous(was, newest) for newest, was in zip(now, known, strict=True)]
        fell = np.logical_or.reduce([column < 0 for column in new])
        if fell.any():
            new = [np.where(column < 0, newest, column) for column, newest in zip(new, now, strict=True)]
        unknown = admitted.first & ~self.known[row]
        if unknown.any():
            # Age by what was lived through: wall clocks of clients lie, and paused time is no experience.
            older = now[1] + now[2] > self._timing.interval_s * 1000
            new = [np.where(unknown & older, 0, column) for column in new]
            self.known[row] = True
        return new, int(np.count_nonzero(fell))

    def _place_stall_time(self, admitted: Admitted, reported: _Reported, stall_ms: Ints) -> None:
        ran_on = self._was_open(admitted, reported.stalled) & (stall_ms > 0)
        if not ran_on.any():
            self._place(1, admitted.row, reported.tick, stall_ms)
            return
        self._place(1, admitted.row, reported.tick, np.where(ran_on, 0, stall_ms))
        row, tick, at_s = admitted.row[ran_on], reported.tick[ran_on], reported.at_s[ran_on]
        began_s, total = admitted.before_s[ran_on], stall_ms[ran_on]
        # The open stall ran from the last report on, for as long as there is time for it.
        ran = np.minimum(total, np.rint(np.maximum(at_s - began_s, 0) * 1000).astype(np.int64))
        left = total.copy()
        for back in range(self._timing.slices):
            start_s = (tick - back) * self._timing.tick_s
            earlier = np.clip(np.rint((start_s - began_s) * 1000).astype(np.int64), 0, ran)
            self._place(1, row, tick - back, left - earlier)
            left = earlier

    def _was_open(self, admitted: Admitted, stalled: Flags) -> Flags:
        """Whether a stall was open when the session was last heard before each report."""
        return admitted.previous(~np.isnan(self.since_s[admitted.row]), stalled)

    def _place(self, counter: int, row: Ints, tick: Ints, amount: Ints) -> None:
        """Add amounts to the slices of their ticks, those too old for any slice left out.

        Several may meet in one cell; a cell stops at MOST.
        """
        slices = self.slices[counter]
        there = np.flatnonzero((amount > 0) & (tick > self._tick - self._timing.slices))
        if not len(there):
            return
        cell, amount = tick[there] % self._timing.slices * slices.shape[1] + row[there], amount[there]
        if np.any(cell[1:] < cell[:-1]):
            order = np.argsort(cell, kind="stable")
            cell, amount = cell[order], amount[order]
        begins = np.flatnonzero(np.diff(cell, prepend=-1))
        if len(begins) < len(cell):
            cell, amount = cell[begins], np.add.reduceat(amount, begins)
        flat = slices.reshape(-1)
        flat[cell] = np.minimum(flat[cell] + amount, MOST)

    def _follow_open_stalls(self, admitted: Admitted, reported: _Reported) -> None:
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
    # In their own type it takes two thirds of the time, where it can't overflow.
    narrow = slices.max(initial=0) <= np.iinfo(np.int32).max // len(slices)
    return np.asarray(slices.sum(axis=0, dtype=np.int32 if narrow else np.int64), np.int64)


def _carried(reported: Ints, known: Ints, first: Flags) -> Ints:
    """Counters with those left out filled by what was reported before: (R,) by session, then seq."""
    if (reported != ABSENT_INT).all():
        return reported
    index = np.arange(len(reported))
    begin = np.maximum.accumulate(np.where(first, index, 0))
    newest = np.maximum.accumulate(np.where(reported != ABSENT_INT, index, -1))
    return np.where(newest >= begin, reported[newest], known)
