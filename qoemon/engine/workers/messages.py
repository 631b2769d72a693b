"""The messages between the parent and a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qoemon.config.config import Config
from qoemon.core.counting.groups import Labels
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.engine.stats import EngineStats


@dataclass(frozen=True)
class Start:
    """First message of the parent: what to do, as which worker of how many, and by what clock.

    routed    whether reports come from the parent, rather than from a connection to the broker
    forget    whether the broker's stored session of this worker is out of date
    offset_s  wall clock minus time since boot, seconds: a worker never reads the wall clock itself, so that all see
              it set at the same moment
    """

    config: Config
    number: int
    workers: int
    routed: bool
    forget: bool
    offset_s: float


@dataclass(frozen=True)
class IngestBatch:
    """Messages, or the parts of them that are this worker's, encoded; number grows, and comes back in Committed."""

    number: int
    frame: bytes


@dataclass(frozen=True)
class TickRequest:
    """Asks for the counts at tick_s, seconds since the epoch.

    stored_s  closed intervals up to this end are stored by the parent, and need not be handed on again
    """

    tick_s: int
    offset_s: float
    stored_s: int | None


@dataclass(frozen=True)
class ClockStep:
    """The wall clock was set: move what is held by whole rating intervals, in seconds."""

    by_s: int
    offset_s: float


@dataclass(frozen=True)
class FreezeGroups:
    """There is room for no more groups of these services: pool what is beyond."""

    groups: Mapping[str, tuple[Labels, ...]]


@dataclass(frozen=True)
class Reload:
    """Continue with this configuration."""

    config: Config


@dataclass(frozen=True)
class Stop:
    """Receive no more from the broker, store all that is held, and exit."""


@dataclass(frozen=True)
class RecoveryProgress:
    """The worker has replayed this share of its journal."""

    done: float


@dataclass(frozen=True)
class Ready:
    """The worker accepts reports. empty: it has no sessions from before, as there was nothing to be read."""

    empty: bool


@dataclass(frozen=True)
class Committed:
    """Batches up to this number are committed."""

    number: int


@dataclass(frozen=True)
class Heartbeat:
    """Statistics of the worker, sent about once a second; memory in bytes."""

    stats: EngineStats
    cpu_s: float
    memory: int


@dataclass(frozen=True)
class TickResult:
    """The answer to TickRequest; with sparse histograms."""

    counts: ShardCounts
