"""One service's sessions, tick by tick: reports in, a ServiceCounts out."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Floats, Ints, grow_rows
from qoemon.core.counting.conditions import BaseWindow, Conditions
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.counting.measurements import MeasurementSlices
from qoemon.core.counting.session_table import NO_GROUP, Admitted, SessionTable
from qoemon.core.counting.stalls import StallCounters
from qoemon.core.counting.unique_sessions import UniqueSessions
from qoemon.core.counting.window import Window
from qoemon.core.plan.plan import Clock, Plan, Service
from qoemon.core.qoe.distribution import RatingKernel
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch, Placed
from qoemon.core.wire.report import ABSENT_FLOAT

NOBODY: Ints = np.zeros(0, np.int64)


class ServiceMonitor:
    """Sessions, groups and windows of one service. Time moves by enter(), one tick after the other."""

    def __init__(self, service: Service, plan: Plan, kernel: RatingKernel) -> None:
        self.service, self._timing, self._kernel = service, plan.timing, kernel
        self.groups = Groups(len(plan.labels), plan.limits.groups)
        self.sessions = SessionTable(plan.limits.sessions)
        self._conditions: Conditions = (
            StallCounters(self.sessions, service, plan.timing)
            if service.mapping.qos is Qos.STALLS
            else MeasurementSlices(self.sessions, service, plan.timing.slices)
        )
        self._users = UniqueSessions(self.sessions, max(plan.timing.windows_s) // plan.timing.interval_s)
        judged, bins = len(service.rated_at), service.bins
        empty = np.zeros((0, judged), np.int64), np.zeros((0, bins.size), np.int64)
        self._base = BaseWindow(*empty, NOBODY, NOBODY, NOBODY)
        self._longer = {
            length: Window(length // plan.timing.interval_s, judged)
            for length in plan.timing.windows_s
            if length != plan.timing.interval_s
        }
        self._expected: Floats = np.zeros((0, len(service.scale.ratings)))
        self._marginals = tuple(np.zeros((0, len(axis.values)), np.int64) for axis in bins.axes)

    def apply(self, batch: Batch, tick: int) -> Counter[Event]:
        """Take in reports, all of this service, during a tick."""
        at_s, ahead = self._time_of(batch)
        # The same as at_s // tick_s, of which numpy is slow to make whole numbers.
        at_tick = np.floor(at_s).astype(np.int64) // self._timing.tick_s
        late = at_tick <= tick - self._timing.slices
        if self._timing.clock is Clock.ARRIVAL:
            # The clock was set back: what arrives is still what happens now.
            at_s[late], at_tick[late], late = tick * self._timing.tick_s, tick, np.zeros_like(late)
        admitted = self.sessions.admit(batch.session, batch.seq, at_s, batch.end)
        group, pooled = self._group_of(batch, admitted)
        self.sessions.join(admitted, group)
        resets = self._conditions.apply(admitted, Placed(batch, group, at_s, np.minimum(at_tick, tick)))
        counted = admitted.position
        return Counter(
            {
                Event.REPORT: len(counted),
                Event.DUPLICATE: admitted.duplicates,
                Event.REFUSED: admitted.refused,
                Event.RESET: resets,
                Event.LATE: int(np.count_nonzero(late[counted])),
                Event.AHEAD: int(np.count_nonzero(ahead[counted])),
                Event.POOLED: int(np.count_nonzero(pooled[counted])),
            }
        )

    def enter(self, tick: int, *, evaluate: bool) -> Counter[Event]:
        """End the tick before and begin this one.

        evaluate  whether anyone will look at the base window; where a rating interval closes it is needed anyway
        """
        at_s = tick * self._timing.tick_s
        closes = at_s % self._timing.interval_s == 0
        if evaluate or closes:
            self._base = self._conditions.judge(at_s, len(self.groups))
        if closes:
            self._close()
        # Who they are is needed only where an interval closes.
        self._base = self._base._replace(rows=NOBODY, groups=NOBODY)
        over = self.sessions.over(at_s, self._timing.session_timeout_s, self._timing.interval_s)
        silent = int(np.count_nonzero(~self.sessions.ended[over]))
        self.sessions.remove(over)
        self._conditions.remove(over)
        self._users.remove(over)
        self._conditions.enter(tick)
        return Counter({Event.EXPIRED: silent})

    def tally(self, at_s: float) -> ServiceCounts:
        """All counts as of the tick at at_s, the last that was entered."""
        size = len(self.groups)
        for window in self._longer.values():
            window.counts = grow_rows(window.counts, size)
        base = self._base = self._base._replace(
            levels=grow_rows(self._base.levels, size),
            qos=grow_rows(self._base.qos, size),
            users=grow_rows(self._base.users, size),
        )
        self._grow_totals()
        stalling, since_s = self._conditions.open_stalls()
        open_stalls, oldest_s = self._open_stalls(stalling, at_s - since_s, size)
        windows = {self._timing.interval_s: base.levels}
        windows |= {length: window.counts for length, window in self._longer.items()}
        users = {length: self._users.in_window(length // self._timing.interval_s, size) for length in self._longer}
        return ServiceCounts(
            service=self.service.name,
            groups=self.groups.all,
            windows=windows,
            users={self._timing.interval_s: base.users} | users,
            qos=base.qos,
            active_sessions=self._active(at_s, stalling, size),
            open_stalls=open_stalls,
            oldest_stall_s=oldest_s,
            expected_ratings=self._expected,
            marginals=self._marginals,
        )

    def dump(self) -> Arrays:
        """All that a restart needs, as arrays by name."""
        parts: dict[str, Arrays] = {
            "sessions": self.sessions.dump(),
            "conditions": self._conditions.dump(),
            "totals": {"expected": self._expected, **{str(i): m for i, m in enumerate(self._marginals)}},
            "base": {"levels": self._base.levels, "qos": self._base.qos, "users": self._base.users},
            "users": self._users.dump(),
        }
        parts |= {f"window-{length}": window.dump() for length, window in self._longer.items()}
        return {f"{part}/{name}": array for part, state in parts.items() for name, array in state.items()}

    def load(self, state: Arrays, groups: tuple[Labels, ...], tick: int) -> None:
        """Take over what dump() gave, into a monitor that has seen nothing yet."""

        def part(name: str) -> Arrays:
            return {key.split("/", 1)[1]: array for key, array in state.items() if key.startswith(f"{name}/")}

        self.groups.load(groups)
        self._conditions.enter(tick)
        rows = self.sessions.load(part("sessions"))
        self._conditions.load(part("conditions"), rows)
        self._users.load(part("users"), rows)
        for length, window in self._longer.items():
            window.load(part(f"window-{length}"), len(groups))
        totals = part("totals")
        self._expected = totals["expected"]
        self._marginals = tuple(totals[str(i)] for i in range(len(self._marginals)))
        base = part("base")
        self._base = BaseWindow(base["levels"], base["qos"], base["users"], NOBODY, NOBODY)

    def begin(self, tick: int) -> None:
        """Begin at this tick, with nothing held."""
        self._conditions.enter(tick)

    def shift(self, by_s: int, tick: int) -> None:
        """Move all times by whole rating intervals; tick is the present one, moved."""
        self.sessions.last_s += by_s
        self._conditions.shift(by_s, tick)

    def _time_of(self, batch: Batch) -> tuple[Floats, NDArray[np.bool_]]:
        """(R,) the time that places each report, and whether it claimed to come from the future."""
        if self._timing.clock is Clock.ARRIVAL:
            return batch.arrival_s.copy(), np.zeros(len(batch), np.bool_)
        said = np.where(batch.ts_s == ABSENT_FLOAT, batch.arrival_s, batch.ts_s)
        return np.minimum(said, batch.arrival_s), said > batch.arrival_s

    def _group_of(self, batch: Batch, admitted: Admitted) -> tuple[Ints, NDArray[np.bool_]]:
        """(R,) the group of each report, and whether it was pooled; reports that do not count make no group."""
        numbers = np.full(len(batch.routes), NO_GROUP, np.int64)
        pooled = np.zeros(len(batch.routes), np.bool_)
        for route in np.flatnonzero(np.bincount(batch.route[admitted.position])).tolist():
            numbers[route], pooled[route] = self.groups.number(batch.routes[route].labels)
        return numbers[batch.route], pooled[batch.route]

    def _close(self) -> None:
        """A rating interval is over: the base window is exactly that interval."""
        for window in self._longer.values():
            window.append(self._base.levels)
        self._users.close(self._base.rows, self._base.groups, self._base.users)
        self._grow_totals()
        # New arrays: snapshots hold on to the former ones.
        self._expected = self._expected + self._kernel.expected_ratings(self._base.levels)
        fresh = self.service.bins.marginals(self._base.qos)
        self._marginals = tuple(old + new for old, new in zip(self._marginals, fresh, strict=True))

    def _grow_totals(self) -> None:
        self._expected = grow_rows(self._expected, len(self.groups))
        self._marginals = tuple(grow_rows(m, len(self.groups)) for m in self._marginals)

    def _active(self, at_s: float, stalling: Ints, size: int) -> Ints:
        """(size,) sessions heard in the base window, or in an open stall."""
        sessions, counts = self.sessions, np.zeros(size, np.int64)
        active = np.zeros(sessions.rows, np.bool_)
        for part in sessions.parts:
            active[part] = (sessions.last_s[part] >= at_s - self._timing.interval_s) & ~sessions.ended[part]
        active[stalling] = True
        for part in sessions.parts:
            group = sessions.group[part]
            counts += np.bincount(group[active[part] & (group != NO_GROUP)], minlength=size)
        return counts

    def _open_stalls(self, rows: Ints, ran_s: Floats, size: int) -> tuple[Ints, Floats]:
        """(size,) how many sessions are in a stall, and how long the oldest has run."""
        group = self.sessions.group[rows]
        oldest_s = np.zeros(size)
        np.maximum.at(oldest_s, group, ran_s)
        return np.bincount(group, minlength=size), oldest_s
