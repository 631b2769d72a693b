"""Attribution of poor ratings to impairments: how many points of PoW each of them accounts for.

The parts add up to PoW minus the PoW of the best condition. The effects of two impairments do not add up by
themselves: in a total outage, stall time alone explains all poor ratings, and what the number of stalls would
explain alone is explained twice. So each gets its Shapley value: what it adds to PoW, averaged over all orders in
which the impairments could have come. It is the only division that adds up, treats impairments of the same effect
alike, and gives nothing to one without an effect (Shapley 1953, A value for n-person games).

The value is linear in the histogram of conditions: one matrix product gives it for all groups. The histogram has
bins, and PoW is that of the exact conditions: the division is that of the bins, and what is divided is exact.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mapped_stalls
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import Qos

FACTORS = {"n": "stall_count", "t": "stall_time", "x": "response_time"}


class Attribution:
    """Divides the poor ratings of a group among the factors of its service: the axes of its bins.

    A factor is removed by setting its axis to 0. Measures have no bins, and so no factors.
    """

    def __init__(self, service: Service) -> None:
        self.factors = tuple(FACTORS[axis.name] for axis in service.bins.axes)
        self._values = _shapley_values(service)

    def contributions(self, qos: Counts, excess_pow: Floats) -> Floats:
        """(G, F) part of PoW that each factor accounts for; the parts of a group add up to its excess_pow.

        qos         (G, B) counts of conditions
        excess_pow  (G,) PoW minus the PoW of the best condition, of the exact conditions; NaN without any
        """
        # A mapping of your own may rate an impairment as a benefit, which accounts for no poor rating.
        values = np.maximum(qos @ self._values, 0.0)
        sums = values.sum(axis=1, keepdims=True)
        # Where no bin is worse than the best, as of a stall too short for its bin, nothing tells factors apart.
        alike = np.full_like(values, 1 / max(len(self.factors), 1))
        shares: Floats = np.divide(values, sums, out=alike, where=sums > 0)
        return excess_pow[:, None] * shares


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
