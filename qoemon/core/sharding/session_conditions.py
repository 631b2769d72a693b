"""The conditions of a service's sessions as FeedbackDays keeps them: independent of its constants where possible.

Stalls and response times are kept in the bins in which they are shown. So what users said can be compared with
other constants, and fitted. Where quality or other measures are rated there are no such bins: only the predicted
MOS is kept, to its level, which is lost with the constants that have predicted it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

import numpy as np

from qoemon.core.arrays import Floats, Ints
from qoemon.core.counting.feedback_counts import LEVELS
from qoemon.core.counting.quality import rates_quality
from qoemon.core.feedback.prediction import Predicted, predicted
from qoemon.core.plan.fingerprint import points_of, rating_of
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mapped_stalls, mos_levels
from qoemon.core.qoe.mapping import Qos


class SessionConditions:
    """The conditions of a service, C of them, by number.

    axes  (C,) each: the arguments of its mapping; none if only the predicted MOS is kept
    mos   (C,) MOS by the constants in force, scale points
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        qos = service.mapping.qos
        self.axes: tuple[Floats, ...] = ()
        if qos is Qos.RESPONSES or (qos is Qos.STALLS and not rates_quality(service)):
            conditions = service.bins.conditions
            self.axes = mapped_stalls(*conditions) if qos is Qos.STALLS else conditions
        self.mos = service.mapping(*self.axes) if self.axes else mos_levels(service.scale)

    def numbers(self, counted: Ints) -> Ints:
        """(N,) the numbers of conditions as shards count them."""
        return counted // LEVELS if self.axes else counted % LEVELS

    @cached_property
    def predicted(self) -> Predicted:
        """The prediction at each condition, (C,)."""
        service = self._service
        return predicted(self.mos, service.theta, service.scale, service.model, service.study)

    @property
    def meaning(self) -> str:
        """Equal for services whose conditions and ratings mean the same."""
        scale = self._service.scale
        kind: list[Any] = [str(self._service.mapping.qos), scale.low, scale.high, len(self.mos)]
        return json.dumps(
            kind if self.axes else [*kind, *rating_of(self._service), points_of(self._service.mapping)]
        )

    @cached_property
    def model(self) -> str:
        """Equal for services that predict the same, to the sixth digit."""
        return hashlib.blake2b(
            np.rint(self.predicted.shares * 1e6).astype("<i8").tobytes(), digest_size=16
        ).hexdigest()
