"""Attribution of poor ratings to impairments: how many points of PoW each of them accounts for.

The parts add up to PoW minus the PoW of the best condition. The effects of two impairments do not add up by
themselves: in a total outage, stall time alone explains all poor ratings, and what the number of stalls would
explain alone is explained twice. So each gets its Shapley value: what it adds to PoW, averaged over all orders in
which the impairments could have come. It is the only division that adds up, treats impairments of the same effect
alike, and gives nothing to one without an effect (Shapley 1953, A value for n-person games).

The value is linear in the histogram of conditions: one matrix product gives it for all groups. The histogram has
bins, and PoW is that of the exact conditions: the division is that of the bins, and what is divided is exact.

Quality has no bins. Of a service that rates it, each session is counted with its own Shapley values of quality,
number and time of stalls (counting/quality.py), and the sums of a group divide its PoW.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.counting.quality import COLUMNS, HARM_PARTS, HARMS, rates_quality
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mapped_stalls
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import Qos

FACTORS = {"n": "stall_count", "t": "stall_time", "x": "response_time"}
QUALITY = "media_quality"
"""The factor of services that rate what is shown: quality below the best one."""


class Attribution:
    """Divides the poor ratings of a group among the factors of its service: the axes of its bins.

    A factor is removed by setting its axis to 0, and quality by making it the best. Measures alone have no bins,
    and so no factors.
    """

    def __init__(self, service: Service) -> None:
        self._of_quality = rates_quality(service)
        of_bins = tuple(FACTORS[axis.name] for axis in service.bins.axes)
        self.factors = (QUALITY, *of_bins) if self._of_quality else of_bins
        self._values = _counted_values() if self._of_quality else _shapley_values(service)

    def conditions(self, counts: ServiceCounts) -> Counts:
        """The counts of conditions from which contributions() divides."""
        return counts.quality if self._of_quality else counts.qos

    def contributions(self, conditions: Counts, excess_pow: Floats) -> Floats:
        """(G, F) part of PoW that each factor accounts for; the parts of a group add up to its excess_pow.

        conditions  (G, B) from conditions()
        excess_pow  (G,) PoW minus the PoW of the best condition, of the exact conditions; NaN without any
        """
        # A mapping of your own may rate an impairment as a benefit, which accounts for no poor rating.
        values = np.maximum(conditions @ self._values, 0.0)
        sums = values.sum(axis=1, keepdims=True)
        # Where no bin is worse than the best, as of a stall too short for its bin, nothing tells factors apart.
        alike = np.full_like(values, 1 / max(len(self.factors), 1))
        shares: Floats = np.divide(values, sums, out=alike, where=sums > 0)
        return excess_pow[:, None] * shares


def _counted_values() -> Floats:
    """(COLUMNS, 3) picks the values of the factors from the counts of quality."""
    values = np.zeros((COLUMNS, 3))
    values[HARMS] = np.eye(3) / HARM_PARTS
    return values


def _shapley_values(service: Service) -> Floats:
    """(B, F) by how much each factor raises P(poor or worse) of a user in each bin: its Shapley value."""
    factors = range(len(service.bins.axes))
    values = np.zeros((service.bins.size, len(factors)))
    orders = list(permutations(factors))
    for order in orders:
        for place, factor in enumerate(order):
            values[:, factor] += _poor(service, order[: place + 1]) - _poor(service, order[:place])
    return values / len(orders)


def _poor(service: Service, present: tuple[int, ...]) -> Floats:
    """(B,) P(poor or worse) of a user in each bin, where only these axes are present and the others are 0."""
    condition = tuple(
        values if axis in present else np.zeros_like(values) for axis, values in enumerate(service.bins.conditions)
    )
    if service.mapping.qos is Qos.STALLS:
        condition = mapped_stalls(*condition)
    upto = np.array([service.scale.poor + 0.5])
    mos = service.mapping(*condition)
    return rating_cdf(mos, service.theta, upto, service.model, service.scale, service.study)[:, 0]
