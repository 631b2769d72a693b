"""The last hour of every group, in memory: the data of sparklines and charts over time.

A frame holds a few numbers of every group at one tick. Frames are immutable, so publishing them costs nothing: each
tick makes one new frame and a new tuple of frames. The newest ticks are all kept, so that a chart moves at every
tick; older ones are thinned to one frame per step. Whatever the tick, there are at most `MOST_FRAMES`: 4.3 kB a
group.
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
"""Number of the newest ticks that are all kept."""

MOST_FRAMES = RECENT + HOUR_S // STEP_S

MOST_CHANGES = 2000
"""Changes kept over all groups, the newest."""

COLUMNS = ("mos", "gob", "pow", "pow_lower", "pow_upper", "users")

Frames32 = NDArray[np.float32]


class ChangeKind(StrEnum):
    """What changed."""

    REGIME = "regime"
    """the regime, from one known regime to another"""
    SHIFT = "shift"
    """the PoW, by the change detector, without a change of regime"""
    ALERT = "alert"
    """an alert started firing or resolved"""


@dataclass(frozen=True)
class Change:
    """A change of a group at tick time_s, and its reason. Times are seconds since the epoch.

    names    labels of the group; an alert of sums of groups has only some of the snapshot's
    name     the alert's; "" for other changes
    began_s  start of the change as estimated by the change detector, or of the breach of an alert's threshold; None
             if unknown
    """

    time_s: int
    service: str
    group: Labels
    names: tuple[str, ...]
    what: ChangeKind
    name: str
    before: str
    after: str
    reason: str
    began_s: float | None


@dataclass(frozen=True)
class Frame:
    """The values of all groups in the base window at tick time_s.

    values  by service, (G, columns) as in COLUMNS; NaN without data
    """

    time_s: int
    values: Mapping[str, Frames32]


@dataclass(frozen=True)
class Past:
    """The last hour up to one tick. changes: oldest first."""

    tick_s: int
    frames: tuple[Frame, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def times_s(self) -> list[int]:
        """(T,) times of the frames, ascending, seconds since the epoch."""
        return [frame.time_s for frame in self.frames]

    def series(self, service: str, groups: Ints, column: str) -> Frames32:
        """(N, T) one column of N groups given by number; NaN before a group appeared."""
        index = COLUMNS.index(column)
        out = np.full((len(groups), len(self.frames)), np.nan, np.float32)
        for number, frame in enumerate(self.frames):
            values = frame.values[service]
            known = groups < len(values)
            out[known, number] = values[groups[known], index]
        return out


NO_PAST = Past(tick_s=1)
"""An empty history."""


class History:
    """Collects frames and changes. Add each tick once, in order; a tick not later than the last adds no frame."""

    def __init__(self, tick_s: int) -> None:
        self._tick_s = tick_s
        self._frames: tuple[Frame, ...] = ()
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._regimes: dict[str, Regimes] = {}

    def add(self, snapshot: Snapshot, detections: Detections) -> Past:
        """Add a tick; returns the last hour including it."""
        if not self._frames or snapshot.time_s > self._frames[-1].time_s:
            self._frames = thinned((*self._frames, _frame(snapshot)), self._tick_s)
        self._changes.extend(self._regime_changes(snapshot, detections))
        self._changes.extend(_alert_changes(snapshot, detections))
        changes = tuple(change for change in self._changes if change.time_s > snapshot.time_s - HOUR_S)
        return Past(self._tick_s, self._frames, changes)

    def _regime_changes(self, snapshot: Snapshot, detections: Detections) -> Iterator[Change]:
        """Changes found at the close of a rating interval. Until the next close Regimes is the same object."""
        for service in snapshot.services:
            name = service.service.name
            regimes, before = detections.regimes.get(name), self._regimes.get(name)
            if regimes is None or regimes is before:
                continue
            self._regimes[name] = regimes
            for group in np.flatnonzero(regimes.moved | (regimes.direction != 0)).tolist():
                yield _regime_change(snapshot, service, regimes, before, group)


def thinned(frames: tuple[Frame, ...], tick_s: int) -> tuple[Frame, ...]:
    """The frames to keep of the last hour: all of the newest ticks, and before them the first of each step."""
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
    rated, users = service.distributions[length], service.counts.users[length]
    lower, upper = rated.pow_bounds.T
    columns = (rated.mos, rated.gob, rated.pow, lower, upper, np.where(rated.observations > 0, users, np.nan))
    return np.stack(columns, axis=1).astype(np.float32)


def _regime_change(
    snapshot: Snapshot, service: ServiceSnapshot, regimes: Regimes, before: Regimes | None, group: int
) -> Change:
    after = Regime(int(regimes.regime[group]))
    moved = bool(regimes.moved[group])
    # The regime before is unknown if it was set before a restart of the process.
    known = before is not None and group < len(before.regime)
    previous = Regime(int(before.regime[group])) if before is not None and known else after
    shift = bool(regimes.direction[group])
    return Change(
        time_s=snapshot.time_s,
        service=service.service.name,
        group=service.counts.groups[group],
        names=snapshot.labels,
        what=ChangeKind.REGIME if moved else ChangeKind.SHIFT,
        name="",
        before=previous.name.lower() if moved else "",
        after=after.name.lower() if moved else ("worse" if regimes.direction[group] > 0 else "better"),
        reason=str(regimes.reason[group]),
        began_s=float(regimes.changed_s[group]) if shift else None,
    )


def _alert_changes(snapshot: Snapshot, detections: Detections) -> Iterator[Change]:
    for alert in detections.alerts:
        if alert.changed and (alert.firing or alert.ended):
            yield _alert_change(snapshot.time_s, alert)


def _alert_change(time_s: int, alert: Alert) -> Change:
    return Change(
        time_s=time_s,
        service=alert.rule.service,
        group=alert.group,
        names=alert.names,
        what=ChangeKind.ALERT,
        name=alert.rule.name,
        before=alert.before.state.name.lower(),
        after=alert.decision.state.name.lower(),
        reason=str(alert.decision.reason),
        began_s=alert.decision.breach_since_s,
    )
