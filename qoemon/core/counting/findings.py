"""Samples of reports that cannot be right, for the log: the newest of each kind since they were last taken."""

from __future__ import annotations

from dataclasses import dataclass

from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.plausibility import Implausible


@dataclass(frozen=True)
class Finding:
    """A report that conflicts or is impossible in part; times in seconds.

    reason              why it is impossible; None if it conflicts
    passed_s            time since its session was last heard
    stall_s, play_s     by which its counters grew since then
    longest_response_s  its longest response time
    """

    labels: Labels
    session: str
    reason: Implausible | None = None
    passed_s: float = 0
    stall_s: float = 0
    play_s: float = 0
    longest_response_s: float = 0


class Findings:
    """The first finding of each kind since the last drain(), of one service."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._found: dict[Event, Finding] = {}

    def add(self, event: Event, finding: Finding) -> None:
        """Add a finding, if it is the first of its kind."""
        self._found.setdefault(event, finding)

    def drain(self) -> dict[Event, Finding]:
        """The findings by kind; they are forgotten."""
        found, self._found = self._found, {}
        return found
