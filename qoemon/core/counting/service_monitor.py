"""The sessions of one service in one shard, tick by tick: reports in, counts out.

The reports of a batch are processed in rounds, each with at most one report of a session, in the order of arrival.
So the result does not depend on how reports are cut into batches, and each round works on whole columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import (
    Arrays,
    Flags,
    Floats,
    Ints,
    SmallInts,
    dump_histogram,
    grow_histogram,
    grow_rows,
    load_histogram,
    named,
    part,
)
from qoemon.core.counting.conditions import BaseWindow, Conditions, Kept
from qoemon.core.counting.counts import DOUBTS, BaseCounts, Event, IntervalCounts
from qoemon.core.counting.findings import Finding, Findings
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.counting.late import PAIR_BASE, LateConditions, sparse_counts
from qoemon.core.counting.measurements import MeasurementSlices
from qoemon.core.counting.plausibility import CODE, REASONS, Implausible, TimeCredit
from qoemon.core.counting.quality import no_quality, rates_quality
from qoemon.core.counting.report_times import ReportTimes
from qoemon.core.counting.rounds import rounds
from qoemon.core.counting.runs import Judged, Kind, Reports, Runs, digests
from qoemon.core.counting.session_answers import SessionAnswers
from qoemon.core.counting.session_log import OnSession, SessionLog
from qoemon.core.counting.session_table import NO_GROUP, Key, SessionTable
from qoemon.core.counting.stalls import StallConditions
from qoemon.core.counting.starts import Starts, no_starts
from qoemon.core.counting.unique_sessions import UniqueSessions
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.report import ABSENT_FLOAT
from qoemon.core.wire.unused import empty

NO_ROWS: Ints = np.zeros(0, np.int64)
Provisional = dict[str, Mapping[Any, Any]]
"""The fields of BaseCounts that longer windows show before they are counted."""
LONGEST_GAP_MS = 10**9
"""Eleven days: a gap times a counter fits in 64 bits."""


class ServiceMonitor:
    """Sessions and groups of one service. Time moves by enter(), tick by tick.

    on_session  called with what each run was counted with, once it is over; None if nobody wants to know
    """

    def __init__(self, service: Service, plan: Plan, on_session: OnSession | None = None) -> None:
        self.service, self._timing = service, plan.timing
        self._tick = 0
        self.groups = Groups(len(plan.labels), plan.limits.groups)
        self.sessions = SessionTable(plan.limits.sessions)
        self._log = (
            None if on_session is None else SessionLog(service, self.sessions, plan.limits.sessions, on_session)
        )
        self.findings = Findings(service.name)
        self._times = ReportTimes(self.sessions, plan.timing)
        self._runs = Runs(self.sessions, service)
        longest_s = max(plan.timing.windows_s)
        self._late = LateConditions(len(service.rated_at), service.bins.size, plan.timing.interval_s, longest_s)
        self._stalls = service.mapping.qos is Qos.STALLS
        self._credit = TimeCredit(self.sessions) if self._stalls else None
        kind = StallConditions if self._stalls else MeasurementSlices
        self._conditions: Conditions = kind(self.sessions, service, plan.timing, self._late)
        self._longest_s = longest_s
        self._longer_s = [each for each in plan.timing.windows_s if each != plan.timing.interval_s]
        self._answers = SessionAnswers(self.sessions, self._times, service.scale, plan.timing, plan.feedback)
        self._unique = UniqueSessions(self.sessions, longest_s // plan.timing.interval_s)
        none = np.zeros((0, len(service.rated_at)), np.int64), np.zeros((0, service.bins.size), np.int64)
        self._base = BaseWindow(*none, NO_ROWS, NO_ROWS, NO_ROWS, NO_ROWS, quality=no_quality(service, 0))
        self._late_shown: tuple[tuple[int, ...], Provisional] = (), {}
        """The newest provisional counts of late conditions, and what they depend on."""
        self._heard = np.zeros((1 + len(DOUBTS), plan.timing.slices, 0), np.int64)
        """Reports heard, and doubtful ones by DOUBTS, by tick modulo the ticks in a rating interval, and group."""
        self._heard_before = self._heard.sum(axis=1)
        """The same in the rating interval that ends with the newest tick."""
        self._starts = Starts()
        # A condition of a silent group is in a window for that long, and late or kept ones a little longer.
        self._group_idle_s = plan.limits.group_idle_s + longest_s + 2 * plan.timing.interval_s
        self._used_s: Floats = np.zeros(0)
        """(G,) end of the newest rating interval in which the group had sessions; NaN for free numbers."""

    def apply(self, batch: Batch, tick: int) -> Counter[Event]:
        """Count reports, all of this service, during a tick."""
        events: Counter[Event] = Counter()
        if batch.opinions is not None:
            self._answers.hear(batch, self._arrival_s(batch, tick))
            batch = _without_opinions(batch, self.service)
            if not len(batch):
                return events
        prints = digests(batch)
        arrival_s = self._arrival_s(batch, tick)
        counted = np.zeros(len(batch), np.bool_)
        if batch.run is None:
            rows = self.sessions.find_or_create(batch.session)
            for position in rounds(rows):
                # A round before may have found no room for a new run of the session.
                known = position[rows[position] >= 0]
                counted[known] = self._apply_round(batch, known, rows, arrival_s, prints, events)
        else:
            rows = np.full(len(batch), -1)
            keys = _keys(batch.session, batch.run)
            for position in rounds(_numbers(batch.session)):
                some = [keys[index] for index in position.tolist()]
                rows[position] = self._find_runs(some)
                known = position[rows[position] >= 0]
                counted[known] = self._apply_round(batch, known, rows, arrival_s, prints, events)
                self._end_outdated(some, rows[position])
        events[Event.REFUSED] += int(np.count_nonzero(rows < 0))
        events[Event.REPORT] = int(np.count_nonzero(counted))
        events[Event.UNDATED] = int(np.count_nonzero(batch.ts_s[counted] == ABSENT_FLOAT))
        events[Event.EMPTY] = int(np.count_nonzero(empty(batch, self.service)[counted]))
        return events

    def _arrival_s(self, batch: Batch, tick: int) -> Floats:
        """(R,) arrival of each report; if the clock was set back, the current tick."""
        return np.where(
            batch.arrival_s < (tick - self._timing.slices + 1) * self._timing.tick_s,
            tick * self._timing.tick_s,
            batch.arrival_s,
        )

    def count_start(self, labels: Labels, key: Key, startup_ms: int | None) -> None:
        """Count the startup time of a player's run, in milliseconds; None: its start failed."""
        self._starts.add(self.groups.number(labels)[0], startup_ms)
        if self._log is not None and startup_ms is not None:
            self._log.start(key, startup_ms)

    def enter(self, tick: int, *, base_wanted: bool) -> tuple[Counter[Event], IntervalCounts | None]:
        """End the tick before and begin this one.

        base_wanted  whether counts() follows; the base window is computed at least when a rating interval closes
        returns      events, and the counts of the rating interval that closes, None if none does
        """
        at_s = tick * self._timing.tick_s
        closes = at_s % self._timing.interval_s == 0
        self._answers.join(at_s, self._conditions.conditions_of)
        if base_wanted or closes:
            self._base = self._conditions.base_window(at_s, len(self.groups))
        closed = self._close(at_s) if closes else None
        # The rows of sessions are needed only when an interval closes.
        self._base = self._base._replace(rows=NO_ROWS, groups=NO_ROWS, numbers=None)
        expired = self.sessions.expired(at_s, self._timing.session_timeout_s, self._timing.interval_s)
        if len(expired):
            # What came late from a session is counted as one of a user when the interval closes.
            needed = np.concatenate([self._late.rows(), self._conditions.unsettled()])
            expired = expired[~np.isin(expired, needed)]
        timed_out = int(np.count_nonzero(~self.sessions.ended[expired]))
        if len(expired):
            self._remove(expired, at_s)
        self._begin(tick)
        self._heard_before = self._heard.sum(axis=1)
        self._heard[:, tick % self._timing.slices] = 0
        if closes and self.groups.labelled:
            self._remove_idle_groups(at_s)
        return Counter({Event.EXPIRED: timed_out}), closed

    def counts(self, at_s: float) -> BaseCounts:
        """The counts at the tick at at_s, the newest that was entered."""
        size = len(self.groups)
        self._base = self._base._replace(
            levels=grow_histogram(self._base.levels, size),
            qos=grow_histogram(self._base.qos, size),
            users=grow_rows(self._base.users, size),
            squares=grow_rows(self._base.squares, size),
            quality=grow_rows(self._base.quality, size),
        )
        base = self._base.shown()
        stalling, since_s = self._conditions.open_stalls()
        open_stalls, oldest_s = self._open_stalls(stalling, at_s - since_s, size)
        heard, *doubtful = grow_rows(self._heard_before.T, size).T
        return BaseCounts(
            service=self.service.name,
            groups=self.groups.all,
            since_s=self.groups.since_s,
            levels=base.levels,
            qos=base.qos,
            users=base.users,
            squares=base.squares,
            active_sessions=self._active(at_s, stalling, size),
            open_stalls=open_stalls,
            oldest_stall_s=oldest_s,
            heard=heard,
            doubtful=np.transpose(doubtful),
            quality=base.quality,
            **self._provisional(at_s, size),
        )

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        credit = {} if self._credit is None else self._credit.dump()
        base = self._base
        index = np.full(self.sessions.rows, -1)
        index[self.sessions.occupied] = np.arange(len(self.sessions))
        kept = {"kept_row": index[base.kept.row], **dict(zip(_KEPT, base.kept[1:], strict=True))}
        return {
            **named("sessions/", {**self.sessions.dump(), **self._runs.dump(), **self._times.dump(), **credit}),
            **named("conditions/", self._conditions.dump()),
            **named("late/", self._late.dump()),
            **dump_histogram("base/levels", base.levels),
            **dump_histogram("base/qos", base.qos),
            **named("base/", {"users": base.users, "squares": base.squares, **kept}),
            **({"base/quality": base.quality} if rates_quality(self.service) else {}),
            **named("users/", self._unique.dump()),
            "heard": self._heard.copy(),
            "heard_before": self._heard_before,
            "used_s": self._used_s,
            "group_since_s": self.groups.since_s,
            "starts": self._starts.counts.copy(),
            **named("answers/", self._answers.dump()),
        }

    def load(self, state: Arrays, groups: tuple[Labels, ...], tick: int) -> None:
        """Restore a dump(), into a monitor without sessions."""
        self.groups.load(groups, state.get("group_since_s"))
        self._begin(tick)
        sessions, conditions = part("sessions/", state), part("conditions/", state)
        rows = self.sessions.load(sessions)
        # States of version 2 and before have the counters with the conditions.
        self._runs.load({**conditions, **sessions}, rows)
        self._times.load({name: sessions[name] for name in ("delay_s", "settled") if name in sessions}, rows)
        if self._credit is not None:
            self._credit.load(sessions, rows)
        self._conditions.load(conditions, rows)
        self._late.load(part("late/", state), sessions["row"], rows)
        self._unique.load(part("users/", state), rows)
        base = part("base/", state)
        kept_row = _restored_rows(base.get("kept_row", NO_ROWS), rows)
        kept = Kept(kept_row, *(base.get(name, NO_ROWS) for name in _KEPT))
        levels, qos = (load_histogram(name, base) for name in ("levels", "qos"))
        users, quality = base["users"], base.get("quality", no_quality(self.service, 0))
        squares = base.get("squares", users)
        self._base = BaseWindow(levels, qos, users, squares, NO_ROWS, NO_ROWS, kept=kept, quality=quality)
        if "heard" in state:
            self._heard, self._heard_before = state["heard"].copy(), state["heard_before"]
        self._starts.counts = state.get("starts", no_starts(0)).copy()
        self._answers.load(part("answers/", state), rows)
        # Of states of earlier versions, groups count as used at the next close.
        self._used_s = state.get("used_s", np.zeros(0))

    def hand_on_sessions(self) -> None:
        """Hand on the records of all runs, in the order of their first reports: nothing follows."""
        if self._log is not None:
            self._log.hand_on_all(self.groups.all)

    def begin(self, tick: int) -> None:
        """Begin at this tick, without sessions."""
        self._begin(tick)

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals, in seconds; tick is the current tick after that."""
        self._tick = tick
        self._used_s = self._used_s + by_s
        self.sessions.last_s += by_s
        self._times.shift(by_s)
        self._runs.shift(by_s)
        self._late.shift(by_s)
        self._conditions.shift(by_s, tick)
        self._answers.shift(by_s)

    def _find_runs(self, keys: Sequence[Key]) -> Ints:
        """(R,) rows of the runs with these keys; runs that a client reports as new succeed the former ones."""
        rows = self.sessions.find_or_create(keys)
        former = self.sessions.former_runs(keys, rows)
        new = np.flatnonzero(former >= 0)
        self.sessions.succeed(former[new], rows[new])
        self._succeed(former[new], rows[new])
        return rows

    def _end_outdated(self, keys: Sequence[Key], rows: Ints) -> None:
        """A report of a former run does not bring it back."""
        outdated = rows[self.sessions.outdated(keys) & (rows >= 0)]
        self._conditions.end_stalls(outdated)
        self.sessions.ended[outdated] = True

    def _apply_round(
        self,
        batch: Batch,
        position: Ints,
        rows: Ints,
        arrival_s: Floats,
        prints: NDArray[np.uint32],
        events: Counter[Event],
    ) -> Flags:
        """Count at most one report of each session; returns (R,) whether it counts.

        position  (R,) of the reports in the batch
        rows      (N,) row of each report of the batch, which is replaced where a new run begins
        """
        before = self._times.learnt(rows[position])
        at_s, ahead = self._times.place(rows[position], batch.ts_s[position], arrival_s[position])
        reports = self._reports(position, rows[position], at_s)
        judged = self._runs.judge(reports, batch, prints[position], self._timing.interval_s * 1000)
        counts = np.ones(len(position), np.bool_)
        if judged.kind.any():
            left_out = (judged.kind == Kind.REPEATED) | (judged.kind == Kind.CONFLICTS)
            self._times.unlearn(rows[position], before, left_out)
            ended = self._set_aside(batch, reports, judged.kind, prints, events)
            self._begin_runs(reports.row[judged.kind == Kind.NEW_RUN], rows, events)
            reports = self._reports(position, rows[position], at_s)
            counts = (judged.kind == Kind.CONTINUES) | (judged.kind == Kind.NEW_RUN)
            counts &= reports.row >= 0
            reports, judged = reports.take(counts), judged.take(counts)
            counts |= ended
        if len(reports.row):
            self._count(batch, self._reset_clocks(batch, reports, arrival_s), judged, prints, events)
        events[Event.AHEAD] += int(np.count_nonzero(ahead & counts))
        return counts

    def _count(
        self,
        batch: Batch,
        reports: Reports,
        judged: Judged,
        prints: NDArray[np.uint32],
        events: Counter[Event],
    ) -> None:
        """Count reports that continue or begin a run."""
        row, position = reports.row, reports.position
        group, pooled = self._group_of(batch, position)
        self._runs.record(reports, batch, prints[position], judged.values)
        added = judged.added
        code = np.zeros(len(row), np.int8)
        if self._credit is not None:
            interval_ms = self._timing.interval_s * 1000
            added, code = self._credit.cut(row, reports.gap_ms, added, judged.backward, interval_ms)
        began = (reports.gap_ms < 0) | (judged.kind == Kind.NEW_RUN)
        impossible = self._conditions.apply(reports, batch, group, added, began)
        if impossible.any():
            reason = Implausible.STALLED if self._stalls else Implausible.RESPONSE
            code[impossible & (code == 0)] = CODE[reason]
        if self._log is not None:
            self._record(self._log, batch, reports, judged.added, added)
        self.sessions.hear(row, reports.at_s, batch.end[position], group)
        self._hear(group)
        events[Event.POOLED] += int(np.count_nonzero(pooled))
        base_begin_s = (self._tick - self._timing.slices + 1) * self._timing.tick_s
        events[Event.LATE] += int(np.count_nonzero(reports.at_s < base_begin_s))
        if code.any():
            self._note_implausible(batch, reports, group, judged.added, code, events)

    def _record(self, log: SessionLog, batch: Batch, reports: Reports, reported: Ints, counted: Ints) -> None:
        """Record what reports are counted with, before SessionTable.hear()."""
        log.hear(reports.row, reports.at_s, batch.end[reports.position])
        if self._stalls:
            log.add_stalls(reports.row, reported, counted)
            if (quality := self._conditions.told_quality(reports, batch)) is not None:
                log.add_quality(reports.row, counted[2], quality)
        else:
            log.add_measurements(reports.row, *self._conditions.measured(reports, batch))

    def _note_implausible(
        self,
        batch: Batch,
        reports: Reports,
        group: Ints,
        reported: Ints,
        code: NDArray[np.int8],
        events: Counter[Event],
    ) -> None:
        some = np.flatnonzero(code)
        for number in np.unique(code[some]).tolist():
            reason = REASONS[number - 1]
            mine = some[code[some] == number]
            self._doubt(EVENT_OF[reason], group[mine], events)
            first = int(mine[0])
            self.findings.add(
                EVENT_OF[reason],
                Finding(
                    labels=batch.routes[batch.route[reports.position[first]]].labels,
                    session=batch.session[int(reports.position[first])],
                    reason=reason,
                    passed_s=max(int(reports.gap_ms[first]), 0) / 1000,
                    stall_s=int(reported[1, first]) / 1000,
                    play_s=int(reported[2, first]) / 1000,
                    longest_response_s=_longest(batch, int(reports.position[first])),
                ),
            )

    def _set_aside(
        self,
        batch: Batch,
        reports: Reports,
        kind: NDArray[np.int8],
        prints: NDArray[np.uint32],
        events: Counter[Event],
    ) -> Flags:
        """Handle the reports that do not count; returns (R,) whether it ends its session."""
        repeated, conflicts = kind == Kind.REPEATED, np.flatnonzero(kind == Kind.CONFLICTS)
        # The end of a session is believed whatever its number, such as that of a last will.
        ends = np.flatnonzero(repeated & batch.end[reports.position])
        heard = (self._runs.prints[:, reports.row[ends]] == prints[reports.position[ends]]).any(axis=0)
        ends = ends[~heard]
        self._conditions.end_stalls(reports.row[ends])
        self.sessions.ended[reports.row[ends]] = True
        ended = np.zeros(len(kind), np.bool_)
        ended[ends] = True
        events[Event.DUPLICATE] += int(np.count_nonzero(repeated & ~ended))
        if self._log is not None:
            self._log.end(reports.row[ends])
            self._log.add_duplicates(reports.row[repeated & ~ended])
        if len(conflicts):
            group = self.sessions.group[reports.row[conflicts]]
            self._hear(group)
            self._doubt(Event.CONFLICT, group, events)
            position = int(reports.position[conflicts[0]])
            labels = batch.routes[batch.route[position]].labels
            self.findings.add(Event.CONFLICT, Finding(labels, batch.session[position]))
        return ended

    def _begin_runs(self, old: Ints, rows: Ints, events: Counter[Event]) -> None:
        """Give new runs their own rows, also in `rows`; -1 where the table is full."""
        if not len(old):
            return
        new = self.sessions.renew(old)
        began = new >= 0
        self._succeed(old[began], new[began])
        events[Event.RESET] += int(np.count_nonzero(began))
        replaced = np.arange(self.sessions.rows)
        replaced[old] = new
        rows[:] = np.where(rows >= 0, replaced[rows], rows)

    def _succeed(self, old: Ints, new: Ints) -> None:
        """Runs begin, and those before them end."""
        self._conditions.end_stalls(old)
        self._times.copy(old, new)
        self._runs.renew(old, new)
        if self._credit is not None:
            self._credit.renew(new)
        if self._log is not None:
            self._log.renew(old, new)

    def _reset_clocks(self, batch: Batch, reports: Reports, arrival_s: Floats) -> Reports:
        """The reports; those whose client set its clock back since its last one count at their arrival."""
        row, position = reports.row, reports.position
        back = reports.at_s < self.sessions.last_s[row] - 1
        if not back.any():
            return reports
        back &= batch.seq[position] > self._runs.seq[row]
        some = np.flatnonzero(back)
        self._times.reset(row[some], batch.ts_s[position[some]], arrival_s[position[some]])
        at_s = reports.at_s.copy()
        if self._times.automatic:
            at_s[some] = arrival_s[position[some]]
        return self._reports(position, row, at_s)

    def _reports(self, position: Ints, row: Ints, at_s: Floats) -> Reports:
        last_s = self.sessions.last_s[row]
        gap_ms = np.rint(np.clip(at_s - last_s, 0, LONGEST_GAP_MS / 1000) * 1000)
        new = np.isnan(last_s)
        gap_ms[new] = -1
        return Reports(position, row, at_s, gap_ms.astype(np.int64))

    def _provisional(self, at_s: float, groups: int) -> Provisional:
        """What the longer windows show before it is counted: what came late, and conditions that are kept."""
        interval_s, levels, kept = self._timing.interval_s, len(self.service.rated_at), self._base.kept
        closed_s = int(at_s) // interval_s * interval_s
        if not len(kept.row):
            # After a start a million sessions are late: they are summed when more is late, not at every tick.
            depends_on = closed_s, groups, self._late.revision, self._conditions.late_revision
            if self._late_shown[0] != depends_on:
                self._late_shown = (
                    depends_on,
                    self._provisional_counts(self._late_parts(closed_s), closed_s, groups),
                )
            return self._late_shown[1]
        parts = self._late_parts(closed_s)
        # Times that clients report may be years apart: what no window covers is not shown.
        for ago in range(min(int(kept.owed.max(initial=0)), self._longest_s // interval_s)):
            some = kept.owed > ago
            pairs = kept.row[some] * PAIR_BASE + kept.group[some]
            of_end_s = np.full(len(pairs), closed_s - ago * interval_s)
            parts.append((of_end_s, kept.group[some] * levels + kept.level[some], pairs))
        return self._provisional_counts(parts, closed_s, groups)

    def _late_parts(self, closed_s: int) -> list[tuple[Ints, Ints, Ints]]:
        """What came late: (N,) ends of intervals, (N,) cells of levels, and (N,) pairs of row and group."""
        late, levels = self._conditions.late(), len(self.service.rated_at)
        parts = [self._late.waiting(), (late.end_s, late.group * levels + late.level, late.pairs)]
        shown = [part[0] > closed_s - self._longest_s for part in parts]
        return [
            (end_s[some], cells[some], pairs[some])
            for (end_s, cells, pairs), some in zip(parts, shown, strict=True)
        ]

    def _provisional_counts(
        self, parts: Sequence[tuple[Ints, Ints, Ints]], closed_s: int, groups: int
    ) -> Provisional:
        """Counts of cells by interval, users by the interval that shows them and the age of their own, squares."""
        of_end_s, of_cells, pairs = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not len(pairs):
            return {}
        # Of each session the newest interval: windows that cover any of them cover that one.
        order = np.lexsort((of_end_s, pairs))
        ends = np.diff(pairs[order]) != 0
        last, begins = order[np.append(ends, True)], np.flatnonzero(np.append(True, ends))
        in_order_s = of_end_s[order]
        pairs, newest_s = pairs[last], of_end_s[last]
        group, age = pairs % PAIR_BASE, self._unique.age(pairs // PAIR_BASE, pairs % PAIR_BASE)
        shape = groups, len(self.service.rated_at)
        return {
            "provisional": {
                end_s: sparse_counts(of_cells[of_end_s == end_s], shape) for end_s in np.unique(of_end_s).tolist()
            },
            "provisional_users": {
                (end_s, number): np.bincount(group[(newest_s == end_s) & (age == number)], minlength=groups)
                for end_s, number in sorted(set(zip(newest_s.tolist(), age.tolist(), strict=True)))
            },
            "provisional_squares": {
                length: self._added_squares(
                    pairs, np.add.reduceat(in_order_s > closed_s - length, begins, dtype=np.int64), length, groups
                )
                for length in self._longer_s
            },
        }

    def _added_squares(self, pairs: Ints, numbers: Ints, length: int, groups: int) -> Ints:
        """(G,) what further conditions of (N,) sessions and groups add to the squares of a window."""
        group = pairs % PAIR_BASE
        known = self._unique.observed(pairs // PAIR_BASE, group, length // self._timing.interval_s)
        total: Ints = np.zeros(groups, np.int64)
        np.add.at(total, group, np.rint(numbers * (numbers + 2 * known)).astype(np.int64))
        return total

    def _remove(self, rows: Ints, at_s: float) -> None:
        self._answers.remove(rows, at_s)
        if self._log is not None:
            self._log.hand_on(rows, self.groups.all)
        self.sessions.remove(rows)
        self._runs.remove(rows)
        self._times.remove(rows)
        if self._credit is not None:
            self._credit.remove(rows)
        self._conditions.remove(rows)
        self._unique.remove(rows)

    def _begin(self, tick: int) -> None:
        self._tick = tick
        self._conditions.enter(tick)

    def _hear(self, group: SmallInts) -> None:
        """Count a report of each of these groups."""
        self._grow_heard(len(self.groups))
        self._heard[0, self._tick % self._timing.slices] += np.bincount(group, minlength=self._heard.shape[2])

    def _doubt(self, event: Event, group: SmallInts, events: Counter[Event]) -> None:
        """Count a doubtful report of each of these groups."""
        events[event] += len(group)
        np.add.at(self._heard[1 + DOUBTS.index(event), self._tick % self._timing.slices], group, 1)

    def _grow_heard(self, groups: int) -> None:
        missing = groups - self._heard.shape[2]
        if missing > 0:
            more = np.zeros((*self._heard.shape[:2], missing), np.int64)
            self._heard = np.concatenate([self._heard, more], axis=2)

    def _group_of(self, batch: Batch, position: Ints) -> tuple[Ints, Flags]:
        """(R,) group of each of these reports, and (R,) whether it is pooled; they create their groups."""
        numbers = np.full(len(batch.routes), NO_GROUP, np.int64)
        pooled = np.zeros(len(batch.routes), np.bool_)
        route_of = batch.route[position]
        for route in np.flatnonzero(np.bincount(route_of)).tolist():
            labels = batch.routes[route].labels
            known = labels in self.groups
            since_s = 0.0 if known else float(batch.arrival_s[position][route_of == route].min())
            numbers[route], pooled[route] = self.groups.number(labels, since_s)
        return numbers[route_of], pooled[route_of]

    def _close(self, end_s: int) -> IntervalCounts:
        """The counts of the rating interval that ends at end_s, which is the base window at that time."""
        base, interval_s = self._base, self._timing.interval_s
        self._conditions.settle()
        late = self._late.drain(end_s, len(base.users), self._unique)
        counted = self._unique.close(base.rows, base.groups, base.users, base.squares, base.numbers)
        self._conditions.close(end_s, base.rows)
        return IntervalCounts(
            levels=base.levels,
            qos=base.qos,
            users=base.users,
            recounted={end_s - ago * interval_s: users for ago, users in counted.recounted.items()},
            squares=counted.squares,
            pairs=counted.pairs,
            late=late,
            starts=self._starts.drain(len(base.users)),
            feedback=self._answers.drain(end_s),
        )

    def _remove_idle_groups(self, at_s: int) -> None:
        """Remove groups that were silent for long, at the end of a rating interval.

        Nothing but the numbers refers to them: sessions have expired, slices and windows are empty.
        """
        size, sessions = len(self.groups), self.sessions
        used = grow_rows(self._base.users, size) + grow_rows(self._heard_before[0], size) > 0
        for rows in sessions.parts:
            group = sessions.group[rows]
            used |= np.bincount(group[group != NO_GROUP], minlength=size) > 0
        used_s = np.append(self._used_s, np.full(size - len(self._used_s), np.nan))
        used_s = np.where(used | np.isnan(used_s), at_s, used_s)
        idle = np.flatnonzero((at_s - used_s > self._group_idle_s) & ~self.groups.free)
        if len(idle):
            self.groups.remove(idle)
            self._unique.remove_groups(idle)
        self._used_s = np.where(self.groups.free, np.nan, used_s)

    def _active(self, at_s: float, stalling: Ints, size: int) -> Ints:
        """(size,) sessions with a report in the base window, or with an open stall."""
        sessions, counts = self.sessions, np.zeros(size, np.int64)
        active = np.zeros(sessions.rows, np.bool_)
        for rows in sessions.parts:
            active[rows] = (sessions.last_s[rows] >= at_s - self._timing.interval_s) & ~sessions.ended[rows]
        active[stalling] = True
        for rows in sessions.parts:
            group = sessions.group[rows]
            counts += np.bincount(group[active[rows] & (group != NO_GROUP)], minlength=size)
        return counts

    def _open_stalls(self, rows: Ints, ran_s: Floats, size: int) -> tuple[Ints, Floats]:
        """(size,) number of open stalls, and (size,) age of the oldest in seconds."""
        group = self.sessions.group[rows]
        oldest_s = np.zeros(size)
        np.maximum.at(oldest_s, group, ran_s)
        return np.bincount(group, minlength=size), oldest_s


EVENT_OF = {
    Implausible.TOO_FAST: Event.TOO_FAST,
    Implausible.MILLISECONDS: Event.MILLISECONDS,
    Implausible.POSITION: Event.POSITION,
    Implausible.STALLED: Event.STALLED,
    Implausible.RESPONSE: Event.RESPONSE,
}
_KEPT = ("kept_group", "kept_level", "kept_shown", "kept_owed")


def _without_opinions(batch: Batch, service: Service) -> Batch:
    """The reports of a batch that are more than an opinion: what users say changes no session and no counter."""
    if batch.opinions is None:
        return batch
    alone = np.zeros(len(batch), np.bool_)
    alone[batch.opinions.of] = True
    return batch.take(np.flatnonzero(~(alone & empty(batch, service))))


def _keys(session: Sequence[str], run: Sequence[str | None]) -> list[Key]:
    """The keys of the runs: the session, with `run` where the client reports it."""
    return [one if of is None else (one, of) for one, of in zip(session, run, strict=True)]


def _numbers(session: Sequence[str]) -> Ints:
    """(R,) a number for each session."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in session], np.int64)


def _longest(batch: Batch, position: int) -> float:
    """The longest response time of a report, seconds; 0 without one."""
    return float(batch.response_s[batch.response_of == position].max(initial=0))


def _restored_rows(stored: Ints, rows: Ints) -> Ints:
    """The rows of stored numbers. Sessions that were removed have none, -1: each gets a negative row of its own."""
    return np.where(stored < 0, -1 - np.arange(len(stored)), np.append(rows, 0)[stored])
