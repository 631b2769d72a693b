"""The stalls of each run: the differences of its counters, in slices of one tick each.

A difference belongs to the time since the run was last heard, and is spread evenly over it. A run's condition is
the sum of its slices over the rating interval, plus the stall that is still open. In a total outage no client
reports the end of a stall, so an open stall counts while it runs, also without reports. Its running time is
provisional: with the next report, the difference of the counter replaces it, placed where the stall ran.

Example, with ticks of 10 s. A session that was last heard at 11 s reports at 12 s, 35 s and 41 s, with a stall
open from the first to the third:

    report at                       12 s   35 s   41 s
    stall_s as reported              1 s   23 s   28 s
    difference                       1 s   22 s    5 s

    stall seconds in the slice from     10 s   20 s   30 s   40 s
    after the report at 12 s             1 s                        of the second before
    at the tick at 30 s                  1 s                        and 18 s provisional, running since 12 s
    after the report at 35 s             9 s   10 s    4 s          22 s from 12 s on: 8 s, 10 s and 4 s
    after the report at 41 s             9 s   10 s    9 s          5 s from 35 s on

What falls into rating intervals that have closed and in which the run was not rated is rated there, late. What
falls into one in which it was rated adds nothing to it: each interval rates a run once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints, SmallInts, grow_columns, named
from qoemon.core.arrays import part as part_of
from qoemon.core.counting.conditions import NONE_KEPT, BaseWindow, Kept
from qoemon.core.counting.feedback_counts import NO_CONDITION, condition_number
from qoemon.core.counting.late import NONE_LATE, LateConditions, LatePart
from qoemon.core.counting.quality import UNKNOWN, UNMEASURED, Quality, no_quality, rates_quality
from qoemon.core.counting.runs import Reports
from qoemon.core.counting.session_table import NO_GROUP, SessionTable
from qoemon.core.counting.tally import Tally
from qoemon.core.plan.plan import Service, Timing
from qoemon.core.qoe.bins import STALL_BINS, mapped_stalls, mos_level, stall_bin
from qoemon.core.qoe.mapping import ENDLESS, MEDIA_S
from qoemon.core.wire.batch import Batch

MAX_SLICE = 2**30
"""Maximum of a slice (12 days in ms): sums cannot overflow, whatever clients report."""


PARTS = 1000
"""Stalls are counted in thousandths, so that they can be spread over slices."""

NOT_KEPT = -1
ROW_BASE = 2**31
"""More than the largest row: an interval and a row are combined in one number."""


def stall_condition(stalls: Ints, stall_ms: Ints, play_ms: Ints, parts: int = 1) -> tuple[Floats, Floats]:
    """Stalls n and stall seconds t per MEDIA_S of media, (N,) each.

    Both are ENDLESS if the session stalled and played nothing: the worst condition.

    stalls, stall_ms, play_ms  (N,) sums over the rating interval
    parts                      number of parts of a stall in which stalls are counted
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        n, t = stalls * (MEDIA_S * 1000 / parts) / play_ms, stall_ms * MEDIA_S / play_ms
    frozen = play_ms == 0
    n[frozen] = t[frozen] = np.where(stall_ms[frozen] > 0, ENDLESS, 0)
    return n, t


def stall_rate(stalls: Ints, stall_ms: Ints, play_ms: Ints, parts: int = 1) -> Floats:
    """Stalls per MEDIA_S of the session's own time, (N,): the time in which it played or stalled.

    This is the number that people read. Per minute of media, one stall of a session that plays almost nothing is
    sixty. Where media stood still for the whole rating interval, the stall that began before it counts as one.

    stalls, stall_ms, play_ms, parts  as for stall_condition()
    """
    rate: Floats = stalls * (MEDIA_S * 1000 / parts) / np.maximum(stall_ms + play_ms, 1)
    frozen = (play_ms == 0) & (stall_ms > 0)
    rate[frozen] = np.maximum(stalls[frozen] / parts, 1)
    return rate


