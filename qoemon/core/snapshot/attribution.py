"""What to mend: how much poorer ratings are for each thing that goes wrong.

Asked of the histogram of conditions: had nobody stalled, or had stalls taken no time, what would they have said?
Both answers come from the same bins, so what is lost by binning cancels in their ratio.
"""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import rating_cdf

FACTORS = {"n": "stall_count", "t": "stall_time", "x": "response_time"}
ALL = "all"


class Attribution:
    """The share of users who rate poor or worse on account of each factor.

    A factor is taken away by setting its axis to 0. What two factors do is more or less than the sum of what each
    does, so `all` is told beside them where there are several. Measures, which have no bins, have no factors.
    """

    def __init__(self, service: Service) -> None:
        conditions = service.bins.conditions
        names = [axis.name for axis in service.bins.axes]
        without = {FACTORS[name]: _zeroed(conditions, {place}) for place, name in enumerate(names)}
        if len(names) > 1:
            without[ALL] = _zeroed(conditions, set(range(len(names))))
        self.factors = tuple(without)
        poor = _poor(service, conditions) if names else np.zeros(1)
        gains = [poor - _poor(service, changed) for changed in without.values()]
        self._poor_and_gains = np.stack([poor, *gains], axis=1)

    def contributions(self, qos: Counts, pow_: Floats) -> Floats:
        """How much lower PoW would be without each factor, (G, F), NaN where there are no conditions.

        qos   (G, B) counts of conditions
        pow_  (G,) their PoW; the bins say which part of it each factor accounts for
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            told = qos @ self._poor_and_gains
            part = told[:, 1:] / told[:, :1]
        # Nobody poor: nothing to take away.
        return np.where(pow_[:, None] == 0, 0.0, pow_[:, None] * part)


def _zeroed(conditions: tuple[Floats, ...], places: set[int]) -> tuple[Floats, ...]:
    return tuple(np.zeros_like(axis) if place in places else axis for place, axis in enumerate(conditions))


def _poor(service: Service, conditions: tuple[Floats, ...]) -> Floats:
    scale = service.scale
    upto = np.array([scale.poor + 0.5])
    mos = service.mapping(*conditions)
    return rating_cdf(mos, service.theta, upto, service.model, scale, service.study)[:, 0]
