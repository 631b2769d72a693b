"""Counts of one shard at a tick, of one closed rating interval, and of one service over all shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Flags, Floats, Histogram, Ints, Sparse
from qoemon.core.counting.feedback_counts import FeedbackCounts, FeedbackTotals, no_feedback
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.starts import no_starts

N = TypeVar("N", bound=np.generic)


class Event(StrEnum):
    """Events that a Monitor counts."""

    REPORT = "reports"
    """accepted: decoded, of a known service, no duplicate"""
    DUPLICATE = "reports_duplicate"
    """a repeated or older report of its run: it adds nothing"""
    LATE = "reports_late"
    """its time is before the base window: it is counted in the rating interval of its time"""
    AHEAD = "reports_ahead"
    """its ts is in the future: counted at its arrival"""
    UNDATED = "reports_undated"
    """accepted, without ts"""
    EMPTY = "reports_empty"
    """accepted, but without any field that its service rates"""
    RESET = "reports_reset"
    """a new run of its session began: counted from zero"""
    CONFLICT = "reports_conflicting"
    """of another player with the same session id: left out"""
    TOO_FAST = "reports_implausible_too_fast"
    MILLISECONDS = "reports_implausible_milliseconds"
    POSITION = "reports_implausible_position"
    STALLED = "reports_implausible_stalled"
    RESPONSE = "reports_implausible_response"
    """impossible in part: that part is not counted; see Implausible"""
    POOLED = "reports_pooled"
    """its labels are a group beyond the limit: pooled in `other`"""
    REFUSED = "reports_refused"
    """its session is new and beyond the limit of sessions"""
    EXPIRED = "sessions_expired"
    """sessions without a report for the session timeout"""
    REPEATED_RECORD = "cmcd_records_duplicate"
    """a record of a player that was received before: it adds nothing"""
    LATE_RECORD = "cmcd_records_late"
    """a record of a player that comes after the time for which later ones waited: it is left out"""
    UNORDERED = "cmcd_records_unordered"
    """a record of a player that was counted without waiting for those before it: too many waited"""
    UNKNOWN_MS = "cmcd_unknown_ms"
    """milliseconds in which a player may have played, but records are missing: not counted"""
    STATELESS = "cmcd_sessions_without_state"
    """sessions of players that never tell their state"""


DOUBTS = (
    Event.CONFLICT,
    Event.TOO_FAST,
    Event.MILLISECONDS,
    Event.POSITION,
    Event.STALLED,
    Event.RESPONSE,
)
"""Events that make the figures of a group doubtful, in the order of the columns of `doubtful`."""


@dataclass(frozen=True)
class BaseCounts:
    """One service in one shard at a tick: its base window and its current sessions. G groups.

    groups           label values, one tuple a group
    since_s          (G,) arrival of each group's first report, seconds since the epoch; 0 if it is not known
    levels           (G, M) conditions in the service's rated_at bins
    qos              (G, B) the same conditions in the bins that are shown
    users            (G,) distinct sessions behind them
    squares          (G,) sum over these sessions of the square of their conditions
    active_sessions  (G,) sessions with a report in the base window, or with an open stall
    open_stalls      (G,) sessions with an open stall
    oldest_stall_s   (G,) age of the oldest open stall, seconds; 0 without one
    heard            (G,) reports in the last rating interval
    doubtful         (G, D) those of them that conflict or are impossible, by DOUBTS
    quality          (G, COLUMNS) as in quality.py, base window; without columns if the service rates no quality
    provisional      (G, M) conditions in closed intervals that are not counted there yet, by the interval's end,
                     seconds since the epoch: what came late, and the last ones of sessions that report seldom
    provisional_users  (G,) sessions behind them, by the end of their newest such interval, and by the number of
                     intervals since one counted them
    provisional_squares  (G,) what these conditions add to the squares of a longer window, by its length in seconds
    """

    service: str
    groups: tuple[Labels, ...]
    since_s: Floats
    levels: Histogram
    qos: Histogram
    users: Ints
    squares: Ints
    active_sessions: Ints
    open_stalls: Ints
    oldest_stall_s: Floats
    heard: Ints
    doubtful: Counts
    quality: Counts = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    provisional: Mapping[int, Sparse] = field(default_factory=dict)
    provisional_users: Mapping[tuple[int, int], Ints] = field(default_factory=dict)
    provisional_squares: Mapping[int, Ints] = field(default_factory=dict)


class Counted(NamedTuple):
    """The sessions of a rating interval. G groups.

    users      (G,) sessions that it counts now
    recounted  (G,) those of them that an earlier interval counted so far, by its age in intervals or by its end
    squares    (G,) sum over its sessions of the square of their observations; if it has closed before, and twice
               the pairs with observations of the same session in it or in newer intervals
    pairs      (G, R) units of pairs with observations of the same session in earlier intervals, by distance
    """

    users: Ints
    recounted: Mapping[int, Ints]
    squares: Ints
    pairs: Counts


@dataclass(frozen=True)
class IntervalCounts:
    """The counts of one service in a closed rating interval: integers, so that sums are exact in any order.

    levels, qos  (G, M), (G, B) as in BaseCounts
    users        (G,) distinct sessions, all of which are counted in this interval
    recounted    (G,) by the end of an earlier interval, s since the epoch: sessions that were counted in that one,
                 and are now counted in this one instead
    squares      (G,) sum over sessions of the square of their conditions; if the interval has closed before, and
                 twice the pairs with conditions of the same session in it or in newer intervals
    pairs        (G, R) pairs with conditions of the same session in earlier intervals, as of pairs.py
    late         by the end of an earlier interval: what has been counted in it since it closed
    starts       (G, COLUMNS) startup times and failed starts, by the columns of starts.py
    feedback     what users said, of all groups together
    """

    levels: Histogram
    qos: Histogram
    users: Ints
    recounted: Mapping[int, Ints]
    squares: Ints
    pairs: Counts
    late: Mapping[int, IntervalCounts] = field(default_factory=dict)
    starts: Counts = field(default_factory=lambda: no_starts(0))
    feedback: FeedbackCounts = field(default_factory=no_feedback)

    def shifted(self, by_s: int) -> IntervalCounts:
        """The same counts, with all times moved by so many seconds."""
        return replace(
            self,
            recounted={end_s + by_s: users for end_s, users in self.recounted.items()},
            late={end_s + by_s: counts.shifted(by_s) for end_s, counts in self.late.items()},
            feedback=self.feedback.shifted(by_s),
        )


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
    squares          (G,) sum over these sessions of the square of their conditions, likewise
    qos              (G, B) conditions in the bins that are shown, base window only
    active_sessions  (G,) sessions with a report in the base window, or with an open stall
    open_stalls      (G,) sessions with an open stall
    oldest_stall_s   (G,) age of the oldest open stall, seconds; 0 without one
    heard            (G,) reports in the last rating interval
    doubtful         (G, D) those of them that conflict or are impossible, by DOUBTS
    quality          (G, COLUMNS) as in quality.py, base window; without columns if the service rates no quality
    expected_ratings (G, K) expected number of users who give each rating, over all closed rating intervals
    marginals        (G, A) per axis: conditions in its bins, over all closed rating intervals
    starts           (G, COLUMNS) startup times and failed starts, likewise, by the columns of starts.py
    new              (G,) whether the group's counters are still exported as 0
    free             (G,) numbers that no group has; all their counts are 0
    feedback         what users said, of all groups together, since the beginning
    """

    service: str
    groups: tuple[Labels, ...]
    windows: Mapping[int, Counts]
    users: Mapping[int, Ints]
    squares: Mapping[int, Floats]
    qos: Counts
    active_sessions: Ints
    open_stalls: Ints
    oldest_stall_s: Floats
    heard: Ints
    doubtful: Counts
    quality: Counts
    expected_ratings: Floats
    marginals: tuple[Counts, ...]
    starts: Counts
    new: Flags
    free: Flags
    feedback: FeedbackTotals

    @cached_property
    def exported_ratings(self) -> Floats:
        """expected_ratings, with 0 for new groups."""
        return _zeroed(self.expected_ratings, self.new)

    @cached_property
    def exported_marginals(self) -> tuple[Counts, ...]:
        """marginals, with 0 for new groups."""
        return tuple(_zeroed(counts, self.new) for counts in self.marginals)

    @cached_property
    def exported_starts(self) -> Counts:
        """starts, with 0 for new groups."""
        return _zeroed(self.starts, self.new)


def _zeroed(of_groups: NDArray[N], where: Flags) -> NDArray[N]:
    """The array (G, ...) with 0 in these groups."""
    if not where.any():
        return of_groups
    zeroed = of_groups.copy()
    zeroed[where] = 0
    return zeroed
