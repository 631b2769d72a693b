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
    """First message of the parent.

    number    the worker's number, from 0
    workers   number of workers
    forget    whether the session of this worker at the broker is outdated
    offset_s  wall clock minus time since boot, seconds: workers do not read the wall clock, so that a step of the
              clock reaches all of them at the same tick
    """

    config: Config
    number: int
    workers: int
    forget: bool
    offset_s: float


@dataclass(frozen=True)
class IngestBatch:
    """Encoded messages, or the parts of them for this worker; Committed refers to their ascending number."""

    number: int
    frame: bytes


@dataclass(frozen=True)
class TickRequest:
    """Requests the counts at tick_s, seconds since the epoch.

    stored_s  end of the newest closed interval that the parent has stored; the worker drops it and older ones
    """

    tick_s: int
    offset_s: float
    stored_s: int | None


@dataclass(frozen=True)
class ClockStep:
    """The wall clock was set: move all times by whole rating intervals, in seconds."""

    by_s: int
    offset_s: float


@dataclass(frozen=True)
class FreezeGroups:
    """The limit of groups is reached in these services, and in no others: pool all other groups of them."""

    groups: Mapping[str, tuple[Labels, ...]]


@dataclass(frozen=True)
class Reload:
    """Continue with this configuration."""

    config: Config


@dataclass(frozen=True)
class Stop:
    """Stop receiving, store the state, and exit."""


@dataclass(frozen=True)
class RecoveryProgress:
    """The worker has replayed this share of its journal."""

    done: float


@dataclass(frozen=True)
class Ready:
    """The worker accepts reports; empty: there was no stored state."""

    empty: bool


@dataclass(frozen=True)
class Committed:
    """The worker has committed the batches up to this number."""

    number: int


@dataclass(frozen=True)
class Heartbeat:
    """Statistics of the worker, sent about once a second; memory in bytes."""

    stats: EngineStats
    cpu_s: float
    memory: int


@dataclass(frozen=True)
class TickResult:
    """The answer to TickRequest, with sparse histograms."""

    counts: ShardCounts
