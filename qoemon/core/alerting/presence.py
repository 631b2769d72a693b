"""Whether reports arrive, and whether as many sessions are active as usual: for groups, or for a whole service.

Silence and falls are judged only in time that the daemon has watched: just after its start, and just after it was
connected to the broker again, missing sessions say nothing about users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qoemon.core.alerting.session_level import SessionLevels
from qoemon.core.arrays import Arrays, Floats, Ints, named, part

SETTLE = 3
"""Rating intervals after an interruption in which the number of active sessions is not judged: the base window
fills, and sessions that report seldom return."""

GAP_TICKS = 3
"""A longer time between two ticks is an interruption."""


@dataclass(frozen=True)
class Presence:
    """U groups or services at a tick.

    sessions  (U,) active sessions
    since_s   (U,) when the last report arrived, to a tick, s since the epoch; NaN while reports arrive, and before
              the first one
    silence_s (U,) for how long there has been no report, as far as it was watched; 0 while reports arrive, NaN
              before the first one
    usual     (U,) sessions as usual, or as before a fall or silence; 0 if unknown
    fall      (U,) by which share there are fewer sessions than expected; NaN if unknown
    certain   (U,) which share is beyond the usual variation, negative if it is within
    settled   whether falls are judged: not just after a start or an interruption
    learns    whether the usual number of sessions is learnt
    """

    sessions: Ints
    since_s: Floats
    silence_s: Floats
    usual: Ints
    fall: Floats
    certain: Floats
    settled: bool
    learns: bool


@dataclass(frozen=True)
class ServicePresence:
    """One service at a tick: its groups (U = G), and the service as a whole (U = 1).

    disconnected_s  since when the daemon has not been connected to its broker, s since the epoch; None if it is
    """

    groups: Presence
    whole: Presence
    disconnected_s: int | None = None


class PresenceMonitor:
    """Observes U groups or services, tick by tick.

    levels  whether the usual number of sessions is learnt; if not, it is unknown
    """

    def __init__(self, tick_s: int, interval_s: int, *, levels: bool) -> None:
        self._tick_s, self._interval_s = tick_s, interval_s
        self._levels = SessionLevels(interval_s) if levels else None
        self._heard_s: Floats = np.zeros(0)
        """(U,) newest tick with a report in the last rating interval; NaN before the first one."""
        self._newest_s = self._resumed_s = self._settled_s = -np.inf
        """Last tick; begin of the watch; when the sessions are judged again."""

    def observe(self, sessions: Ints, heard: Ints, time_s: int, *, closes: bool, paused: bool = False) -> Presence:
        """The presence at tick time_s, seconds since the epoch.

        sessions  (U,) active sessions
        heard     (U,) reports in the last rating interval
        closes    whether a rating interval closes at this tick
        paused    whether the daemon cannot receive reports, or receives a backlog
        """
        self._grow(len(sessions))
        if time_s - self._newest_s > GAP_TICKS * self._tick_s:
            self._resumed_s, self._settled_s = time_s, self._settles_s(time_s)
        if paused:
            self._settled_s = self._settles_s(time_s)
        self._newest_s = time_s
        self._heard_s = np.where(heard > 0, time_s, self._heard_s)
        silent = (heard == 0) & ~np.isnan(self._heard_s)
        since_s = np.where(silent, self._heard_s + self._tick_s - self._interval_s, np.nan)
        watched_s = np.maximum(time_s - np.maximum(since_s, self._resumed_s), self._tick_s)
        silence_s = np.where(silent, watched_s, np.where(heard > 0, 0.0, np.nan))
        settled = time_s >= self._settled_s
        usual, (fall, certain) = np.zeros(len(sessions), np.int64), (np.full(len(sessions), np.nan),) * 2
        if self._levels is not None:
            if closes and settled:
                self._levels.close(sessions, silent, time_s)
            usual = self._levels.state["usual"].copy()
            if settled:
                fall, certain = (np.where(silent, np.nan, each) for each in self._levels.fall(sessions))
        return Presence(sessions, since_s, silence_s, usual, fall, certain, settled, self._levels is not None)

    def _settles_s(self, time_s: int) -> int:
        """When sessions are judged again after a pause: as an interval closes, which says what is usual now."""
        return (-(-time_s // self._interval_s) + SETTLE) * self._interval_s

    def forget(self, units: Ints) -> None:
        """Forget everything about these units."""
        known = units[units < len(self._heard_s)]
        self._heard_s[known] = np.nan
        if self._levels is not None:
            self._levels.forget(known)

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        times_s = np.array([self._newest_s, self._resumed_s, self._settled_s])
        levels = {} if self._levels is None else named("levels/", self._levels.dump())
        return {"heard_s": self._heard_s.copy(), "times_s": times_s, **levels}

    def load(self, state: Arrays) -> None:
        """Restore a dump(); ValueError if another version wrote it."""
        if self._levels is not None and (levels := part("levels/", state)):
            self._levels.load(levels)
        self._heard_s = state["heard_s"].copy()
        self._newest_s, self._resumed_s, self._settled_s = state["times_s"].tolist()

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._heard_s = self._heard_s + by_s
        self._newest_s, self._resumed_s, self._settled_s = (
            each + by_s for each in (self._newest_s, self._resumed_s, self._settled_s)
        )
        if self._levels is not None:
            self._levels.shift(by_s)

    def _grow(self, units: int) -> None:
        self._heard_s = np.append(self._heard_s, np.full(units - len(self._heard_s), np.nan))
        if self._levels is not None:
            self._levels.grow(units)
