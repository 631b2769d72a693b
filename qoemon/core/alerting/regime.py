"""Whether a group's users are well served, and when that began to change.

Two questions, two answers. The regime says how bad it is, against the operator's thresholds: it follows the
tracked level of PoW, with hysteresis and a minimum dwell. The change detector says that something happened, against
what was usual for this group just before, and when it began; its findings are what is counted and dated.

A found change for the worse that carries the level past a threshold takes the regime along at once. A level that
creeps past a threshold, as on a busy evening, moves the regime after the dwell, and no change is counted: nothing
happened at a moment that could be named.
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
    """How a group's users are served."""

    GOOD = 0
    DEGRADED = 1
    BAD = 2


class Reason(StrEnum):
    """Why the regime is what it is after an interval; of several, the one that stands first here."""

    ALREADY_JUDGED = "already_judged"
    """the interval ended no later than one taken in before: everything stays"""
    NO_DATA = "no_data"
    """nobody was judged: everything stays"""
    TOO_FEW_SESSIONS = "too_few_sessions"
    """fewer than min_sessions: everything stays"""
    CHANGE_DETECTED = "change_detected"
    """a change was established; the regime went along if that passed a threshold"""
    LEARNING = "learning"
    """too few intervals since the group appeared: it has no regime yet"""
    THRESHOLD_PASSED = "threshold_passed"
    """the level stayed past a threshold for the dwell, and the regime followed; or it is the group's first"""
    DWELL = "dwell"
    """the level is past a threshold, but not yet for as long as the dwell"""
    CHANGE_PENDING = "change_pending"
    """the detector has seen part of a change"""
    WITHIN_HYSTERESIS = "within_hysteresis"
    """the level is back below the threshold that was entered, but not below the one to leave"""
    STEADY = "steady"
    """the level lies within the regime"""


REASONS = np.array(list(Reason), dtype=object)


@dataclass(frozen=True)
class Threshold:
    """A regime is entered at a PoW of `enter` or above and left below `leave`; shares of users."""

    enter: float
    leave: float


@dataclass(frozen=True)
class RegimeRules:
    """When a group is in which regime.

    degraded, bad  thresholds on the level of PoW
    dwell          successive rating intervals for which the level has to stay past a threshold, so also the least
                   length of a regime; an established change for the worse does not wait for it
    min_sessions   an interval with fewer distinct sessions says nothing
    stale_s        a group that was not judged for longer begins anew, seconds
    detector       the constants of the change detector; a group has no regime before that has learnt it
    """

    degraded: Threshold = Threshold(enter=0.15, leave=0.10)
    bad: Threshold = Threshold(enter=0.30, leave=0.20)
    dwell: int = 5
    min_sessions: int = 30
    stale_s: float = 3600.0
    detector: DetectorRules = field(default_factory=DetectorRules)

    def __post_init__(self) -> None:
        for name, at in (("degraded", self.degraded), ("bad", self.bad)):
            if not 0 < at.leave < at.enter <= 1:
                raise ValueError(
                    f"{name} is entered at a PoW of {at.enter} and left at {at.leave},"
                    " expected 0 < leave < enter <= 1: without a gap the regime would flap"
                )
        if not (self.degraded.enter < self.bad.enter and self.degraded.leave < self.bad.leave):
            raise ValueError(f"degraded is {self.degraded} and bad {self.bad}, expected bad above degraded")
        if self.dwell < 1 or self.min_sessions < 1 or not self.stale_s > 0:
            raise ValueError(
                f"dwell is {self.dwell}, min_sessions {self.min_sessions}, stale_s {self.stale_s},"
                " expected at least 1 rating interval, 1 session, and more than 0 s"
            )

    @property
    def unknown(self) -> int:
        """Rating intervals that it takes until a group has a regime.

        Before the detector tells changes, a regime could not go along with one at once.
        """
        return max(self.dwell, self.detector.learning)


