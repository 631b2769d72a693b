"""The plan of a Monitor: services, timing, limits. The configuration has validated it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from qoemon.core.arrays import Floats
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.bins import Bins, bins_of, mos_levels
from qoemon.core.qoe.distribution import RatingKernel
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import Qos, QosMapping, RatingModel
from qoemon.core.qoe.scale import ACR5, Scale


class Counters(StrEnum):
    """How a service's clients count: since the session began, or since their last report."""

    CUMULATIVE = "cumulative"
    DELTA = "delta"


class Clock(StrEnum):
    """Time at which a report counts: its ts, corrected by its client's delay, its arrival, or its ts as it is."""

    AUTO = "auto"
    ARRIVAL = "arrival"
    REPORT = "report"


@dataclass(frozen=True)
class Service:
    """How one service is rated: QoS, mapping, theta, scale."""

    name: str
    mapping: QosMapping
    theta: float
    theta_band: tuple[float, ...] = ()
    model: RatingModel = RatingModel.BETA
    study: EmpiricalRatings | None = None
    counters: Counters = Counters.CUMULATIVE
    scale: Scale = ACR5

    @property
    def bins(self) -> Bins:
        """The bins in which its conditions are shown."""
        return bins_of(self.mapping.qos)

    @property
    def rated_at(self) -> Floats:
        """(B,) MOS of each bin from which ratings are predicted, scale points.

        Response times have bins of their own, 1.94 % wide. Stalls and measures have more dimensions, which would
        need too many bins for the same accuracy: their bins are levels of MOS.
        """
        if self.mapping.qos is Qos.RESPONSES:
            return self.mapping(*self.bins.conditions)
        return mos_levels(self.scale)

    def kernel(
        self, quantiles: tuple[float, ...] = (), mos: Floats | None = None, confidence: float = 0.95
    ) -> RatingKernel:
        """The kernel of its bins, or of the given MOS, (B,) scale points."""
        return RatingKernel(
            self.rated_at if mos is None else mos,
            self.theta,
            scale=self.scale,
            model=self.model,
            study=self.study,
            band=self.theta_band,
            quantiles=quantiles,
            confidence=confidence,
        )


@dataclass(frozen=True)
class Timing:
    """Times in seconds. tick_s divides interval_s, the rating interval, which divides and starts windows_s."""

    tick_s: int = 10
    interval_s: int = 60
    windows_s: tuple[int, ...] = (60, 300, 3600)
    session_timeout_s: float = 300
    min_active_s: float = 5
    clock: Clock = Clock.AUTO

    @property
    def slices(self) -> int:
        """Number of ticks in a rating interval."""
        return self.interval_s // self.tick_s


@dataclass(frozen=True)
class Limits:
    """Bounds of everything that can grow.

    group_idle_s  seconds after which a silent group frees its place
    """

    sessions: int = 1_000_000
    groups: int = 1000
    group_idle_s: float = math.inf
    message_bytes: int = 256 * 1024
    reports_per_message: int = 1000
    label_length: int = 128


@dataclass(frozen=True)
class Players:
    """How states of players become sessions; times in seconds.

    reorder_s         longest time that a record waits for those that were sent before it
    heartbeat_s       time between two records, of players of which it is not known yet
    shortest_stall_s  stalls that are shorter are none
    startup_service   name of the service that rates startup times; None if none does
    failed_worst      whether a start that failed is rated as the worst startup time
    hidden            whether players that cannot be seen count
    labels            names of labels by the keys of a record that they are read from, such as sf
    records_per_s     records of a session in a second; further ones are rejected
    """

    reorder_s: float = 2.0
    heartbeat_s: float = 30.0
    shortest_stall_s: float = 0.1
    startup_service: str | None = None
    failed_worst: bool = False
    hidden: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    records_per_s: int = 20


@dataclass(frozen=True)
class Feedback:
    """How opinions of users are joined with their sessions.

    within_s  time after the end of a session in which its user may rate it, seconds
    scores    names of the scores that are taken; others are dropped
    tolerance how far the mean rating may be from the predicted one before the model is off, on a scale of 1 to 5
    """

    within_s: float = 300
    scores: tuple[str, ...] = ()
    tolerance: float = 0.1


@dataclass(frozen=True)
class Plan:
    """Everything that the core needs to know from the configuration.

    topics    templates of MQTT topics
    labels    names of the group labels, those from topics first; empty in reports whose topic has no such level
    paths     templates of the collector's paths
    roll_ups  the labels of each roll-up that has regimes and is exported, in the order of `labels`
    """

    services: tuple[Service, ...]
    topics: tuple[TopicTemplate, ...]
    labels: tuple[str, ...]
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)
    quantiles: tuple[float, ...] = (0.05, 0.1, 0.5, 0.9)
    confidence: float = 0.95
    roll_ups: tuple[tuple[str, ...], ...] = ()
    paths: tuple[TopicTemplate, ...] = ()
    players: Players = field(default_factory=Players)
    feedback: Feedback = field(default_factory=Feedback)
