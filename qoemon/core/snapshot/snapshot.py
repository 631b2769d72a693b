"""The QoE of all groups at a tick, immutable, for any number of readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qoemon.core.arrays import Flags, Floats
from qoemon.core.counting.closed_ratings import ClosedRatings
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.quality import SUM, mos_of
from qoemon.core.feedback.conditions import GivenAnswers
from qoemon.core.plan.plan import Service
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.snapshot.feedback import Feedback
from qoemon.core.snapshot.where_first import WhereFirst

if TYPE_CHECKING:
    from qoemon.core.snapshot.predictor import Predictor


@dataclass(frozen=True)
class ServiceSnapshot:
    """One service: its counts, and the predicted ratings in each window (by length in seconds).

    factors        names of the impairments, F
    contributions  (G, F) part of PoW that each accounts for, base window: together PoW minus the PoW of the best
                   condition; NaN without conditions
    excess_poor    (G,) users who rate poor or worse beyond those who would without impairments, base window; NaN
                   without conditions
    where_first    the labels that best explain the excess poor ratings of the whole service; None without data
    predictor      predicts the ratings of other sums of these counts
    """

    service: Service
    counts: ServiceCounts
    distributions: Mapping[int, Distribution]
    factors: tuple[str, ...]
    contributions: Floats
    excess_poor: Floats
    where_first: WhereFirst | None
    predictor: Predictor = field(repr=False)

    @property
    def quality_mos(self) -> Floats:
        """(G,) mean MOS of what was shown, without stalls, base window; NaN without conditions.

        Only of a service that rates quality.
        """
        scale, conditions = self.service.scale, self.counts.qos.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return mos_of(self.counts.quality[:, SUM] / conditions, scale.low, scale.high)

    @property
    def doubtful(self) -> Flags:
        """(G,) whether more than half of a group's reports in the last interval conflict or are impossible."""
        return np.asarray(2 * self.counts.doubtful.sum(axis=1) > self.counts.heard)

    @cached_property
    def visible(self) -> Flags:
        """(G,) which groups are exported: those with a condition in any window, or an active session."""
        rated = np.any([d.observations > 0 for d in self.distributions.values()], axis=0)
        return np.asarray(rated | (self.counts.active_sessions > 0))


@dataclass(frozen=True)
class RollUp:
    """The sums of groups over some labels, as services whose groups have the other labels only.

    services  by name
    in_rules  names of the services for which an alert rule uses this roll-up
    """

    services: Mapping[str, ServiceSnapshot]
    in_rules: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Snapshot:
    """All services at tick time_s, seconds since the epoch, from the reports before that time.

    labels    names of the group labels
    events    number of each Event since the beginning
    sessions  number of sessions held
    catching_up  whether a backlog of reports without timestamps has arrived in the last rating interval
    roll_ups  those that the plan and the alert rules ask for
    confidence   of the bounds
    players      whether players may tell their states: the plan has paths of a collector
    closed       of each service, the rating intervals that have closed since the tick before, oldest first; after a
                 restart, the last ones once more
    feedback     what the users of each service said, by its name
    answers      the same by condition and day, all that are kept
    """

    time_s: int
    labels: tuple[str, ...]
    quantiles: tuple[float, ...]
    services: tuple[ServiceSnapshot, ...]
    events: Mapping[Event, int]
    sessions: int
    catching_up: bool = False
    roll_ups: Mapping[RollUpKey, RollUp] = field(default_factory=dict)
    confidence: float = 0.95
    closed: tuple[ClosedRatings, ...] = ()
    players: bool = False
    feedback: Mapping[str, Feedback] = field(default_factory=dict)
    answers: Mapping[str, GivenAnswers] = field(default_factory=dict, repr=False)
