"""What one shard of the sessions has to say at a tick, and the line that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qoemon.core.line import Line
from qoemon.core.report import Reject
from qoemon.core.tally import Event, Tally


@dataclass(frozen=True)
class Share:
    """Counts at tick time_s, seconds since the epoch; those of all shards add up.

    tallies   in the order of the plan's services
    events    what its Monitor has counted since it began
    rejected  reports that could not be taken since then
    sessions  how many it holds
    """

    time_s: int
    tallies: tuple[Tally, ...]
    events: Mapping[Event, int]
    rejected: Mapping[Reject, int]
    sessions: int


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