class _Span(NamedTuple):
    """What happened to R runs in a time each, evenly spread over it: (R,) times in ms, and (3, R) amounts.

    quality  (R,) of what was played, as in quality.py; None if it is not rated
    """

    start_ms: Ints
    end_ms: Ints
    amounts: Ints
    quality: Ints | None = None

    def take(self, kept: Ints) -> _Span:
        quality = None if self.quality is None else self.quality[kept]
        return _Span(self.start_ms[kept], self.end_ms[kept], self.amounts[:, kept], quality)

    def before(self, time_ms: Ints | int) -> Ints:
        """(3, R) the part before a time; in integers, so that the parts add up to the whole."""
        length = self.end_ms - self.start_ms
        passed = np.clip(time_ms - self.start_ms, 0, length)
        part = self.amounts * passed // np.maximum(length, 1)
        instant = (length == 0) & (self.start_ms < time_ms)
        return np.where(instant, self.amounts, part) if instant.any() else part

    def since(self, time_ms: Ints) -> _Span:
        """The part since a time."""
        start_ms, end_ms = np.maximum(self.start_ms, time_ms), np.maximum(self.end_ms, time_ms)
        return _Span(start_ms, end_ms, self.amounts - self.before(time_ms), self.quality)


class StallConditions:
    """The stall columns of a SessionTable, with the same rows.

    slices    (3, ticks in a rating interval, rows) thousandths of stalls, stall_ms and play_ms; the slice of a tick
              is its number, modulo the ticks in a rating interval
    since_s   (rows,) when the open stall was first reported, seconds since the epoch; NaN without one
    rated     (rows,) int32, the newest rating interval in which the run was rated, in intervals since the epoch
    kept      (2, rows) int16, level and bin of the last condition, of runs that pause for more than an interval
    """

    def __init__(self, sessions: SessionTable, service: Service, timing: Timing, late: LateConditions) -> None:
        self._sessions, self._service, self._timing, self._late = sessions, service, timing, late
        self._tick = self._used = 0
        self._tick_ms, self._interval_ms = timing.tick_s * 1000, timing.interval_s * 1000
        self._min_active_ms = max(timing.min_active_s * 1000, 1)
        self._seldom_s = timing.interval_s - timing.min_active_s
        """With longer pauses, too little of the last report may be in the base window to be rated."""
        self.slices = np.zeros((3, timing.slices, 0), np.int32)
        self.since_s = np.zeros(0)
        self.rated = np.zeros(0, np.int32)
        self.kept = np.zeros((2, 0), np.int16)
        # A run that is silent for longer has expired.
        self._longest_ms = int(timing.session_timeout_s + timing.interval_s) * 1000
        self._quality = Quality(sessions, service, timing) if rates_quality(service) else None
        self._owed: list[tuple[Ints, SmallInts, SmallInts]] = []
        """What came late: (N,) ends of intervals, seconds since the epoch, (N,) rows, and amounts: (3, N), or
        (6, N) with the play time of known quality, that times the quality, and the newest quality at that time."""
        self.late_revision = 0

    @property
    def _columns(self) -> dict[str, NDArray[Any]]:
        return {"slices": self.slices, "since_s": self.since_s, "rated": self.rated, "kept": self.kept}

    def apply(self, reports: Reports, batch: Batch, group: Ints, added: Ints, began: Flags) -> Flags:
        """Count one report of each of these rows; returns (R,) whether its open stall is impossible.

        added  (3, R) stalls, stall_ms and play_ms since the report before
        began  (R,) whether a run begins with the report
        """
        self._grow()
        row, gap_ms = reports.row, reports.gap_ms
        if self._owed:
            before = self._sessions.group[row]
            self.late_revision += bool(((before != group) & (before != NO_GROUP)).any())
        stalls, stall_ms, play_ms = np.minimum(added, [[MAX_SLICE // PARTS], [MAX_SLICE], [MAX_SLICE]])
        stalls = stalls * PARTS
        at_ms = np.rint(reports.at_s * 1000).astype(np.int64)
        # A run that begins is as old as the time that it has stalled and played.
        since_ms = np.where(gap_ms < 0, self._interval_ms, gap_ms)
        start_ms = at_ms - np.where(began, np.minimum(stall_ms + play_ms, since_ms), since_ms)
        was_open = ~np.isnan(self.since_s[row]) & (gap_ms >= 0)
        claims_open = batch.stalled[reports.position] & ~batch.end[reports.position]
        grows = (play_ms > np.maximum(1000, gap_ms // 2)) & (stalls == 0) & (gap_ms >= 0)
        impossible: Flags = claims_open & grows & (was_open | (stall_ms == 0))
        rated_ms = self.rated[row].astype(np.int64) * self._interval_ms
        ran_ms = np.where(was_open, np.minimum(stall_ms, gap_ms), 0)
        spans = []
        if ran_ms.any():
            none = np.zeros_like(ran_ms)
            spans.append(_Span(start_ms, start_ms + ran_ms, np.array([none, ran_ms, none])))
            start_ms, stall_ms = start_ms + ran_ms, stall_ms - ran_ms
        quality = None if self._quality is None else self._quality.of_reports(batch, reports.position)
        spans.append(_Span(start_ms, at_ms, np.array([stalls, stall_ms, play_ms]), quality))
        if (gap_ms > self._longest_ms).any():
            # In a backlog, or if a clock jumps, reports may be years apart.
            spans = [span.since(at_ms - self._longest_ms) for span in spans]
        closed_ms = self._tick * self._tick_ms // self._interval_ms * self._interval_ms
        late = np.flatnonzero((spans[0].start_ms < closed_ms) & (rated_ms < closed_ms))
        if len(late):
            # Too little to be rated there: it would be in no interval, so it counts from the end of that one on.
            _, stall_ms, play_ms = _before(spans, closed_ms)
            little = (rated_ms < closed_ms) & (at_ms > closed_ms) & (stall_ms + play_ms < self._min_active_ms)
            spans[-1] = spans[-1]._replace(
                start_ms=np.where(little, np.maximum(spans[-1].start_ms, closed_ms), spans[-1].start_ms)
            )
        for span in spans:
            self._place(row, span)
        if len(late):
            held = None if self._quality is None or quality is None else self._quality.newest(row, quality)[late]
            self._collect_late(row[late], [span.take(late) for span in spans], closed_ms, held)
        if self._quality is not None and quality is not None:
            self._quality.hear(row, quality, reports.at_s)
        self._keep(row, gap_ms, added)
        self._update_open_stalls(row, claims_open & ~impossible, reports.at_s)
        return impossible

    def measured(self, reports: Reports, batch: Batch) -> tuple[Ints, Ints]:
        """None: stalls are counted by differences."""
        none: Ints = np.zeros(len(reports.row), np.int64)
        return none, none

    def told_quality(self, reports: Reports, batch: Batch) -> Ints | None:
        """(R,) quality that these reports tell, as in quality.py; None if the service rates none."""
        return None if self._quality is None else self._quality.of_reports(batch, reports.position)

    def base_window(self, at_s: float, groups: int) -> BaseWindow:
        """The conditions of runs that were active in the rating interval that ends at at_s."""
        self._grow()
        levels = Tally(groups, len(self._service.rated_at), self._sessions.rows)
        qos = Tally(groups, STALL_BINS.size, self._sessions.rows)
        without = np.zeros(groups, np.int64)
        rows_of_parts, groups_of_parts = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        kept = []
        quality, of_part = no_quality(self._service, groups), None
        for part in self._sessions.parts:
            sums = self._sums(part, at_s)
            stalls, stall_ms, play_ms = sums
            rated = stall_ms + play_ms >= self._min_active_ms
            group = self._sessions.group[part]
            if self._quality is not None:
                of_part = self._quality.of_rows(part)
                quality[:, UNMEASURED] += _counted(group[rated & (of_part == UNKNOWN)], groups)
                rated &= of_part != UNKNOWN
                stalled = np.flatnonzero(rated)  # each has a quality of its own, stalled or not
            else:
                stalled = np.flatnonzero(rated & ((stalls | stall_ms) != 0))
            of_stalled = None if of_part is None else of_part[stalled]
            n, t, level, shown = self._rated(stalls[stalled], stall_ms[stalled], play_ms[stalled], of_stalled)
            levels.add(group[stalled], level)
            qos.add(group[stalled], shown)
            if self._quality is not None and of_stalled is not None:
                self._quality.count(quality, group[stalled], of_stalled, n, t)
            without -= np.bincount(group[stalled], minlength=groups)
            rows = np.flatnonzero(rated)
            rows_of_parts.append((part.start + rows).astype(np.int32))  # there may be a million
            groups_of_parts.append(group[rows])
            if (self._sessions.pause_s[part] > self._seldom_s).any():
                kept.append(self._kept_rows(part, ~rated, at_s))
        group_of_row = np.concatenate(groups_of_parts)
        users = np.bincount(group_of_row, minlength=groups)
        without += users
        if self._quality is None:
            self._count_without_stalls(levels, qos, without)
        silent = NONE_KEPT if not kept else self._kept(np.concatenate(kept), at_s)
        if self._quality is not None and len(silent.row):
            n, t = mapped_stalls(*(axis[silent.shown] for axis in STALL_BINS.conditions))
            self._quality.count(quality, silent.group, self._quality.last[silent.row].astype(np.int64), n, t)
        return BaseWindow(
            levels=levels.histogram(),
            qos=qos.histogram(),
            users=users,
            squares=users,
            rows=np.concatenate(rows_of_parts),
            groups=group_of_row,
            kept=silent,
            quality=quality,
        )

    def conditions_of(self, rows: Ints, at_s: float) -> Ints:
        """As Conditions.conditions_of()."""
        self._grow()
        stalls, stall_ms, play_ms = self._sums(rows, at_s)
        rated = stall_ms + play_ms >= self._min_active_ms
        quality = None
        if self._quality is not None:
            quality = self._quality.of_rows(rows)
            rated &= quality != UNKNOWN
            quality = np.maximum(quality, 0)
        _, _, level, shown = self._rated(stalls, stall_ms, play_ms, quality)
        return np.where(rated, condition_number(level, shown), NO_CONDITION)

    def close(self, end_s: int, rows: SmallInts) -> None:
        """Record that these rows are rated in the interval that ends at end_s."""
        self.rated[rows] = end_s // self._timing.interval_s

    def open_stalls(self) -> tuple[Ints, Floats]:
        """Rows with an open stall, and when it was first reported, seconds since the epoch."""
        self._grow()
        rows = np.flatnonzero(~np.isnan(self.since_s[: self._used]))
        return rows, self.since_s[rows]

    def end_stalls(self, rows: Ints) -> None:
        """Take these runs as not stalled any more: a new run of their session has begun."""
        self._grow()
        self.since_s[rows] = np.nan

    def enter(self, tick: int) -> None:
        """Begin a tick: clear its slice, which holds the counts of a rating interval ago."""
        self._tick = tick
        self.slices[:, tick % self._timing.slices, : self._used] = 0
        if self._quality is not None:
            self._quality.enter(tick % self._timing.slices, self._used)

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals, in seconds, which does not move any slice."""
        self._tick = tick
        self.since_s[: self._used] += by_s
        self.rated[: self._used] += by_s // self._timing.interval_s
        self._owed = [(end_s + by_s, row, amounts) for end_s, row, amounts in self._owed]

    def remove(self, rows: Ints) -> None:
        """Remove these runs."""
        self._grow()
        self.slices[:, :, rows] = 0
        self.since_s[rows] = np.nan
        self.rated[rows], self.kept[:, rows] = 0, NOT_KEPT
        if self._quality is not None:
            self._quality.remove(rows)

    def dump(self) -> dict[str, NDArray[Any]]:
        """The columns of all runs, in the order of SessionTable.occupied."""
        self._grow()
        rows = self._sessions.occupied
        end_s, owed_row, amounts = self._all_owed()
        index = np.full(self._sessions.rows, -1)
        index[rows] = np.arange(len(rows))
        return {
            **{name: column[..., rows] for name, column in self._columns.items()},
            "owed_end_s": end_s,
            "owed_row": index[owed_row],
            "owed": amounts,
            **({} if self._quality is None else named("quality/", self._quality.dump(rows))),
        }

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump(); rows are those that SessionTable.load() returned."""
        self._grow()
        for name, column in self._columns.items():
            if name in state:
                column[..., rows] = state[name]
        if self._quality is not None:
            self._quality.load(part_of("quality/", state), rows)
        if "owed" in state:
            self._owed = [(state["owed_end_s"], rows[state["owed_row"]], state["owed"])]
        if "rated" not in state:
            # States of version 2 and before count whole stalls, and rate all runs when an interval closes.
            self.slices[0][:, rows] = np.minimum(state["slices"][0].astype(np.int64) * PARTS, MAX_SLICE)
            self.rated[rows] = self._tick * self._timing.tick_s // self._timing.interval_s

    def _sums(self, part: slice | Ints, at_s: float) -> tuple[Ints, Ints, Ints]:
        """Sums of the slices of some of the rows, over the interval that ends at at_s; stalls in thousandths."""
        stalls, stall_ms, play_ms = (_total(slices[:, part]) for slices in self.slices)
        running = np.flatnonzero(~np.isnan(self.since_s[part]))
        ran_s = np.clip(at_s - self._sessions.last_s[part][running], 0, self._timing.interval_s)
        stall_ms[running] += np.rint(ran_s * 1000).astype(np.int64)
        return stalls, stall_ms, play_ms

    def _rated(
        self, stalls: Ints, stall_ms: Ints, play_ms: Ints, quality: Ints | None = None
    ) -> tuple[Floats, Floats, Ints, Ints]:
        """(N,) stalls and stall seconds per MEDIA_S, levels, and shown bins of conditions; stalls in thousandths.

        quality  (N,) in parts of the scale, known; None if it is not rated
        """
        n, t = stall_condition(stalls, stall_ms, play_ms, PARTS)
        shown = stall_bin(stall_rate(stalls, stall_ms, play_ms, PARTS), t)
        if self._quality is not None and quality is not None:
            return n, t, self._quality.rated(quality, n, t), shown
        return n, t, mos_level(self._service.mapping(n, t), self._service.scale), shown

    def _count_without_stalls(self, levels: Tally, qos: Tally, number: Ints) -> None:
        """Count (G,) runs that did not stall: these are many, and all have the same condition."""
        none = np.zeros(1)
        levels.add_to_all(int(mos_level(self._service.mapping(none, none), self._service.scale)[0]), number)
        qos.add_to_all(int(stall_bin(none, none)[0]), number)

    def _place(self, row: Ints, span: _Span) -> None:
        """Add what happened in a span of time to the slices of its ticks, as far as there are slices for them."""
        tick = np.minimum(span.end_ms // self._tick_ms, self._tick)
        remaining = span.amounts
        for _ in range(self._timing.slices):
            earlier = span.before(tick * self._tick_ms)
            self._add(row, tick, remaining - earlier, span.quality)
            left = np.flatnonzero(earlier.any(axis=0))
            if not len(left):
                return
            if len(left) < len(row):
                row, tick, span, earlier = row[left], tick[left], span.take(left), earlier[:, left]
            tick, remaining = tick - 1, earlier

    def _add(self, row: Ints, tick: Ints, amounts: Ints, quality: Ints | None) -> None:
        """Add (3, R) amounts to the slices of their ticks, except those too old for any; the rows are distinct.

        A slice is limited to MAX_SLICE.
        """
        recent = tick > self._tick - self._timing.slices
        if not recent.all():
            row, tick, amounts = row[recent], tick[recent], amounts[:, recent]
            quality = None if quality is None else quality[recent]
        if self._quality is not None and quality is not None:
            self._quality.add(tick % self._timing.slices, row, amounts[2], quality)
        cell = tick % self._timing.slices * self.slices.shape[2] + row
        for slices, amount in zip(self.slices, amounts, strict=True):
            flat = slices.reshape(-1)
            flat[cell] = np.minimum(flat[cell] + amount, MAX_SLICE)

    def _collect_late(self, row: Ints, spans: Sequence[_Span], closed_ms: int, held: Ints | None = None) -> None:
        """Keep what belongs to closed intervals until settle().

        held  (R,) quality that holds where none of it is known; None if it is not rated
        """
        self.late_revision += 1
        # Of each run from its own newest interval back: the times of a batch may be years apart.
        newest_ms = np.max([span.end_ms for span in spans], axis=0) // self._interval_ms + 1
        end_ms = np.minimum(newest_ms * self._interval_ms, closed_ms)
        after = _before(spans, end_ms)
        while len(left := np.flatnonzero(after.any(axis=0))):
            row, end_ms, after, spans = row[left], end_ms[left], after[:, left], [span.take(left) for span in spans]
            held = None if held is None else held[left]
            before = _before(spans, end_ms - self._interval_ms)
            amounts = after - before
            some = np.flatnonzero(amounts.any(axis=0))
            # There may be a million; a slice limits an amount to 32 bits.
            owed = _owed(amounts[:, some], spans[-1].quality, held, some)
            self._owed.append((end_ms[some] // 1000, row[some].astype(np.int32), owed))
            end_ms, after = end_ms - self._interval_ms, before

    def unsettled(self) -> Ints:
        """Rows for which something came late since settle()."""
        return self._all_owed()[1]

    def late(self) -> LatePart:
        """What came late since settle() and will be rated."""
        if not self._owed:
            return NONE_LATE
        of_end_s, of_row, amounts = self._all_owed()
        keys, index = np.unique(of_end_s // self._timing.interval_s * ROW_BASE + of_row, return_inverse=True)
        number, rows = keys // ROW_BASE, keys % ROW_BASE
        sums: Ints = np.zeros((5, len(keys)), np.int64)
        for total, amount in zip(sums, amounts, strict=False):
            np.add.at(total, index, amount)
        some = np.flatnonzero((self.rated[rows] < number) & (sums[1] + sums[2] >= self._min_active_ms))
        quality = None
        if self._quality is not None:
            held = np.zeros(len(keys), np.int64)
            held[index] = amounts[5]  # the last one of each, in the order in which they came
            quality = self._quality.mean(sums[3, some], sums[4, some], held[some])
            some, quality = some[quality != UNKNOWN], quality[quality != UNKNOWN]
        _, _, level, shown = self._rated(sums[0, some], sums[1, some], sums[2, some], quality)
        group = self._sessions.group[rows[some]].astype(np.int64)
        return LatePart(number[some] * self._timing.interval_s, rows[some], group, level, shown)

    def settle(self) -> None:
        """Rate runs in the closed intervals in which they were not rated so far, from all that came late."""
        part = self.late()
        self._late.add(part)
        np.maximum.at(self.rated, part.row, (part.end_s // self._timing.interval_s).astype(np.int32))
        self._owed = []

    def _all_owed(self) -> tuple[Ints, Ints, Ints]:
        """(N,) ends, (N,) rows, and amounts."""
        none: Ints = np.zeros(0, np.int64)
        no_amounts = np.zeros((3 if self._quality is None else 6, 0), np.int64)
        return (
            np.concatenate([*(end_s for end_s, _, _ in self._owed), none]),
            np.concatenate([*(row for _, row, _ in self._owed), none]),
            np.concatenate([*(amounts for _, _, amounts in self._owed), no_amounts], axis=1),
        )

    def _keep(self, row: Ints, gap_ms: Ints, added: Ints) -> None:
        """Keep the last condition of runs that usually pause for longer than a rating interval."""
        seldom = np.flatnonzero((gap_ms > self._seldom_s * 1000) | (self._sessions.pause_s[row] > self._seldom_s))
        if not len(seldom):
            return
        stalls, stall_ms, play_ms = added[:, seldom]
        rows = row[seldom]
        little = stall_ms + play_ms < self._min_active_ms
        quality = None
        if self._quality is not None:
            quality = self._quality.last[rows].astype(np.int64)
            little |= quality == UNKNOWN
            quality = np.maximum(quality, 0)
        self.kept[:, rows] = self._rated(stalls * PARTS, stall_ms, play_ms, quality)[2:]
        self.kept[:, rows[little]] = NOT_KEPT

    def _kept_rows(self, part: slice, silent: Flags, at_s: float) -> Ints:
        """Rows whose usual pause is longer than an interval, and that have not been silent for twice that pause."""
        pause_s = self._sessions.pause_s[part]
        waited_s = at_s - self._sessions.last_s[part]
        kept = silent & (pause_s > self._seldom_s) & (waited_s < 2.0 * pause_s)
        kept &= ~self._sessions.ended[part]
        rows: Ints = part.start + np.flatnonzero(kept & (self.kept[0, part] != NOT_KEPT))
        return rows

    def _kept(self, rows: Ints, at_s: float) -> Kept:
        level, shown = self.kept[:, rows].astype(np.int64)
        closed = int(at_s) // self._timing.interval_s
        heard = np.floor(self._sessions.last_s[rows]).astype(np.int64) // self._timing.interval_s
        owed = np.maximum(closed - np.maximum(self.rated[rows], heard), 0)
        return Kept(rows, self._sessions.group[rows].astype(np.int64), level, shown, owed)

    def _update_open_stalls(self, row: Ints, opened: Flags, at_s: Floats) -> None:
        changed = np.flatnonzero(opened == np.isnan(self.since_s[row]))
        self.since_s[row[changed]] = np.where(opened[changed], at_s[changed], np.nan)

    def _grow(self) -> None:
        """Extend the columns to all rows of the table; new rows have no open stall and no condition."""
        used, room = self._used, self._sessions.capacity
        if room > len(self.since_s):
            for name, column in self._columns.items():
                setattr(self, name, grow_columns(column, used, room))
        self._used = self._sessions.rows
        if self._quality is not None:
            self._quality.grow(used, room, self._used)
        self.since_s[used : self._used] = np.nan
        self.kept[:, used : self._used] = NOT_KEPT


def _before(spans: Sequence[_Span], time_ms: Ints | int) -> Ints:
    """(3, R) the parts of spans before a time, summed."""
    total: Ints = np.sum([span.before(time_ms) for span in spans], axis=0)
    return total


def _owed(amounts: Ints, quality: Ints | None, held: Ints | None, some: Ints) -> NDArray[Any]:
    """The amounts (3, N) that came late from these runs, with what is known of their quality, as kept."""
    if quality is None or held is None:
        return amounts.astype(np.int32)
    known_ms = np.where(quality[some] == UNKNOWN, 0, amounts[2])
    return np.array([*amounts, known_ms, known_ms * quality[some], held[some]])


def _counted(group: Ints, groups: int) -> Ints:
    return np.bincount(group, minlength=groups)


def _total(slices: NDArray[np.int32]) -> Ints:
    """(S, N) summed to (N,)."""
    # 32 bits take two thirds of the time, and are used where the sum cannot overflow.
    narrow = slices.max(initial=0) <= np.iinfo(np.int32).max // len(slices)
    return np.asarray(slices.sum(axis=0, dtype=np.int32 if narrow else np.int64), np.int64)
