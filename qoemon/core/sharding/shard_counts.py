"""Everything that a shard of the sessions hands on at a tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qoemon.core.counting.counts import BaseCounts, ClosedInterval, Event
from qoemon.core.wire.report import Reject


@dataclass(frozen=True)
class ShardCounts:
    """Counts of one shard at tick time_s, seconds since the epoch. Those of all shards add up to those of one.

    services  in the order of the plan's services
    closed    rating intervals that the shard closed and still holds, oldest first
    events    of its Monitor, since that began
    rejected  reports that could not be accepted, since then
    sessions  how many it holds
    """

    time_s: int
    services: tuple[BaseCounts, ...]
    closed: tuple[ClosedInterval, ...]
    events: Mapping[Event, int]
    rejected: Mapping[Reject, int]
    sessions: int
