"""From a QoS condition to the MOS: what users there would say on average.

Each mapping names the paper and equation it is from, the constants and the range on which they were fitted.
Stall counts and times are per MEDIA_S seconds of played media, so that the constants keep their meaning
whatever the length of the rating interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from qoemon.core.scale import ACR5, Floats, Scale

MEDIA_S = 60.0
"""The media time that a condition refers to: d in Hossfeld et al. 2020, (22)."""


class Qos(StrEnum):
    """What a service's condition is made of."""

    STALLS = "stalls"
    """n stalls, t stall seconds, both per MEDIA_S of media; one condition a session."""
    RESPONSES = "responses"
    """x seconds of waiting; one condition a response."""


class RatingModel(StrEnum):
    """How ratings spread around the MOS of a condition."""

    BETA = "beta"
    BINOMIAL = "binomial"


@dataclass(frozen=True)
class QosMapping:
    """A MOS formula with its constants.

    formula takes the constants by name and then one array a QoS axis, (n, t) or (x,), all (B,); it gives
    the MOS of each, (B,) scale points.
    """

    name: str
    qos: Qos
    formula: Callable[..., Floats]
    parameters: Mapping[str, float]
    theta: float
    source: str
    fitted_on: str
    models: tuple[RatingModel, ...] = (RatingModel.BETA,)
    scale: Scale = ACR5

    def __call__(self, *condition: Floats) -> Floats:
        """MOS of each condition, (B,) scale points, cut to the scale."""
        mos = self.formula(*condition, **self.parameters)
        return np.clip(mos, self.scale.low, self.scale.high)

    @property
    def reach(self) -> Floats:
        """(2,) the lowest and the highest MOS that any condition comes to, scale points."""
        axes = 2 if self.qos is Qos.STALLS else 1
        return np.sort(self(*(np.array([0.0, np.inf]) for _ in range(axes))))

    def with_parameters(self, changed: Mapping[str, float]) -> QosMapping:
        """The same formula with other constants; ValueError names those it does not have."""
        if unknown := sorted(changed.keys() - self.parameters.keys()):
            raise ValueError(
                f"{self.name} has no constant {', '.join(unknown)}; it has {', '.join(self.parameters)}"
            )
        return replace(self, parameters=MappingProxyType({**self.parameters, **changed}))


def _video_stall(n: Floats, t: Floats, *, scale: float, time: float, count: float, floor: float) -> Floats:
    return scale * np.exp(-time * t / MEDIA_S - count * n / MEDIA_S) + floor


def _web_iqx(x: Floats, *, scale: float, beta: float, floor: float) -> Floats:
    return scale * np.exp(-beta * x) + floor


VIDEO_STALL = QosMapping(
    name="video-stall",
    qos=Qos.STALLS,
    formula=_video_stall,
    parameters=MappingProxyType({"scale": 3.5, "time": 4.5, "count": 5.7, "floor": 1.5}),
    theta=0.30,
    source="Hossfeld et al. 2020, arXiv:2003.12742, (22)",
    fitted_on="clips of 30 s with up to 6 stalls of 1 to 6 s each, rated by a crowd (Hossfeld et al. 2011)",
)

WEB_IQX = QosMapping(
    name="web-iqx",
    qos=Qos.RESPONSES,
    formula=_web_iqx,
    parameters=MappingProxyType({"scale": 4.0, "beta": 0.25, "floor": 1.0}),
    theta=0.25,
    source="Hossfeld et al. 2020, arXiv:2003.12742, (15)",
    fitted_on="no range is stated; at 20 s the formula has come down to MOS 1.03",
    models=(RatingModel.BETA, RatingModel.BINOMIAL),
)

MAPPINGS: Mapping[str, QosMapping] = MappingProxyType({m.name: m for m in (VIDEO_STALL, WEB_IQX)})
