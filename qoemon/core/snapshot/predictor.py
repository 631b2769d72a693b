"""Predicts the ratings of one service from its counts, for groups and for sums of groups alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.snapshot.attribution import Attribution
from qoemon.core.snapshot.snapshot import ServiceSnapshot
from qoemon.core.snapshot.where_first import WhereFirst, where_first


class Predictor:
    """The kernels of one service."""

    def __init__(self, service: Service, plan: Plan) -> None:
        self._service, self._labels, self._interval_s = service, plan.labels, plan.timing.interval_s
        self.kernel = service.kernel(plan.quantiles, confidence=plan.confidence)
        self._attribution = Attribution(service)
        self._least_pow = _pow_at_best(service)

    def distribution(self, counts: ServiceCounts, length: int) -> Distribution:
        """The ratings of the window of this length, seconds."""
        return self.kernel.distribution(counts.windows[length], counts.users[length], counts.squares[length])

    def snapshot(
        self,
        counts: ServiceCounts,
        whole: WhereFirst | None = None,
        distributions: Mapping[int, Distribution] | None = None,
    ) -> ServiceSnapshot:
        """The snapshot of these counts.

        whole          of the service, if the counts are those of a roll-up
        distributions  those that are known already, by the window's length in seconds
        """
        known = distributions or {}
        of_windows = {
            length: known[length] if length in known else self.distribution(counts, length)
            for length in counts.windows
        }
        base = of_windows[self._interval_s]
        excess_pow = base.pow - self._least_pow
        return ServiceSnapshot(
            service=self._service,
            counts=counts,
            distributions=of_windows,
            factors=self._attribution.factors,
            contributions=self._attribution.contributions(self._attribution.conditions(counts), excess_pow),
            excess_poor=excess_pow * base.observations,
            where_first=whole,
            predictor=self,
        )

    def where_first(self, counts: ServiceCounts, base: Distribution) -> WhereFirst | None:
        """The labels that best explain the excess poor ratings, given the base window of all groups."""
        excess = np.nan_to_num((base.pow - self._least_pow) * base.observations)
        return where_first(self._labels, counts.groups, excess, base.observations, counts.users[self._interval_s])


def _pow_at_best(service: Service) -> float:
    """PoW without any impairment."""
    best = service.mapping.reach[-1:]
    return float(service.kernel(mos=best).distribution(np.array([[1]])).pow[0])
