"""Attribution of poor ratings to impairments: how much lower PoW would be without each of them.

PoW is computed from the histogram of conditions twice: as it is, and with one factor removed, such as stall time.
Both values come from the same bins, so the error of binning cancels in their ratio.
"""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import rating_cdf

FACTORS = {"n": "stall_count", "t": "stall_time", "x": "response_time"}
ALL = "all"


class Attribution:
    """The share of users who rate poor or worse because of each factor.

    A factor is removed by setting its axis to 0. The effects of several factors do not add up, so their joint
    effect is given as `all`. Measures have no bins, and so no factors.
    """

    def __init__(self, service: Service) -> None:
        conditions = service.bins.conditions
        names = [axis.name for axis in service.bins.axes]
        without = {FACTORS[name]: _zeroed(conditions, {axis}) for axis, name in enumerate(names)}
        if len(names) > 1:
            without[ALL] = _zeroed(conditions, set(range(len(names))))
        self.factors = tuple(without)
        poor = _poor(service, conditions) if names else np.zeros(1)
        gains = [poor - _poor(service, changed) for changed in without.values()]
        self._poor_and_gains = np.stack([poor, *gains], axis=1)

    def contributions(self, qos: Counts, pow_: Floats) -> Floats:
        """(G, F) how much lower PoW would be without each factor; NaN where PoW is.

        qos   (G, B) counts of conditions
        pow_  (G,) their PoW; the bins give the fraction of it that each factor accounts for
        """
        sums = qos @ self._poor_and_gains
        poor, gains = sums[:, :1], sums[:, 1:]
        # Where no bin is poor, as of a stall too short for its bin, there is nothing to attribute.
        fraction = np.divide(gains, poor, out=np.zeros_like(gains), where=poor > 0)
        return np.where(pow_[:, None] == 0, 0.0, pow_[:, None] * fraction)


def _zeroed(conditions: tuple[Floats, ...], axes: set[int]) -> tuple[Floats, ...]:
    return tuple(np.zeros_like(values) if axis in axes else values for axis, values in enumerate(conditions))


def _poor(service: Service, conditions: tuple[Floats, ...]) -> Floats:
    scale = service.scale
    upto = np.array([scale.poor + 0.5])
    mos = service.mapping(*conditions)
    return rating_cdf(mos, service.theta, upto, service.model, scale, service.study)[:, 0]
