"""Counts of one shard at a tick, of one closed rating interval, and of one service over all shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from qoemon.core.arrays import Counts, Floats, Histogram, Ints
from qoemon.core.counting.groups import Labels


class Event(StrEnum):
    """Events that a Monitor counts."""

    REPORT = "reports"
    """accepted: decoded, of a known service, no duplicate"""
    DUPLICATE = "reports_duplicate"
    """a repeated or older seq"""
    LATE = "reports_late"
    """its ts is too old for the base window: it updates the counters' baseline only"""
    AHEAD = "reports_ahead"
    """its ts is in the future: counted at its arrival"""
    EMPTY = "reports_empty"
    """accepted, but without any field that its service rates"""
    RESET = "reports_reset"
    """a cumulative counter decreased: counted from zero"""
    POOLED = "reports_pooled"
    """its labels are a group beyond the limit: pooled in `other`"""
    REFUSED = "reports_refused"
    """its session is new and beyond the limit of sessions"""
    EXPIRED = "sessions_expired"
    """sessions without a report for the session timeout"""


@dataclass(frozen=True)
class BaseCounts:
    """One service in one shard at a tick: its base window and its current sessions. G groups.

    groups           label values, one tuple a group
    since_s          (G,) arrival of each group's first report, seconds since the epoch; 0 if before a restart
    levels           (G, M) conditions in the service's rated_at bins
    qos              (G, B) the same conditions in the bins that are shown
    users            (G,) distinct sessions behind them
    active_sessions  (G,) sessions with a report in the base window, or with an open stall
    open_stalls      (G,) sessions with an open stall
    oldest_stall_s   (G,) age of the oldest open stall, seconds; 0 without one
    """

    service: str
    groups: tuple[Labels, ...]
    since_s: Floats
    levels: Histogram
    qos: Histogram
    users: Ints
    active_sessions: Ints
    open_stalls: Ints
    oldest_stall_s: Floats


@dataclass(frozen=True)
class IntervalCounts:
    """The counts of one service in a closed rating interval: integers, so that sums are exact in any order.

    levels, qos  (G, M), (G, B) as in BaseCounts
    users        (G,) distinct sessions, all of which are counted in this interval
    recounted    (G,) by the end of an earlier interval, s since the epoch: sessions that were counted in that one,
                 and are now counted in this one instead
    """

    levels: Histogram
    qos: Histogram
    users: Ints
    recounted: Mapping[int, Ints]

    def shifted(self, by_s: int) -> IntervalCounts:
        """The same counts, with all times moved by so many seconds."""
        return replace(self, recounted={end_s + by_s: users for end_s, users in self.recounted.items()})


@dataclass(frozen=True)
class ClosedInterval:
    """A rating interval of all services, in the order of the plan; end_s in seconds since the epoch."""

    end_s: int
    services: tuple[IntervalCounts, ...]

    def shifted(self, by_s: int) -> ClosedInterval:
        """The same counts, with all times moved by so many seconds."""
        return ClosedInterval(self.end_s + by_s, tuple(each.shifted(by_s) for each in self.services))


@dataclass(frozen=True)
class ServiceCounts:
    """Everything that the QoE of one service depends on at a tick, over all shards. G groups.

    groups           label values, one tuple a group
    windows          (G, M) conditions in the service's rated_at bins, by the window's length in seconds
    users            (G,) distinct sessions in each window, by its length in seconds
    qos              (G, B) conditions in the bins that are shown, base window only
    active_sessions  (G,) sessions with a report in the base window, or with an open stall
    open_stalls      (G,) sessions with an open stall
    oldest_stall_s   (G,) age of the oldest open stall, seconds; 0 without one
    expected_ratings (G, K) expected number of users who give each rating, over all closed rating intervals
    marginals        (G, A) per axis: conditions in its bins, over all closed rating intervals
    """

    service: str
    groups: tuple[Labels, ...]
    windows: Mapping[int, Counts]
    users: Mapping[int, Ints]
    qos: Counts
    active_sessions: Ints
    open_stalls: Ints
    oldest_stall_s: Floats
    expected_ratings: Floats
    marginals: tuple[Counts, ...]
