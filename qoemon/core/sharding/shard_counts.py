"""What one shard of the sessions has to say at a tick, and the line that says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.groups import Groups
from qoemon.core.sharding.merger import Merger
from qoemon.core.sharding.shard_pipeline import Line
from qoemon.core.wire.report import Reject

UNBOUNDED = 2**62
"""As many groups as come."""


@dataclass(frozen=True)
class Share:
    """Counts at tick time_s, seconds since the epoch; those of all shards add up.

    tallies   in the order of the plan's services
    events    what its Monitor has counted since it began
    rejected  reports that could not be taken since then
    sessions  how many it holds
    """

    time_s: int
    tallies: tuple[ServiceCounts, ...]
    events: Mapping[Event, int]
    rejected: Mapping[Reject, int]
    sessions: int


def counted(share: Share) -> Share:
    """What stays of a shard that has lost its sessions: what it has counted up to now, and nothing of today."""
    return replace(share, tallies=tuple(map(_counted, share.tallies)), sessions=0)


def both(one: Share, other: Share) -> Share:
    """Two of them as one, at the tick of the second."""
    tallies = zip(one.tallies, other.tallies, strict=True)
    return Share(
        time_s=other.time_s,
        tallies=tuple(Merger(Groups(0, UNBOUNDED)).merge(pair) for pair in tallies),
        events=Counter(one.events) + Counter(other.events),
        rejected=Counter(one.rejected) + Counter(other.rejected),
        sessions=one.sessions + other.sessions,
    )


def _counted(tally: ServiceCounts) -> ServiceCounts:
    return replace(
        tally,
        windows={length: np.zeros_like(counts) for length, counts in tally.windows.items()},
        users={length: np.zeros_like(users) for length, users in tally.users.items()},
        qos=np.zeros_like(tally.qos),
        active_sessions=np.zeros_like(tally.active_sessions),
        open_stalls=np.zeros_like(tally.open_stalls),
        oldest_stall_s=np.zeros_like(tally.oldest_stall_s),
    )


class ShardLine(Line[Share]):
    """A Line that leaves it to others to judge what it has counted."""

    def tick(self, tick_s: int) -> Share:
        """The counts at this tick, seconds since the epoch; every message before it has been applied."""
        return Share(
            time_s=tick_s,
            tallies=self.monitor.tallies(tick_s),
            events=self.monitor.events,
            rejected=self.rejected.copy(),
            sessions=self.monitor.sessions,
        )