COLUMNS = np.dtype(
    [
        ("regime", np.int8),
        ("known", np.bool_),
        ("age", np.int64),  # intervals judged since it began
        ("beyond", np.int64),  # successive intervals whose level asked for another regime
        ("since_s", np.float64),  # when the regime came to be, s since the epoch
        ("changes", np.int64, 2),  # established, up and down
        ("changed_s", np.float64),  # when the last of them began, NaN before the first
        ("last_s", np.float64),  # end of the last interval judged, -inf before the first
    ]
)


@dataclass(frozen=True)
class Regimes:
    """G groups after a rating interval.

    regime     (G,) Regime
    known      (G,) whether there is one: not in a group that is still being learnt, which exporters should not show
    moved      (G,) whether the regime changed now, from one that was known
    since_s    (G,) end of the interval in which the regime came to be, s since the epoch
    direction  (G,) change established now: 1 up (worse), -1 down (better), 0 none
    changes    (G, 2) changes established so far, up and down
    changed_s  (G,) when the last of them began (estimated), s since the epoch; NaN before the first
    level      (G,) tracked PoW, NaN in a group never judged
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


class RegimeMonitor:
    """The regimes of one service's groups. It is told of each closed rating interval once, in order."""

    def __init__(self, rules: RegimeRules) -> None:
        self._rules = rules
        self._detector = ChangeDetector(rules.detector)
        self._groups = np.zeros(0, COLUMNS)

    def close(self, interval: Interval) -> Regimes:
        """Take in a rating interval of all groups, G of them, not fewer than before.

        PoW and square of a group without users may be NaN. An interval told again changes nothing.
        """
        self._grow(len(interval.pow))
        users = np.nan_to_num(interval.users)
        empty = (users <= 0) | ~np.isfinite(interval.pow) | ~np.isfinite(interval.square)
        few = users < self._rules.min_sessions
        again = interval.end_s <= self._groups["last_s"]
        rows = np.flatnonzero(~(empty | few | again))
        why = np.select([again, empty, few], [0, 1, 2], _code(Reason.STEADY))
        moved, direction = np.zeros(len(users), np.bool_), np.zeros(len(users), np.int64)
        judged = Interval(interval.pow[rows], interval.square[rows], users[rows], interval.end_s)
        why[rows], moved[rows], direction[rows] = self._judge(rows, judged)
        return self._regimes(moved, direction, why)

    def dump(self) -> dict[str, NDArray[Any]]:
        """All that a restart needs, as arrays by name."""
        return {"groups": self._groups.copy(), "detector": self._detector.state.copy()}

    def load(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what dump() gave. ValueError if it is that of another version."""
        if state["groups"].dtype != COLUMNS:
            raise ValueError(f"the dumped regimes have columns {state['groups'].dtype}, expected {COLUMNS}")
        self._detector.load(state["detector"])
        self._groups = state["groups"].copy()

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds, as the clock was set."""
        for column in ("since_s", "changed_s", "last_s"):
            self._groups[column] += by_s
        self._detector.shift(by_s)

    def current(self) -> Regimes:
        """The regimes as of the last interval, with no change."""
        nothing = np.zeros(len(self._groups), np.int64)
        return self._regimes(nothing.astype(np.bool_), nothing, np.full(len(nothing), _code(Reason.STEADY)))

    def _grow(self, groups: int) -> None:
        if groups < len(self._groups):
            raise ValueError(f"{groups} groups after {len(self._groups)}: groups stay, empty ones have 0 users")
        fresh = np.zeros(groups - len(self._groups), COLUMNS)
        fresh["changed_s"], fresh["last_s"], fresh["since_s"] = np.nan, -np.inf, np.nan
        self._groups = np.concatenate([self._groups, fresh])
        self._detector.grow(groups)

    def _judge(self, rows: Ints, interval: Interval) -> tuple[Ints, Flags, Ints]:
        """Codes of the reasons, whether the regime moved, and directions, of these groups."""
        self._begin_anew(rows[interval.end_s - self._groups["last_s"][rows] > self._rules.stale_s])
        change = self._detector.observe(rows, interval)
        group, level = self._groups[rows], self._detector.state["level"][rows]
        group["last_s"] = interval.end_s
        _count(group, change)
        moved = _move(group, level, change.direction, self._rules)
        group["since_s"][moved.turned] = interval.end_s
        self._groups[rows] = group
        why = _why(group, level, change.direction, moved, self._detector.pending[rows], self._rules)
        return why, moved.turned & ~moved.first, change.direction

    def _begin_anew(self, rows: Ints) -> None:
        """Forget what these groups were like; what was counted stays counted."""
        self._detector.forget(rows)
        for column in ("regime", "known", "age", "beyond"):
            self._groups[column][rows] = 0
        self._groups["since_s"][rows] = np.nan

    def _regimes(self, moved: Flags, direction: Ints, why: Ints) -> Regimes:
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
            reason=REASONS[why],
        )


