"""Counts: what shards count, what adds up over shards and intervals, and what a service's QoE depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from qoemon.core.arrays import Counts, Floats, Histogram, Ints
from qoemon.core.counting.groups import Labels


class Event(StrEnum):
    """What a Monitor counts beside reports' contents."""

    REPORT = "reports"
    """accepted: decoded, of a known service, no duplicate"""
    DUPLICATE = "reports_duplicate"
    """a repeated or older seq"""
    LATE = "reports_late"
    """by its ts too old for the base window: it moves the baseline only"""
    AHEAD = "reports_ahead"
    """its ts lies in the future: taken as now"""
    RESET = "reports_reset"
    """a cumulative counter fell: counted from zero"""
    POOLED = "reports_pooled"
    """of a label set beyond the limit of groups: pooled in `other`"""
    REFUSED = "reports_refused"
    """of a new session beyond the limit of sessions"""
    EXPIRED = "sessions_expired"
    """sessions that fell silent for the session timeout"""


@dataclass(frozen=True)
class BaseCounts:
    """One service in one shard at a tick: its base window, and the sessions that are there. G groups.

    groups           label values, one tuple a group
    since_s          (G,) when each group's first report arrived, seconds since the epoch, 0 if before a restart
    levels           (G, M) conditions in the service's rated_at bins
    qos              (G, B) the same conditions in the bins that people read
    users            (G,) distinct sessions that they are of
    active_sessions  (G,) heard in the base window or in an open stall
    open_stalls      (G,)
    oldest_stall_s   (G,) how long the oldest open stall has run, 0 without one
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
    """What a rating interval adds to one service when it closes: integers, so that any order of adding is exact.

    levels, qos  (G, M), (G, B) as in BaseCounts
    users        (G,) distinct sessions, all of them counted in this interval
    recounted    (G,) by the end of an earlier interval, s since the epoch: sessions that were counted there, and
                 are counted here now
    """

    levels: Histogram
    qos: Histogram
    users: Ints
    recounted: Mapping[int, Ints]

    def shifted(self, by_s: int) -> IntervalCounts:
        """The same, so many seconds later."""
        return replace(self, recounted={end_s + by_s: users for end_s, users in self.recounted.items()})


@dataclass(frozen=True)
class ClosedInterval:
    """A rating interval of all services, in the order of the plan; end_s in seconds since the epoch."""

    end_s: int
    services: tuple[IntervalCounts, ...]

    def shifted(self, by_s: int) -> ClosedInterval:
        """The same, so many seconds later."""
        return ClosedInterval(self.end_s + by_s, tuple(each.shifted(by_s) for each in self.services))


@dataclass(frozen=True)
class ServiceCounts:
    """Everything that the QoE of one service depends on at a tick, over all shards. G groups.

    groups           label values, one tuple a group
    windows          (G, M) conditions in the service's rated_at bins, by the window's length in seconds
    users            (G,) distinct sessions in each window, by its length in seconds
    qos              (G, B) the conditions in the bins that people read, base window only
    active_sessions  (G,) heard in the base window or in an open stall
    open_stalls      (G,)
    oldest_stall_s   (G,) how long the oldest open stall has run, 0 without one
    expected_ratings (G, K) users expected to have given each rating, over all closed rating intervals
    marginals        (G, A) an axis: conditions in its bins, over all closed rating intervals
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
