"""Accumulates ticks into a period under one configuration, for `qoemon replay` and `qoemon report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Counts, Floats, Histogram, Ints, grow_rows, to_dense
from qoemon.core.counting.counts import ClosedInterval, IntervalCounts
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
    users   (G,) most distinct sessions in any longest window, a lower bound of those of the period
    qos     (B,) all groups, in the bins of the QoS axes
    excess  (G,) poor ratings beyond those under good conditions
    poor_by (G, F) poor ratings that each factor accounts for; they add up to excess
    worst   (G,) highest lower bound of PoW of any interval
    worst_pow, worst_at_s, worst_users  (G,) that interval's PoW, end, and users
    effective_users  (G,) most in any longest window, for the bounds
    most_active, most_stalled  (G,) maximum at any time
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
    effective_users: Floats
    most_active: Ints
    most_stalled: Ints

    @property
    def squares(self) -> Floats:
        """(G,) sum over the users of the squares of their conditions, as if they weighed as in that window."""
        square: Floats = self.levels.sum(axis=1).astype(np.float64) ** 2
        return np.divide(square, self.effective_users, out=np.zeros_like(square), where=self.effective_users > 0)


class ServicePeriod:
    """One service over the period."""

    def __init__(self, service: Service, plan: Plan) -> None:
        self.service = service
        self._interval_s, self._longest_s = plan.timing.interval_s, max(plan.timing.windows_s)
        self.kernel = service.kernel(plan.quantiles, confidence=plan.confidence)
        self.series = Series(service, plan.timing.interval_s, plan.confidence)
        self.regimes = RegimeLog()
        self.groups: tuple[Labels, ...] = ()
        self.factors: tuple[str, ...] = ()
        self._totals: Totals | None = None

    @property
    def totals(self) -> Totals | None:
        """Totals so far; None before the first rating interval has closed."""
        return self._totals

    def close(self, end_s: int, snapshot: ServiceSnapshot, counts: Sequence[IntervalCounts]) -> None:
        """Add the rating interval that ended at end_s; counts: of it, with what came late for earlier ones."""
        self.groups, self.factors = snapshot.counts.groups, snapshot.factors
        self.series.add(end_s, snapshot)
        self._totals = self._accumulate(end_s, snapshot, counts, self._totals)

    def distribution(self) -> Distribution | None:
        """Rating distribution of each group over the whole period; None without data."""
        totals = self._totals
        if totals is None or not totals.levels.any():
            return None
        return self.kernel.distribution(totals.levels, totals.users, totals.squares)

    def overall_distribution(self) -> Distribution | None:
        """Rating distribution of all groups together; None without data."""
        totals = self._totals
        if totals is None or not totals.levels.any():
            return None
        levels, users, squares = (
            column.sum(axis=0, keepdims=True) for column in (totals.levels, totals.users, totals.squares)
        )
        return self.kernel.distribution(levels, users, squares)

    def worst_first(self) -> list[int]:
        """Indexes of the groups with data, those with most excess poor ratings first."""
        totals = self._totals
        if totals is None:
            return []
        rated = np.flatnonzero(totals.levels.any(axis=1))
        return [int(group) for group in rated[np.argsort(-totals.excess[rated], kind="stable")]]

    def _accumulate(
        self, end_s: int, snapshot: ServiceSnapshot, closed: Sequence[IntervalCounts], before: Totals | None
    ) -> Totals:
        counts, now = snapshot.counts, snapshot.distributions[self._interval_s]
        size = len(counts.groups)
        excess = np.nan_to_num(snapshot.excess_poor)
        poor_by = np.nan_to_num(snapshot.contributions) * now.observations[:, None]
        pow_lower = np.nan_to_num(now.pow_bounds[:, 0], nan=-1.0)
        parts = [part for each in closed for part in (each, *each.late.values())]
        interval = Totals(
            levels=_summed([each.levels for each in parts], size, counts.windows[self._interval_s].shape[1]),
            users=counts.users[self._longest_s],
            qos=_summed([each.qos for each in parts], size, counts.qos.shape[1]).sum(axis=0),
            excess=excess,
            poor_by=poor_by,
            worst=pow_lower,
            worst_pow=now.pow,
            worst_at_s=np.full(size, float(end_s)),
            worst_users=counts.users[self._interval_s],
            effective_users=np.asarray(snapshot.distributions[self._longest_s].effective_users, np.float64),
            most_active=counts.active_sessions,
            most_stalled=counts.open_stalls,
        )
        return interval if before is None else _add(before, interval, size)


def _summed(histograms: Sequence[Histogram], groups: int, bins: int) -> Counts:
    """The sum of histograms with at most so many groups."""
    total = np.zeros((groups, bins), np.int64)
    for histogram in histograms:
        dense = to_dense(histogram)
        total[: len(dense)] += dense
    return total


def _add(before: Totals, interval: Totals, size: int) -> Totals:
    known = grow_rows(before.worst + 1, size) - 1  # groups new in this interval start at -1, below any PoW
    worse = interval.worst > known
    return Totals(
        levels=grow_rows(before.levels, size) + interval.levels,
        users=np.maximum(grow_rows(before.users, size), interval.users),
        qos=before.qos + interval.qos,
        excess=grow_rows(before.excess, size) + interval.excess,
        poor_by=grow_rows(before.poor_by, size) + interval.poor_by,
        worst=np.where(worse, interval.worst, known),
        worst_pow=np.where(worse, interval.worst_pow, grow_rows(before.worst_pow, size)),
        worst_at_s=np.where(worse, interval.worst_at_s, grow_rows(before.worst_at_s, size)),
        worst_users=np.where(worse, interval.worst_users, grow_rows(before.worst_users, size)),
        effective_users=np.maximum(grow_rows(before.effective_users, size), interval.effective_users),
        most_active=np.maximum(grow_rows(before.most_active, size), interval.most_active),
        most_stalled=np.maximum(grow_rows(before.most_stalled, size), interval.most_stalled),
    )


@dataclass
class Period:
    """All services and alerts from the first tick to the last; times are seconds since the epoch."""

    plan: Plan
    begin_s: int | None = None
    end_s: int = 0
    intervals: int = 0
    """Rating intervals that closed."""
    alerts: AlertLog = field(default_factory=AlertLog)

    @cached_property
    def services(self) -> dict[str, ServicePeriod]:
        """Services by name."""
        return {service.name: ServicePeriod(service, self.plan) for service in self.plan.services}

    def observe(self, ticked: Tick, intervals: Sequence[ClosedInterval]) -> None:
        """Add a tick, and the rating intervals that closed since the one before; ticks come in order."""
        snapshot, watched = ticked
        timing, now_s = self.plan.timing, snapshot.time_s
        if self.begin_s is None:
            self.begin_s = now_s - timing.tick_s
        self.end_s = now_s
        closed = now_s % timing.interval_s == 0
        self.intervals += closed
        for number, service in enumerate(snapshot.services):
            name = service.service.name
            if closed:
                self.services[name].close(now_s, service, [each.services[number] for each in intervals])
            if name in watched.regimes:
                self.services[name].regimes.observe(watched.regimes[name], service.counts.groups, now_s)
        self.alerts.observe(watched.alerts, now_s)
