"""From counts to what users answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qoemon.core.arrays import Counts
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.distribution import Distribution, RatingKernel
from qoemon.core.snapshot.attribution import Attribution
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot


class SnapshotBuilder:
    """Turns tallies, of one Monitor or merged from several, into a Snapshot.

    The longer windows change only as rating intervals close: what was said of the same counts is said again.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.kernels: Mapping[str, RatingKernel] = {
            s.name: s.kernel(plan.quantiles, confidence=plan.confidence) for s in plan.services
        }
        self._attributions = {s.name: Attribution(s) for s in plan.services}
        self._always_poor = {s.name: _poor_at_best(s) for s in plan.services}
        self._said: dict[tuple[str, int], tuple[Counts, Distribution]] = {}

    def snapshot(
        self, tallies: Sequence[ServiceCounts], *, time_s: int, events: Mapping[Event, int], sessions: int
    ) -> Snapshot:
        """The snapshot of tick time_s; tallies in the order of the plan's services."""
        return Snapshot(
            time_s=time_s,
            labels=self._plan.labels,
            quantiles=self._plan.quantiles,
            services=tuple(map(self._service, self._plan.services, tallies)),
            events=dict(events),
            sessions=sessions,
        )

    def _service(self, service: Service, tally: ServiceCounts) -> ServiceSnapshot:
        distributions = {length: self._judge(tally, length) for length in tally.windows}
        base = distributions[self._plan.timing.interval_s]
        attribution = self._attributions[service.name]
        return ServiceSnapshot(
            service=service,
            tally=tally,
            distributions=distributions,
            factors=attribution.factors,
            contributions=attribution.contributions(tally.qos, base.pow),
            excess_poor=(base.pow - self._always_poor[service.name]) * base.observations,
        )

    def _judge(self, tally: ServiceCounts, length: int) -> Distribution:
        counts = tally.windows[length]
        before, said = self._said.get((tally.service, length), (None, None))
        if said is None or before is not counts:
            said = self.kernels[tally.service].judge(counts, tally.users[length])
            self._said[tally.service, length] = (counts, said)
        return said


def _poor_at_best(service: Service) -> float:
    """PoW where nothing goes wrong."""
    best = service.mapping.reach[-1:]
    return float(service.kernel(mos=best).judge(np.array([[1]])).pow[0])
