"""The QoE of all groups at a tick, immutable, for any number of readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Flags, Floats
from qoemon.core.counting.closed_ratings import ClosedRatings
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import Distribution


@dataclass(frozen=True)
class ServiceSnapshot:
    """One service: its counts, and the predicted ratings in each window (by length in seconds).

    factors        names of the impairments, F
    contributions  (G, F) by how much each raises PoW, base window; NaN without conditions
    excess_poor    (G,) users who rate poor or worse beyond those who would without impairments, base window; NaN
                   without conditions
    """

    service: Service
    counts: ServiceCounts
    distributions: Mapping[int, Distribution]
    factors: tuple[str, ...]
    contributions: Floats
    excess_poor: Floats

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
class Snapshot:
    """All services at tick time_s, seconds since the epoch, from the reports before that time.

    labels    names of the group labels
    events    number of each Event since the beginning
    sessions  number of sessions held
    catching_up  whether a backlog of reports without timestamps has arrived in the last rating interval
    confidence   of the bounds
    closed       of each service, the rating intervals that have closed since the tick before, oldest first; after a
                 restart, the last ones once more
    """

    time_s: int
    labels: tuple[str, ...]
    quantiles: tuple[float, ...]
    services: tuple[ServiceSnapshot, ...]
    events: Mapping[Event, int]
    sessions: int
    catching_up: bool = False
    confidence: float = 0.95
    closed: tuple[ClosedRatings, ...] = ()
