"""Whether a backlog has arrived: many reports at once after a silence, such as after an outage of this daemon.

Reports without a timestamp count at their arrival, so a backlog of them shows what happened earlier as the present.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qoemon.core.counting.counts import Event

SILENT_TICKS = 2
"""A shorter silence is jitter."""
BURST = 2
"""A backlog has this many times as many reports as a tick usually has."""
MEMORY = 10
"""Ticks over which the usual number of reports is averaged."""


class Backlog:
    """Follows the number of reports of each tick.

    tick_s, interval_s  length of a tick and of a rating interval, seconds
    """

    def __init__(self, tick_s: int, interval_s: int) -> None:
        self._tick_s, self._interval_s = tick_s, interval_s
        self._reports = self._undated = 0
        self._usual = 0.0
        self._heard_s: int | None = None
        self._until_s = 0

    def observe(self, time_s: int, events: Mapping[Event, int]) -> bool:
        """Whether a backlog without timestamps has arrived within the rating interval that ends at this tick.

        time_s  of the tick, seconds since the epoch; later than that of the last call
        events  number of each Event since the beginning
        """
        reports, undated = events.get(Event.REPORT, 0), events.get(Event.UNDATED, 0)
        fresh, without_ts = reports - self._reports, undated - self._undated
        self._reports, self._undated = reports, undated
        if fresh > 0:
            silent_s = 0 if self._heard_s is None else time_s - self._heard_s - self._tick_s
            after_silence = silent_s >= SILENT_TICKS * self._tick_s
            if after_silence and fresh >= BURST * self._usual and 2 * without_ts > fresh:
                self._until_s = time_s + self._interval_s
            if not after_silence:
                self._usual += (fresh - self._usual) / MEMORY
            self._heard_s = time_s
        return time_s < self._until_s

    def dump(self) -> dict[str, Any]:
        """The whole state, as JSON."""
        return {
            "reports": self._reports,
            "undated": self._undated,
            "usual": self._usual,
            "heard_s": self._heard_s,
            "until_s": self._until_s,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a dump()."""
        self._reports, self._undated = state["reports"], state["undated"]
        self._usual, self._heard_s, self._until_s = state["usual"], state["heard_s"], state["until_s"]

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds."""
        self._until_s += by_s
        if self._heard_s is not None:
            self._heard_s += by_s
