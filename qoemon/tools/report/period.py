"""A whole period under one configuration: everything that replay and report tell, taken from the ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints, grow_rows
from qoemon.core.counting.groups import Labels
from qoemon.core.evaluation import Tick
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.snapshot.snapshot import ServiceSnapshot
from qoemon.tools.report.episodes import AlertLog, RegimeLog
from qoemon.tools.report.series import Series


@dataclass(frozen=True)
class Totals:
    """All conditions of a service's G groups in all closed rating intervals.

    levels  (G, M) in the service's rated_at bins
    users   (G,) most distinct sessions in any longest window: at least so many there were in all
    qos     (B,) all groups, in the bins that people read
    excess  (G,) ratings poor or worse beyond those who always would
    poor_by (G, F) poor ratings that each factor accounts for
    worst   (G,) lowest surely reached PoW: the highest lower bound of an interval
    worst_pow, worst_at_s, worst_users  (G,) that interval's PoW, end, and users
    most_active, most_stalled  (G,) at a time
    """

    levels: Counts
    users: Ints
    qos: Counts
    excess: Floats
    poor_by: Floats
    worst: Floats
    worst_pow: Floats
    worst_at_s: Floats
    worst_users: Ints
    most_active: Ints
    most_stalled: Ints


class ServicePeriod:
    """One service over the period."""

    def __init__(self, service: Service, plan: Plan) -> None:
        self.service, self._interval_s, self._longest_s = (
            service,
            plan.timing.interval_s,
            max(plan.timing.windows_s),
        )
        self.kernel = service.kernel(plan.quantiles, confidence=plan.confidence)
        self.series = Series(service, plan.timing.interval_s, plan.confidence)
        self.regimes = RegimeLog()
        self.groups: tuple[Labels, ...] = ()
        self.factors: tuple[str, ...] = ()
        self._totals: Totals | None = None

    @property
    def totals(self) -> Totals | None:
        """None before the first rating interval has closed."""
        return self._totals

    def close(self, end_s: int, snapshot: ServiceSnapshot) -> None:
        """Take in the rating interval that ended at end_s."""
        self.groups, self.factors = snapshot.tally.groups, snapshot.factors
        self.series.add(end_s, snapshot)
        self._totals = self._more(end_s, snapshot, self._totals)

    def judged(self) -> Distribution | None:
        """What the users of each group answered over the whole period; None if nobody was judged."""
        totals = self._totals
        if totals is None or not totals.levels.any():
            return None
        return self.kernel.judge(totals.levels, totals.users)

    def judged_together(self) -> Distribution | None:
        """What all users answered, as one group."""
        totals = self._totals
        if totals is None or not totals.levels.any():
            return None
        return self.kernel.judge(totals.levels.sum(axis=0, keepdims=True), totals.users.sum(keepdims=True))

    def worst_first(self) -> list[int]:
        """The groups that were judged, those with most excess poor ratings first."""
        totals = self._totals
        if totals is None:
            return []
        judged = np.flatnonzero(totals.levels.any(axis=1))
        return [int(group) for group in judged[np.argsort(-totals.excess[judged], kind="stable")]]

    def _more(self, end_s: int, snapshot: ServiceSnapshot, before: Totals | None) -> Totals:
        tally, now = snapshot.tally, snapshot.distributions[self._interval_s]
        size = len(tally.groups)
        excess = np.nan_to_num(snapshot.excess_poor)
        poor_by = np.nan_to_num(snapshot.contributions) * now.observations[:, None]
        surely = np.nan_to_num(now.pow_bounds[:, 0], nan=-1.0)
        fresh = Totals(
            levels=tally.windows[self._interval_s],
            users=tally.users[self._longest_s],
            qos=tally.qos.sum(axis=0),
            excess=excess,
            poor_by=poor_by,
            worst=surely,
            worst_pow=now.pow,
            worst_at_s=np.full(size, float(end_s)),
            worst_users=tally.users[self._interval_s],
            most_active=tally.active_sessions,
            most_stalled=tally.open_stalls,
        )
        return fresh if before is None else _added(before, fresh, size)


def _added(before: Totals, fresh: Totals, size: int) -> Totals:
    known = grow_rows(before.worst + 1, size) - 1  # what was not there before was at -1: never judged
    worse = fresh.worst > known
    return Totals(
        levels=grow_rows(before.levels, size) + fresh.levels,
        users=np.maximum(grow_rows(before.users, size), fresh.users),
        qos=before.qos + fresh.qos,
        excess=grow_rows(before.excess, size) + fresh.excess,
        poor_by=grow_rows(before.poor_by, size) + fresh.poor_by,
        worst=np.where(worse, fresh.worst, known),
        worst_pow=np.where(worse, fresh.worst_pow, grow_rows(before.worst_pow, size)),
        worst_at_s=np.where(worse, fresh.worst_at_s, grow_rows(before.worst_at_s, size)),
        worst_users=np.where(worse, fresh.worst_users, grow_rows(before.worst_users, size)),
        most_active=np.maximum(grow_rows(before.most_active, size), fresh.most_active),
        most_stalled=np.maximum(grow_rows(before.most_stalled, size), fresh.most_stalled),
    )


@dataclass
class Period:
    """All services from the first tick to the last, seconds since the epoch."""

    plan: Plan
    begin_s: int | None = None
    end_s: int = 0
    intervals: int = 0
    """Rating intervals that closed."""
    alerts: AlertLog = field(default_factory=AlertLog)

    @cached_property
    def services(self) -> dict[str, ServicePeriod]:
        """By name."""
        return {service.name: ServicePeriod(service, self.plan) for service in self.plan.services}

    def see(self, ticked: Tick) -> None:
        """Take in a tick; in order."""
        snapshot, watched = ticked
        timing, now_s = self.plan.timing, snapshot.time_s
        if self.begin_s is None:
            self.begin_s = now_s - timing.tick_s
        self.end_s = now_s
        closed = now_s % timing.interval_s == 0
        self.intervals += closed
        for service in snapshot.services:
            name = service.service.name
            if closed:
                self.services[name].close(now_s, service)
            if name in watched.regimes:
                self.services[name].regimes.see(watched.regimes[name], service.tally.groups, now_s)
        self.alerts.see(watched.alerts, now_s)
