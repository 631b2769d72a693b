"""What the parent says to a worker, and a worker to the parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qoemon.config.config import Config
from qoemon.core.counting.groups import Labels
from qoemon.core.sharding.shard_counts import Share
from qoemon.core.sharding.sparse import ThinTally
from qoemon.engine.stats import Intake


@dataclass(frozen=True)
class Begin:
    """The first word: what to do, as which of how many, and by what clock.

    routed    whether reports come from the parent, rather than from a connection to the broker
    forget    whether what the broker keeps for this worker is out of date
    offset_s  what the wall clock is ahead of the time since boot: a worker never looks at the wall clock itself, so
              that all see it set at the same moment
    """

    config: Config
    number: int
    workers: int
    routed: bool
    forget: bool
    offset_s: float


@dataclass(frozen=True)
class Take:
    """Messages, or the parts of them that are this worker's, framed; number grows, and comes back in Safe."""

    number: int
    frame: bytes


@dataclass(frozen=True)
class TickRequest:
    """Say what is to be said at tick_s, seconds since the epoch."""

    tick_s: int
    offset_s: float


@dataclass(frozen=True)
class Shift:
    """The wall clock was set: move what is held by whole rating intervals, in seconds."""

    by_s: int
    offset_s: float


@dataclass(frozen=True)
class FreezeGroups:
    """There is room for no more groups of these services: pool what is beyond."""

    groups: Mapping[str, tuple[Labels, ...]]


@dataclass(frozen=True)
class Reload:
    """Go on with this configuration."""

    config: Config


@dataclass(frozen=True)
class Leave:
    """Take no more from the broker, store all that is held, and end."""


@dataclass(frozen=True)
class RecoveryProgress:
    """The worker runs its journal again and has done this share of it."""

    done: float


@dataclass(frozen=True)
class Ready:
    """The worker stands where the last one stood; or it begins anew, as there was nothing to be read."""

    anew: bool


@dataclass(frozen=True)
class Safe:
    """What was taken up to this number is safe."""

    number: int


@dataclass(frozen=True)
class Heartbeat:
    """How the worker fares; said about once a second."""

    intake: Intake
    cpu_s: float
    memory: int


@dataclass(frozen=True)
class Told:
    """The answer to Tick: a share, its tallies apart."""

    share: Share
    tallies: tuple[ThinTally, ...]
