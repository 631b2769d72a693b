"""Regimes: the level of quality of each group, and detected changes of it.

The regime compares the tracked level of PoW with the operator's thresholds, with hysteresis and a minimum dwell.
The change detector compares PoW with the recent level of the same group: it detects that a change happened, and
when it began. Detected changes are counted and dated.

A detected change for the worse that moves the level past a threshold changes the regime at once. A level that
drifts past a threshold no faster than it usually drifts, as on a busy evening, changes the regime after the dwell,
and no change is counted: there is no moment at which it happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.change_point import Change, ChangeDetector, DetectorRules, Interval
from qoemon.core.arrays import Arrays, Flags, Floats, Ints


class Regime(IntEnum):
    """Level of quality of a group."""

    GOOD = 0
    DEGRADED = 1
    BAD = 2


class Reason(StrEnum):
    """Reason of the regime after an interval; if several apply, the first in this order."""

    ALREADY_JUDGED = "already_judged"
    """the interval is not newer than the last one processed: nothing changes"""
    NO_DATA = "no_data"
    """no session was rated: nothing changes"""
    TOO_FEW_SESSIONS = "too_few_sessions"
    """fewer than min_sessions: nothing changes"""
    CHANGE_DETECTED = "change_detected"
    """a change was detected; the regime changed if the new level is past a threshold"""
    LEARNING = "learning"
    """too few intervals since the group appeared: it has no regime yet"""
    THRESHOLD_PASSED = "threshold_passed"
    """the level stayed past a threshold for the dwell, so the regime changed; or it is the group's first regime"""
    DWELL = "dwell"
    """the level is past a threshold, but not yet for as long as the dwell"""
    CHANGE_PENDING = "change_pending"
    """a change is suspected, but not detected yet"""
    WITHIN_HYSTERESIS = "within_hysteresis"
    """the level is below the threshold to enter the regime, but not below the one to leave it"""
    STEADY = "steady"
    """the level lies within the regime"""


REASONS = np.array(list(Reason), dtype=object)


@dataclass(frozen=True)
class Threshold:
    """A regime is entered at a PoW of `threshold` or above, and left below `recovery`; shares of users."""

    threshold: float
    recovery: float


@dataclass(frozen=True)
class RegimeRules:
    """Parameters of regimes.

    degraded, bad  thresholds on the level of PoW
    dwell          successive rating intervals for which the level has to stay past a threshold, and so the minimum
                   length of a regime; a detected change for the worse does not wait for it
    min_sessions   intervals with fewer distinct sessions are ignored
    stale_s        a group without rated sessions for longer is reset, seconds
    detector       constants of the change detector; a group has no regime while the detector learns its level
    raises         ValueError if a parameter is out of range
    """

    degraded: Threshold = Threshold(threshold=0.15, recovery=0.10)
    bad: Threshold = Threshold(threshold=0.30, recovery=0.20)
    dwell: int = 5
    min_sessions: int = 30
    stale_s: float = 3600.0
    detector: DetectorRules = field(default_factory=DetectorRules)

    def __post_init__(self) -> None:
        for name, at in (("degraded", self.degraded), ("bad", self.bad)):
            if not 0 < at.recovery < at.threshold <= 1:
                raise ValueError(
                    f"{name} is entered at a PoW of {at.threshold} and left at {at.recovery},"
                    " expected 0 < recovery < threshold <= 1: without a gap the regime would flap"
                )
        if not (self.degraded.threshold < self.bad.threshold and self.degraded.recovery < self.bad.recovery):
            raise ValueError(f"degraded is {self.degraded} and bad {self.bad}, expected bad above degraded")
        if self.dwell < 1 or self.min_sessions < 1 or not self.stale_s > 0:
            raise ValueError(
                f"dwell is {self.dwell}, min_sessions {self.min_sessions}, stale_s {self.stale_s},"
                " expected at least 1 rating interval, 1 session, and more than 0 s"
            )

    @property
    def unknown(self) -> int:
        """Number of rating intervals before a new group gets a regime.

        It includes those of the detector's learning: before, no detected change could move the regime.
        """
        return max(self.dwell, self.detector.learning)


COLUMNS = np.dtype(
    [
        ("regime", np.int8),
        ("known", np.bool_),
        ("age", np.int64),  # intervals rated since the last reset
        ("beyond", np.int64),  # successive intervals whose level is in another regime
        ("since_s", np.float64),  # when the regime began, s since the epoch
        ("changes", np.int64, 2),  # detected changes, up and down
        ("changed_s", np.float64),  # when the last of them began, NaN before the first
        ("last_s", np.float64),  # end of the last interval rated, -inf before the first
    ]
)


