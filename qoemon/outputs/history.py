"""The last hour of every group, in memory: what sparklines and charts over time are drawn from.

A point of time is one frame with a few numbers of every group. Frames never change, so what is published is a
tuple of them and costs nothing to freeze: each tick makes one new frame and a new tuple. The newest ticks are all
kept, so that a chart moves with the daemon; what is older is thinned to one frame a step. That is never more
than `MOST_FRAMES`, whatever the tick: 4.3 kB a group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.regime import Regime, Regimes
from qoemon.core.arrays import Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

HOUR_S = 3600
STEP_S = 30
RECENT = 60
"""So many of the newest ticks are kept whole."""

MOST_FRAMES = RECENT + HOUR_S // STEP_S

MOST_CHANGES = 2000
"""Of all groups together, the newest."""

COLUMNS = ("mos", "gob", "pow", "pow_lower", "pow_upper", "users")

Frames32 = NDArray[np.float32]


class AlertMetric(StrEnum):
    """What changed."""

    REGIME = "regime"
    """the regime, from one that was known to another"""
    SHIFT = "shift"
    """the change detector established a change of PoW that left the regime as it was"""
    ALERT = "alert"
    """an alert began to fire, or ended"""


@dataclass(frozen=True)
class Change:
    """Something that happened to a group at tick time_s, and why. Times are seconds since the epoch.

    name     the alert's; "" of all else
    began_s  when the change began, as estimated by the change detector, or since when an alert's figure has been
             past its threshold; None where neither says
    """

    time_s: int
    service: str
    group: Labels
    what: AlertMetric
    name: str
    before: str
    after: str
    reason: str
    began_s: float | None


@dataclass(frozen=True)
class Frame:
    """The figures of all groups in the base window at tick time_s.

    values  by service, (G, columns) as in COLUMNS; NaN where there was nobody to judge
    """

    time_s: int
    values: Mapping[str, Frames32]


@dataclass(frozen=True)
class Past:
    """The last hour as of one tick. changes: oldest first."""

    tick_s: int
    frames: tuple[Frame, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def times_s(self) -> list[int]:
        """(T,) of the frames, ascending, seconds since the epoch."""
        return [frame.time_s for frame in self.frames]

    def series(self, service: str, groups: Ints, column: str) -> Frames32:
        """(N, T) one column of these N groups; NaN before a group was there."""
        place = COLUMNS.index(column)
        out = np.full((len(groups), len(self.frames)), np.nan, np.float32)
        for number, frame in enumerate(self.frames):
            values = frame.values[service]
            there = groups < len(values)
            out[there, number] = values[groups[there], place]
        return out


NO_PAST = Past(tick_s=1)
"""Where nobody remembers."""


class History:
    """Remembers. Shown each tick once, in order; a tick that is not later than the one before adds no frame."""

    def __init__(self, tick_s: int) -> None:
        self._tick_s = tick_s
        self._frames: tuple[Frame, ...] = ()
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._regimes: dict[str, Regimes] = {}

    def add(self, snapshot: Snapshot, watched: Detections) -> Past:
        """The last hour, this tick included."""
        if not self._frames or snapshot.time_s > self._frames[-1].time_s:
            self._frames = thinned((*self._frames, _frame(snapshot)), self._tick_s)
        self._changes.extend(self._regime_changes(snapshot, watched))
        self._changes.extend(_alert_changes(snapshot, watched))
        changes = tuple(change for change in self._changes if change.time_s > snapshot.time_s - HOUR_S)
        return Past(self._tick_s, self._frames, changes)

    def _regime_changes(self, snapshot: Snapshot, watched: Detections) -> Iterator[Change]:
        """What was found at the close of a rating interval; between two of them the same Regimes are told again."""
        for service in snapshot.services:
            name = service.service.name
            told, before = watched.regimes.get(name), self._regimes.get(name)
            if told is None or told is before:
                continue
            self._regimes[name] = told
            for row in np.flatnonzero(told.moved | (told.direction != 0)).tolist():
                yield _regime_change(snapshot.time_s, service, told, before, row)


def thinned(frames: tuple[Frame, ...], tick_s: int) -> tuple[Frame, ...]:
    """Those to keep: of the last hour, the newest ticks all, and before them the first of each step."""
    newest_s, kept, step = frames[-1].time_s, [], None
    for frame in frames:
        age_s = newest_s - frame.time_s
        if age_s < RECENT * tick_s or (age_s < HOUR_S and frame.time_s // STEP_S != step):
            kept.append(frame)
        step = frame.time_s // STEP_S
    return tuple(kept[-MOST_FRAMES:])


def _frame(snapshot: Snapshot) -> Frame:
    return Frame(snapshot.time_s, {service.service.name: _values(service) for service in snapshot.services})


def _values(service: ServiceSnapshot) -> Frames32:
    length = min(service.distributions)
    judged, users = service.distributions[length], service.tally.users[length]
    lower, upper = judged.pow_bounds.T
    columns = (judged.mos, judged.gob, judged.pow, lower, upper, np.where(judged.observations > 0, users, np.nan))
    return np.stack(columns, axis=1).astype(np.float32)


def _regime_change(
    time_s: int, service: ServiceSnapshot, told: Regimes, before: Regimes | None, row: int
) -> Change:
    after = Regime(int(told.regime[row]))
    moved = bool(told.moved[row])
    # Moved means that there was one before, unless it was before this process.
    came_from = Regime(int(before.regime[row])) if before is not None and row < len(before.regime) else after
    shift = bool(told.direction[row])
    return Change(
        time_s=time_s,
        service=service.service.name,
        group=service.tally.groups[row],
        what=AlertMetric.REGIME if moved else AlertMetric.SHIFT,
        name="",
        before=came_from.name.lower() if moved else "",
        after=after.name.lower() if moved else ("worse" if told.direction[row] > 0 else "better"),
        reason=str(told.reason[row]),
        began_s=float(told.changed_s[row]) if shift else None,
    )


def _alert_changes(snapshot: Snapshot, watched: Detections) -> Iterator[Change]:
    for alert in watched.alerts:
        if alert.changed and (alert.firing or alert.ended):
            yield _alert_change(snapshot.time_s, alert)


def _alert_change(time_s: int, alert: Alert) -> Change:
    return Change(
        time_s=time_s,
        service=alert.rule.service,
        group=alert.group,
        what=AlertMetric.ALERT,
        name=alert.rule.name,
        before=alert.before.state.name.lower(),
        after=alert.decision.state.name.lower(),
        reason=str(alert.decision.reason),
        began_s=alert.decision.breach_since_s,
    )
