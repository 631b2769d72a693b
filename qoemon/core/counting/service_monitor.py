"""The sessions of one service in one shard, tick by tick: reports in, counts out."""

from __future__ import annotations

from collections import Counter

import numpy as np

from qoemon.core.arrays import Arrays, Flags, Floats, Ints, grow_rows, named, part
from qoemon.core.counting.conditions import BaseWindow, Conditions
from qoemon.core.counting.counts import BaseCounts, Event, IntervalCounts
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.counting.measurements import MeasurementSlices
from qoemon.core.counting.session_table import NO_GROUP, Admitted, SessionTable
from qoemon.core.counting.stalls import StallCounters
from qoemon.core.counting.unique_sessions import UniqueSessions
from qoemon.core.plan.plan import Clock, Plan, Service
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch, Placed
from qoemon.core.wire.report import ABSENT_FLOAT
from qoemon.core.wire.unused import empty

NO_ROWS: Ints = np.zeros(0, np.int64)


class ServiceMonitor:
    """Sessions and groups of one service. Time moves by enter(), tick by tick."""

    def __init__(self, service: Service, plan: Plan) -> None:
        self.service, self._timing = service, plan.timing
        self.groups = Groups(len(plan.labels), plan.limits.groups)
        self.sessions = SessionTable(plan.limits.sessions)
        self._conditions: Conditions = (
            StallCounters(self.sessions, service, plan.timing)
            if service.mapping.qos is Qos.STALLS
            else MeasurementSlices(self.sessions, service, plan.timing.slices)
        )
        self._unique = UniqueSessions(self.sessions, max(plan.timing.windows_s) // plan.timing.interval_s)
        empty = np.zeros((0, len(service.rated_at)), np.int64), np.zeros((0, service.bins.size), np.int64)
        self._base = BaseWindow(*empty, NO_ROWS, NO_ROWS, NO_ROWS)

    def apply(self, batch: Batch, tick: int) -> Counter[Event]:
        """Count reports, all of this service, during a tick."""
        at_s, ahead = self._time_of(batch)
        # Equals at_s // tick_s, but numpy converts that to integers slowly.
        at_tick = np.floor(at_s).astype(np.int64) // self._timing.tick_s
        late = at_tick <= tick - self._timing.slices
        if self._timing.clock is Clock.ARRIVAL:
            # The clock was set back: reports count at their arrival, in the current tick.
            at_s[late], at_tick[late], late = tick * self._timing.tick_s, tick, np.zeros_like(late)
        admitted = self.sessions.admit(batch.session, batch.seq, at_s, batch.end)
        group, pooled = self._group_of(batch, admitted)
        self.sessions.assign_group(admitted, group)
        resets = self._conditions.apply(admitted, Placed(batch, group, at_s, np.minimum(at_tick, tick)))
        counted = admitted.position
        return Counter(
            {
                Event.REPORT: len(counted),
                Event.DUPLICATE: admitted.duplicates,
                Event.REFUSED: admitted.refused,
                Event.EMPTY: int(np.count_nonzero(empty(batch, self.service)[counted])),
                Event.RESET: resets,
                Event.LATE: int(np.count_nonzero(late[counted])),
                Event.AHEAD: int(np.count_nonzero(ahead[counted])),
                Event.POOLED: int(np.count_nonzero(pooled[counted])),
            }
        )

    def enter(self, tick: int, *, base_wanted: bool) -> tuple[Counter[Event], IntervalCounts | None]:
        """End the tick before and begin this one.

        base_wanted  whether counts() follows; the base window is computed at least when a rating interval closes
        returns      events, and the counts of the rating interval that closes, None if none does
        """
        at_s = tick * self._timing.tick_s
        closes = at_s % self._timing.interval_s == 0
        if base_wanted or closes:
            self._base = self._conditions.base_window(at_s, len(self.groups))
        closed = self._close(at_s) if closes else None
        # The rows of sessions are needed only when an interval closes.
        self._base = self._base._replace(rows=NO_ROWS, groups=NO_ROWS)
        expired = self.sessions.expired(at_s, self._timing.session_timeout_s, self._timing.interval_s)
        timed_out = int(np.count_nonzero(~self.sessions.ended[expired]))
        self.sessions.remove(expired)
        self._conditions.remove(expired)
        self._unique.remove(expired)
        self._conditions.enter(tick)
        return Counter({Event.EXPIRED: timed_out}), closed

    def counts(self, at_s: float) -> BaseCounts:
        """The counts at the tick at at_s, the newest that was entered."""
        size = len(self.groups)
        base = self._base = self._base._replace(
            levels=grow_rows(self._base.levels, size),
            qos=grow_rows(self._base.qos, size),
            users=grow_rows(self._base.users, size),
        )
        stalling, since_s = self._conditions.open_stalls()
        open_stalls, oldest_s = self._open_stalls(stalling, at_s - since_s, size)
        return BaseCounts(
            service=self.service.name,
            groups=self.groups.all,
            since_s=self.groups.since_s,
            levels=base.levels,
            qos=base.qos,
            users=base.users,
            active_sessions=self._active(at_s, stalling, size),
            open_stalls=open_stalls,
            oldest_stall_s=oldest_s,
        )

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        return {
            **named("sessions/", self.sessions.dump()),
            **named("conditions/", self._conditions.dump()),
            **named("base/", {"levels": self._base.levels, "qos": self._base.qos, "users": self._base.users}),
            **named("users/", self._unique.dump()),
        }

    def load(self, state: Arrays, groups: tuple[Labels, ...], tick: int) -> None:
        """Restore a dump(), into a monitor without sessions."""
        self.groups.load(groups)
        self._conditions.enter(tick)
        rows = self.sessions.load(part("sessions/", state))
        self._conditions.load(part("conditions/", state), rows)
        self._unique.load(part("users/", state), rows)
        base = part("base/", state)
        self._base = BaseWindow(base["levels"], base["qos"], base["users"], NO_ROWS, NO_ROWS)

    def begin(self, tick: int) -> None:
        """Begin at this tick, without sessions."""
        self._conditions.enter(tick)

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals, in seconds; tick is the current tick after that."""
        self.sessions.last_s += by_s
        self._conditions.shift(by_s, tick)

    def _time_of(self, batch: Batch) -> tuple[Floats, Flags]:
        """(R,) time at which each report counts, and (R,) whether its timestamp is in the future."""
        if self._timing.clock is Clock.ARRIVAL:
            return batch.arrival_s.copy(), np.zeros(len(batch), np.bool_)
        reported = np.where(batch.ts_s == ABSENT_FLOAT, batch.arrival_s, batch.ts_s)
        return np.minimum(reported, batch.arrival_s), reported > batch.arrival_s

    def _group_of(self, batch: Batch, admitted: Admitted) -> tuple[Ints, Flags]:
        """(R,) group of each report, and (R,) whether it is pooled; only admitted reports create groups."""
        numbers = np.full(len(batch.routes), NO_GROUP, np.int64)
        pooled = np.zeros(len(batch.routes), np.bool_)
        route_of = batch.route[admitted.position]
        for route in np.flatnonzero(np.bincount(route_of)).tolist():
            labels = batch.routes[route].labels
            known = labels in self.groups
            since_s = 0.0 if known else float(batch.arrival_s[admitted.position][route_of == route].min())
            numbers[route], pooled[route] = self.groups.number(labels, since_s)
        return numbers[batch.route], pooled[batch.route]

    def _close(self, end_s: int) -> IntervalCounts:
        """The counts of the rating interval that ends at end_s, which is the base window at that time."""
        base, interval_s = self._base, self._timing.interval_s
        recounted = self._unique.close(base.rows, base.groups, len(base.users))
        return IntervalCounts(
            levels=base.levels,
            qos=base.qos,
            users=base.users,
            recounted={end_s - ago * interval_s: sessions for ago, sessions in recounted.items()},
        )

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