@dataclass(frozen=True)
class Regimes:
    """G groups after a rating interval.

    regime     (G,) Regime
    known      (G,) whether the group has a regime; exporters leave out groups without one
    moved      (G,) whether the regime changed in this interval; the first regime is no change
    since_s    (G,) end of the interval in which the regime began, s since the epoch
    direction  (G,) change detected in this interval: 1 up (worse), -1 down (better), 0 none
    changes    (G, 2) number of changes detected so far, up and down
    changed_s  (G,) when the last of them began (estimated), s since the epoch; NaN before the first
    level      (G,) tracked PoW, NaN in a group never rated
    age        (G,) rating intervals since the group appeared or was reset, of those with enough sessions
    reason     (G,) Reason
    """

    regime: Ints
    known: Flags
    moved: Flags
    since_s: Floats
    direction: Ints
    changes: Ints
    changed_s: Floats
    level: Floats
    reason: NDArray[Any]
    age: Ints


class RegimeMonitor:
    """The regimes of one service's groups. close() is called with each closed rating interval, in order."""

    def __init__(self, rules: RegimeRules) -> None:
        self._rules = rules
        # Below half of the threshold a slow rise needs nobody.
        self._detector = ChangeDetector(rules.detector, least=rules.degraded.threshold / 2)
        self._groups = np.zeros(0, COLUMNS)

    def close(self, interval: Interval) -> Regimes:
        """Process a rating interval of all G groups; returns the regimes after it.

        PoW and square of a group without users may be NaN. An interval that has been processed changes nothing.

        raises  ValueError if there are fewer groups than before
        """
        self._grow(len(interval.pow))
        users = np.nan_to_num(interval.users)
        empty = (users <= 0) | ~np.isfinite(interval.pow) | ~np.isfinite(interval.square)
        few = users < self._rules.min_sessions
        again = interval.end_s <= self._groups["last_s"]
        rows = np.flatnonzero(~(empty | few | again))
        codes = np.select([again, empty, few], [0, 1, 2], _code(Reason.STEADY))
        moved, direction = np.zeros(len(users), np.bool_), np.zeros(len(users), np.int64)
        rated = Interval(interval.pow[rows], interval.square[rows], users[rows], interval.end_s)
        codes[rows], moved[rows], direction[rows] = self._update(rows, rated)
        return self._regimes(moved, direction, codes)

    def remove_groups(self, numbers: Ints) -> None:
        """Forget everything about these groups, with the number of their changes."""
        known = numbers[numbers < len(self._groups)]
        self._groups[known] = _fresh(len(known))
        self._detector.reset(known)

    def dump(self) -> dict[str, NDArray[Any]]:
        """The whole state, as arrays by name."""
        return {"groups": self._groups.copy(), "detector": self._detector.state.copy()}

    def load(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore a dump(), also of a version without slow rises; ValueError if it is of no known version."""
        if state["groups"].dtype != COLUMNS:
            raise ValueError(f"the dumped regimes have columns {state['groups'].dtype}, expected {COLUMNS}")
        self._detector.load(state["detector"])
        self._groups = state["groups"].copy()

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds, after a step of the clock."""
        for column in ("since_s", "changed_s", "last_s"):
            self._groups[column] += by_s
        self._detector.shift(by_s)

    def current(self) -> Regimes:
        """The regimes after the last interval, without changes."""
        nothing = np.zeros(len(self._groups), np.int64)
        return self._regimes(nothing.astype(np.bool_), nothing, np.full(len(nothing), _code(Reason.STEADY)))

    def _grow(self, groups: int) -> None:
        if groups < len(self._groups):
            raise ValueError(
                f"{groups} groups after {len(self._groups)}: groups are never removed, empty ones have 0 users"
            )
        self._groups = np.concatenate([self._groups, _fresh(groups - len(self._groups))])
        self._detector.grow(groups)

    def _update(self, rows: Ints, interval: Interval) -> tuple[Ints, Flags, Ints]:
        """(R,) codes of the reasons, whether the regime changed, and directions of changes, of these groups."""
        self._reset(rows[interval.end_s - self._groups["last_s"][rows] > self._rules.stale_s])
        change = self._detector.observe(rows, interval)
        group, level = self._groups[rows], self._detector.state["level"][rows]
        group["last_s"] = interval.end_s
        _count(group, change)
        moves = _move(group, level, change.direction, self._rules)
        group["since_s"][moves.entered] = interval.end_s
        self._groups[rows] = group
        codes = _reasons(group, level, change.direction, moves, self._detector.pending[rows], self._rules)
        return codes, moves.entered & ~moves.first, change.direction

    def _reset(self, rows: Ints) -> None:
        """Forget regime and level of these groups, but not the number of their changes."""
        self._detector.reset(rows)
        for column in ("regime", "known", "age", "beyond"):
            self._groups[column][rows] = 0
        self._groups["since_s"][rows] = np.nan

    def _regimes(self, moved: Flags, direction: Ints, codes: Ints) -> Regimes:
        group, track = self._groups.copy(), self._detector.state
        return Regimes(
            regime=group["regime"].astype(np.int64),
            known=group["known"],
            moved=moved,
            since_s=group["since_s"],
            direction=direction,
            changes=group["changes"],
            changed_s=group["changed_s"],
            level=np.where(track["age"] > 0, track["level"], np.nan),
            reason=REASONS[codes],
            age=group["age"],
        )


def _fresh(groups: int) -> NDArray[np.void]:
    """Columns of so many new groups."""
    fresh = np.zeros(groups, COLUMNS)
    fresh["changed_s"], fresh["last_s"], fresh["since_s"] = np.nan, -np.inf, np.nan
    return fresh


def dump_last(regimes: Regimes) -> Arrays:
    """The part of Regimes that its RegimeMonitor does not hold: changes of the last interval, and reasons."""
    codes = np.array([_code(reason) for reason in regimes.reason], np.int64)
    return {"moved": regimes.moved, "direction": regimes.direction, "reason": codes}


def load_last(current: Regimes, last: Arrays) -> Regimes:
    """The regimes with a dump_last() restored; unchanged if it is empty."""
    if not last:
        return current
    return replace(current, moved=last["moved"], direction=last["direction"], reason=REASONS[last["reason"]])


def _target(level: Floats, regime: Ints, rules: RegimeRules) -> Ints:
    """(R,) the regime in which each level lies, given the present regime: thresholds have hysteresis."""
    bad = level >= np.where(regime == Regime.BAD, rules.bad.recovery, rules.bad.threshold)
    degraded = level >= np.where(regime >= Regime.DEGRADED, rules.degraded.recovery, rules.degraded.threshold)
    return np.where(bad, int(Regime.BAD), degraded.astype(np.int64))


class _Moves(NamedTuple):
    """(R,) which groups enter their first regime, which enter any regime, which would if the level stays."""

    first: Flags
    entered: Flags
    wanted: Flags


def _move(group: NDArray[np.void], level: Floats, direction: Ints, rules: RegimeRules) -> _Moves:
    """Update the regimes from the levels."""
    regime = group["regime"].astype(np.int64)
    target = _target(level, regime, rules)
    group["age"] += 1
    first = ~group["known"] & (group["age"] >= rules.unknown)
    wanted = group["known"] & (target != regime)
    group["beyond"] = np.where(wanted, group["beyond"] + 1, 0)
    entered = first | wanted & ((group["beyond"] >= rules.dwell) | (direction > 0) & (target > regime))
    group["known"] |= first
    group["regime"][entered], group["beyond"][entered] = target[entered], 0
    return _Moves(first, entered, wanted)


def _count(group: NDArray[np.void], change: Change) -> None:
    group["changes"] += np.stack([change.direction > 0, change.direction < 0], axis=1)
    group["changed_s"] = np.where(change.direction != 0, change.began_s, group["changed_s"])


def _reasons(
    group: NDArray[np.void], level: Floats, direction: Ints, moves: _Moves, pending: Flags, rules: RegimeRules
) -> Ints:
    """(R,) codes of the reasons."""
    unheld = _target(level, np.zeros(len(level), np.int64), rules)
    cases = {
        Reason.CHANGE_DETECTED: direction != 0,
        Reason.LEARNING: ~group["known"],
        Reason.THRESHOLD_PASSED: moves.entered,
        Reason.DWELL: moves.wanted,
        Reason.CHANGE_PENDING: pending,
        Reason.WITHIN_HYSTERESIS: unheld < group["regime"],
    }
    return np.select(list(cases.values()), [_code(reason) for reason in cases], _code(Reason.STEADY))


def _code(reason: Reason) -> int:
    return list(Reason).index(reason)
