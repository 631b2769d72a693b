"""What one tick has to say: whole, frozen, for as many readers as like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Flags, Floats
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import Distribution


@dataclass(frozen=True)
class ServiceSnapshot:
    """One service: its counts, and what its users answer in each window (by length in seconds).

    factors        what can go wrong, F names
    contributions  (G, F) the share of PoW that each accounts for, base window; NaN without conditions
    excess_poor    (G,) users who rate poor or worse beyond those who always would, base window; NaN likewise
    """

    service: Service
    counts: ServiceCounts
    distributions: Mapping[int, Distribution]
    factors: tuple[str, ...]
    contributions: Floats
    excess_poor: Floats

    @cached_property
    def visible(self) -> Flags:
        """(G,) which groups are exported: those with a condition in some window or an active session."""
        judged = np.any([d.observations > 0 for d in self.distributions.values()], axis=0)
        return np.asarray(judged | (self.counts.active_sessions > 0))


@dataclass(frozen=True)
class Snapshot:
    """Everything at tick time_s, seconds since the epoch: it covers what was reported before that.

    labels    the names of the group labels
    events    what the Monitor has counted since it began
    sessions  how many it holds
    """

    time_s: int
    labels: tuple[str, ...]
    quantiles: tuple[float, ...]
    services: tuple[ServiceSnapshot, ...]
    events: Mapping[Event, int]
    sessions: int
