"""The counts of one service at a tick: all that its QoE depends on, and all that shards have to add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.counting.groups import Labels


class Event(StrEnum):
    """What a Monitor counts on the way."""

    REPORT = "reports"
    """taken in: decoded, of a known service, no duplicate"""
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
class ServiceCounts:
    """Counts of G groups. Sessions must be whole on one shard; then shards add up exactly.

    groups          label values, one tuple a group
    windows         (G, M) what is judged, in the service's rated_at bins, by the window's length in seconds
    users           (G,) distinct sessions behind each window, by its length in seconds
    qos             (G, B) the same conditions in the bins that people read, base window only
    active_sessions (G,) heard in the base window or in an open stall
    open_stalls     (G,)
    oldest_stall_s  (G,) how long the oldest open stall has run, 0 without one
    expected_ratings (G, K) users expected to have given each rating, over all closed rating intervals
    marginals       (G, A) an axis: conditions in its bins, over all closed rating intervals
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
