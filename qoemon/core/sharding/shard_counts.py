"""The result of a shard at a tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qoemon.core.counting.counts import BaseCounts, ClosedInterval, Event
from qoemon.core.wire.report import Reject


@dataclass(frozen=True)
class ShardCounts:
    """Counts of one shard at tick time_s, seconds since the epoch; the sum over shards is that of a single shard.

    services  in the order of the plan's services
    closed    closed rating intervals that the shard still holds, oldest first
    events    number of each Event, since the beginning
    rejected  number of rejected reports by reason, since the beginning
    sessions  number of sessions held
    """

    time_s: int
    services: tuple[BaseCounts, ...]
    closed: tuple[ClosedInterval, ...]
    events: Mapping[Event, int]
    rejected: Mapping[Reject, int]
    sessions: int
