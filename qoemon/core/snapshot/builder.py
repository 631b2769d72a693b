"""Builds the snapshot of a tick: predicts ratings from counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qoemon.core.arrays import Counts
from qoemon.core.counting.closed_ratings import ClosedRatings
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.distribution import Distribution, RatingKernel
from qoemon.core.snapshot.attribution import Attribution
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot


class SnapshotBuilder:
    """Computes a Snapshot from counts.

    The longer windows change only when a rating interval closes: until then their distributions are reused.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.kernels: Mapping[str, RatingKernel] = {
            s.name: s.kernel(plan.quantiles, confidence=plan.confidence) for s in plan.services
        }
        self._attributions = {s.name: Attribution(s) for s in plan.services}
        self._least_pow = {s.name: _pow_at_best(s) for s in plan.services}
        self._cache: dict[tuple[str, int], tuple[Counts, Distribution]] = {}

    def snapshot(
        self,
        counts: Sequence[ServiceCounts],
        *,
        time_s: int,
        events: Mapping[Event, int],
        sessions: int,
        catching_up: bool = False,
        closed: Sequence[ClosedRatings] = (),
    ) -> Snapshot:
        """The snapshot of tick time_s; counts in the order of the plan's services."""
        return Snapshot(
            time_s=time_s,
            labels=self._plan.labels,
            quantiles=self._plan.quantiles,
            services=tuple(map(self._service, self._plan.services, counts)),
            events=dict(events),
            sessions=sessions,
            catching_up=catching_up,
            confidence=self._plan.confidence,
            closed=tuple(closed),
        )

    def _service(self, service: Service, counts: ServiceCounts) -> ServiceSnapshot:
        distributions = {length: self._distribution(counts, length) for length in counts.windows}
        base = distributions[self._plan.timing.interval_s]
        attribution = self._attributions[service.name]
        return ServiceSnapshot(
            service=service,
            counts=counts,
            distributions=distributions,
            factors=attribution.factors,
            contributions=attribution.contributions(counts.qos, base.pow),
            excess_poor=(base.pow - self._least_pow[service.name]) * base.observations,
        )

    def _distribution(self, counts: ServiceCounts, length: int) -> Distribution:
        window = counts.windows[length]
        before, distribution = self._cache.get((counts.service, length), (None, None))
        if distribution is None or before is not window:
            distribution = self.kernels[counts.service].distribution(window, counts.users[length])
            self._cache[counts.service, length] = (window, distribution)
        return distribution


def _pow_at_best(service: Service) -> float:
    """PoW without any impairment."""
    best = service.mapping.reach[-1:]
    return float(service.kernel(mos=best).distribution(np.array([[1]])).pow[0])
