"""The last hour of every group, in memory: the data of sparklines and charts over time.

A frame holds a few numbers of every group at one tick, and of the sums of each roll-up in the snapshot. Frames
are immutable, so publishing them costs nothing: each tick makes one new frame and a new tuple of frames. The newest
ticks are all kept, so that a chart moves at every tick; older ones are thinned to one frame per step. Whatever the
tick, there are at most `MOST_FRAMES`: 4.3 kB for each group and each sum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.regime import Regime, Regimes
from qoemon.core.arrays import Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.plan.roll_up import RollUpKey
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

_NO_GROUPS = np.empty((0, len(COLUMNS)), np.float32)


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

    names    labels of the group; a sum of groups has only some of the snapshot's
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

    values    by service, (G, columns) as in COLUMNS; NaN without data
    roll_ups  the same of the sums of each roll-up that the snapshot has
    """

    time_s: int
    values: Mapping[str, Frames32]
    roll_ups: Mapping[RollUpKey, Mapping[str, Frames32]] = field(default_factory=dict)


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
            values = frame.values.get(service, _NO_GROUPS)
            known = groups < len(values)
            out[known, number] = values[groups[known], index]
        return out

    def of_roll_up(self, key: RollUpKey) -> Past:
        """The same with the sums of a roll-up in place of the groups; without frames if there are none of it."""
        sums = (Frame(each.time_s, each.roll_ups[key]) for each in self.frames if key in each.roll_ups)
        return replace(self, frames=tuple(sums))


NO_PAST = Past(tick_s=1)
"""An empty history."""


class History:
    """Collects frames and changes. Add each tick once, in order; a tick not later than the last adds no frame."""

    def __init__(self, tick_s: int) -> None:
        self._tick_s = tick_s
        self._frames: tuple[Frame, ...] = ()
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._regimes: dict[tuple[tuple[str, ...], str], Regimes] = {}
        """By labels and service."""

    def add(self, snapshot: Snapshot, detections: Detections) -> Past:
        """Add a tick; returns the last hour including it."""
        if not self._frames or snapshot.time_s > self._frames[-1].time_s:
            self._frames = thinned((*self._frames, _frame(snapshot)), self._tick_s)
        for names, service, regimes in _judged(snapshot, detections):
            self._changes.extend(self._regime_changes(snapshot.time_s, names, service, regimes))
        self._changes.extend(_alert_changes(snapshot, detections))
        changes = tuple(change for change in self._changes if change.time_s > snapshot.time_s - HOUR_S)
        return Past(self._tick_s, self._frames, changes)

    def _regime_changes(
        self, time_s: int, names: tuple[str, ...], service: ServiceSnapshot, regimes: Regimes
    ) -> Iterator[Change]:
        """Changes found at the close of a rating interval. Until the next close Regimes is the same object."""
        key = names, service.service.name
        before = self._regimes.get(key)
        if regimes is before:
            return
        self._regimes[key] = regimes
        for group in np.flatnonzero(regimes.moved | (regimes.direction != 0)).tolist():
            yield _regime_change(time_s, names, service, regimes, before, group)


def _judged(
    snapshot: Snapshot, detections: Detections
) -> Iterator[tuple[tuple[str, ...], ServiceSnapshot, Regimes]]:
    """Labels, service and regimes: of the groups of each service, and of each of its roll-ups that has regimes."""
    for service in snapshot.services:
        if service.service.name in detections.regimes:
            yield snapshot.labels, service, detections.regimes[service.service.name]
    for key, of_services in detections.of_roll_ups.items():
        roll_up = snapshot.roll_ups.get(key)
        if roll_up is not None and key.by != snapshot.labels:
            for name, regimes in of_services.items():
                yield key.by, roll_up.services[name], regimes


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
    return Frame(
        snapshot.time_s,
        {service.service.name: _values(service) for service in snapshot.services},
        {
            key: {name: _values(service) for name, service in each.services.items()}
            for key, each in snapshot.roll_ups.items()
            if not key.where
        },
    )


def _values(service: ServiceSnapshot) -> Frames32:
    length = min(service.distributions)
    rated, users = service.distributions[length], service.counts.users[length]
    lower, upper = rated.pow_bounds.T
    columns = (rated.mos, rated.gob, rated.pow, lower, upper, np.where(rated.observations > 0, users, np.nan))
    return np.stack(columns, axis=1).astype(np.float32)


def _regime_change(
    time_s: int,
    names: tuple[str, ...],
    service: ServiceSnapshot,
    regimes: Regimes,
    before: Regimes | None,
    group: int,
) -> Change:
    after = Regime(int(regimes.regime[group]))
    moved = bool(regimes.moved[group])
    # The regime before is unknown if it was set before a restart of the process.
    known = before is not None and group < len(before.regime)
    previous = Regime(int(before.regime[group])) if before is not None and known else after
    shift = bool(regimes.direction[group])
    return Change(
        time_s=time_s,
        service=service.service.name,
        group=service.counts.groups[group],
        names=names,
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