def dump_last(regimes: Regimes) -> Arrays:
    """What Regimes has beside the state of its RegimeMonitor: what the last interval changed, and why."""
    why = np.array([_code(reason) for reason in regimes.reason], np.int64)
    return {"moved": regimes.moved, "direction": regimes.direction, "reason": why}


def load_last(current: Regimes, last: Arrays) -> Regimes:
    """The regimes with what dump_last() gave; as they are if that is nothing."""
    if not last:
        return current
    return replace(current, moved=last["moved"], direction=last["direction"], reason=REASONS[last["reason"]])


def _wanted(level: Floats, regime: Ints, rules: RegimeRules) -> Ints:
    """(R,) the regime of each level, given the one it comes from."""
    bad = level >= np.where(regime == Regime.BAD, rules.bad.leave, rules.bad.enter)
    degraded = level >= np.where(regime >= Regime.DEGRADED, rules.degraded.leave, rules.degraded.enter)
    return np.where(bad, int(Regime.BAD), degraded.astype(np.int64))


class _Moved(NamedTuple):
    """(R,) which groups got their first regime now, which got a regime at all now, which would if that lasts."""

    first: Flags
    turned: Flags
    asked: Flags


def _move(group: NDArray[np.void], level: Floats, direction: Ints, rules: RegimeRules) -> _Moved:
    """Let the regimes follow the levels."""
    regime = group["regime"].astype(np.int64)
    wanted = _wanted(level, regime, rules)
    group["age"] += 1
    first = ~group["known"] & (group["age"] >= rules.unknown)
    asked = group["known"] & (wanted != regime)
    group["beyond"] = np.where(asked, group["beyond"] + 1, 0)
    turned = first | asked & ((group["beyond"] >= rules.dwell) | (direction > 0) & (wanted > regime))
    group["known"] |= first
    group["regime"][turned], group["beyond"][turned] = wanted[turned], 0
    return _Moved(first, turned, asked)


def _count(group: NDArray[np.void], change: Change) -> None:
    group["changes"] += np.stack([change.direction > 0, change.direction < 0], axis=1)
    group["changed_s"] = np.where(change.direction != 0, change.began_s, group["changed_s"])


def _why(
    group: NDArray[np.void], level: Floats, direction: Ints, moved: _Moved, pending: Flags, rules: RegimeRules
) -> Ints:
    """(R,) codes of the reasons."""
    entered = _wanted(level, np.zeros(len(level), np.int64), rules)
    cases = {
        Reason.CHANGE_DETECTED: direction != 0,
        Reason.LEARNING: ~group["known"],
        Reason.THRESHOLD_PASSED: moved.turned,
        Reason.DWELL: moved.asked,
        Reason.CHANGE_PENDING: pending,
        Reason.WITHIN_HYSTERESIS: entered < group["regime"],
    }
    return np.select(list(cases.values()), [_code(reason) for reason in cases], _code(Reason.STEADY))


def _code(reason: Reason) -> int:
    return list(Reason).index(reason)
