"""Change detection: a CUSUM of each rating interval's deviation of PoW from its tracked level.

PoW varies all the time: by chance (few sessions, few of them stalled), by causes that affect many sessions at once,
and over the day. So the level is tracked by a fast moving average, which follows the day and slow causes, and the
deviation from it is transformed to a scale on which its variance is constant. With v the ratio of the second moment
of the kernel to the first, the variance of one interval's PoW p of N users around a level m is about

    v m / N + spread^2 m^2

for which asinh(spread sqrt(N m / v)) 2 / spread is the transform to unit variance: a square root where chance
dominates, a logarithm where common causes do. It needs no special case for a PoW of zero. The difference of the
transformed p and m is the interval's surprise, in standard deviations; two one-sided CUSUMs add it up. While one of
them is above `hold`, the level is not updated: it would follow the change before it is detected.

A rise so slow that the level follows it is detected by drift.py, and counted as a change too.

Page 1954 (CUSUM); Anscombe 1948 (the transform of over-dispersed counts); docs/decisions/0008-change-detector.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting import drift
from qoemon.core.alerting.drift import DriftRules
from qoemon.core.arrays import Flags, Floats, Ints

State = NDArray[np.void]

_JUMPS = [
    ("level", np.float64),  # PoW, tracked
    ("square", np.float64),  # second moment of PoW, tracked
    ("spread2", np.float64),  # square of the relative deviation from common causes, tracked slowly
    ("age", np.int64),  # intervals processed; 0 in a group without a level
    ("length", np.int64),  # of them, those averaged in the level since it was last restarted
    ("sum", np.float64, 2),  # CUSUM up and down, standard deviations
    ("run", np.int64, 2),  # intervals since it was last zero
    ("run_pow", np.float64, 2),  # their sums of PoW and second moment
    ("run_square", np.float64, 2),
    ("zero_s", np.float64, 2),  # when it was last zero, s since the epoch
]
TRACK = np.dtype([*_JUMPS, *drift.COLUMNS])
"""The state of one group."""

FAINT = 0.002
"""PoW below which changes are irrelevant; there the ratio v is taken to be FAINT_RATIO."""
FAINT_RATIO = 0.4
COUNT_OFFSET = 0.375
"""Users with a poor rating, added before the root (Anscombe's 3/8), which keeps counts near 0 unbiased."""
SPREAD_PRIOR = 60
"""Weight, in intervals, of the minimum spread when learning of the spread begins."""
OUTLIER = 4.0
"""Standard deviations at which the influence of one interval on level and spread is clipped."""
SIDES = np.array([1.0, -1.0])


@dataclass(frozen=True)
class DetectorRules:
    """Constants of the detector. Intervals are rating intervals; deviations are in standard deviations.

    memory         intervals over which the level is averaged: a short memory follows the day better
    allowance      deviation of an interval that is not counted: half of the smallest change to detect
    limit          sum of deviations beyond the allowance at which a change is detected
    hold           sum above which a change is pending and the level is not updated
    spread         minimum relative deviation from common causes; a larger one is learnt
    spread_memory  intervals over which it is learnt
    caution        factor on the learnt spread: deviations of successive intervals are correlated
    learning       intervals before a first change can be reported; a change found earlier restarts the level only
    drift          constants of the detection of slow rises
    raises         ValueError if a constant is out of range
    """

    memory: int = 4
    allowance: float = 2.0
    limit: float = 3.0
    hold: float = 1.0
    spread: float = 0.2
    spread_memory: int = 720
    caution: float = 1.3
    learning: int = 8
    drift: DriftRules = field(default_factory=DriftRules)

    def __post_init__(self) -> None:
        if min(self.memory, self.learning, self.spread_memory) < 1:
            raise ValueError(f"{self}: expected memory, learning and spread_memory of at least 1 rating interval")
        if not (self.allowance > 0 and 0 < self.hold <= self.limit < np.inf):
            raise ValueError(f"{self}: expected allowance above 0, and 0 < hold <= limit")
        if not (0 < self.spread < np.inf and 1 <= self.caution < np.inf):
            raise ValueError(f"{self}: expected spread, a relative standard deviation, above 0, and caution from 1")


class Interval(NamedTuple):
    """One closed rating interval of R groups.

    pow, square  (R,) first and second moment, over the users, of their share of ratings poor or worse
    users        (R,) distinct sessions
    end_s        its end, s since the epoch
    """

    pow: Floats
    square: Floats
    users: Floats
    end_s: float


class Change(NamedTuple):
    """Changes detected in R groups.

    direction  (R,) 1 worse, -1 better, 0 none
    began_s    (R,) estimated beginning, s since the epoch; NaN without a change
    """

    direction: Ints
    began_s: Floats


class ChangeDetector:
    """Tracks the PoW of many groups, one row of `state` each.

    Groups are independent of each other: any group can appear or pause at any time.

    least  PoW from which a slow rise is reported
    """

    def __init__(self, rules: DetectorRules, least: float) -> None:
        self.rules, self._least = rules, least
        self.state: State = np.zeros(0, TRACK)

    def grow(self, groups: int) -> None:
        """Make room for so many groups, at least."""
        fresh = np.zeros(max(groups - len(self.state), 0), TRACK)
        self.state = np.concatenate([self.state, fresh])

    def load(self, state: NDArray[Any]) -> None:
        """Restore `state` from before a restart; ValueError if a version wrote it that is not known."""
        if state.dtype == np.dtype(_JUMPS):
            state = drift.upgraded(state, TRACK, self.rules.drift)
        if state.dtype != TRACK:
            raise ValueError(f"the dumped detector has columns {state.dtype}, expected {TRACK}: discard it")
        self.state = state.copy()

    def shift(self, by_s: float) -> None:
        """Move all times by so many seconds."""
        self.state["zero_s"] += by_s
        self.state["level_s"] += by_s

    def reset(self, rows: Ints) -> None:
        """Forget everything about these groups."""
        self.state[rows] = np.zeros(1, TRACK)

    @property
    def pending(self) -> Flags:
        """(G,) whether a change is suspected, but not detected yet."""
        return np.asarray((self.state["sum"] > self.rules.hold).any(axis=1))

    def observe(self, rows: Ints, interval: Interval) -> Change:
        """Process an interval of these groups, (R,) rows; returns the changes detected."""
        track = self.state[rows]
        _begin(track, interval, self.rules)
        z, variance = surprise(track, interval, self.rules)
        found = self._decide(track, z, interval)
        known = track["age"] >= self.rules.learning
        # The level of the first few intervals is too uncertain to hold.
        holds = (track["sum"] > self.rules.hold).any(axis=1) & known
        moves = ~holds & (found.direction == 0)
        change = _reported(found, known)
        _learn_spread(track, interval, variance, self.rules)
        _follow(track, z, moves, interval, self.rules)
        change = self._add_rises(track, found.direction, change, interval)
        track["age"] += 1
        self.state[rows] = track
        return change

    def _add_rises(self, track: State, jumped: Ints, change: Change, interval: Interval) -> Change:
        """`change`, with slow rises added. A jump and a reported rise restart the comparison."""
        scale, offset, _ = _scale(track, interval.users)
        rises = drift.rising(track, interval.pow, 1 / scale**2, offset, interval.end_s, self.rules.drift)
        rises &= (jumped == 0) & (track["recent"] >= self._least)
        began_s = np.where(rises, track["level_s"], change.began_s)
        track["level"] = np.where(rises, track["recent"], track["level"])
        for row in np.flatnonzero(rises):
            _clear(track, row, interval.end_s)
        drift.restart(track, rises | (jumped != 0), track["level"], interval.end_s)
        return Change(np.where(rises, 1, change.direction), began_s)

    def _decide(self, track: State, z: Floats, interval: Interval) -> Change:
        """Update the CUSUMs; above the limit, restart the level at the mean PoW since the change began."""
        total = np.maximum(track["sum"] + z[:, None] * SIDES - self.rules.allowance, 0)
        running = total > 0
        track["sum"] = total
        track["run"] = np.where(running, track["run"] + 1, 0)
        track["run_pow"] = np.where(running, track["run_pow"] + interval.pow[:, None], 0)
        track["run_square"] = np.where(running, track["run_square"] + interval.square[:, None], 0)
        track["zero_s"] = np.where(running, track["zero_s"], interval.end_s)
        found = total > self.rules.limit
        side = total.argmax(axis=1)
        direction = np.where(found.any(axis=1), 1 - 2 * side, 0)
        began_s = np.where(direction != 0, track["zero_s"][np.arange(len(side)), side], np.nan)
        for row in np.flatnonzero(direction):
            _restart(track, row, side[row], interval.end_s)
        return Change(direction, began_s)


def surprise(track: State, interval: Interval, rules: DetectorRules) -> tuple[Floats, Floats]:
    """(R,) number of standard deviations of each PoW above its level, and (R,) the variance by chance."""
    scale, offset, variance = _scale(track, interval.users)
    spread = _spread(track, rules)
    root = np.arcsinh(spread * scale * np.sqrt(interval.pow + offset))
    z = 2 / spread * (root - np.arcsinh(spread * scale * np.sqrt(track["level"] + offset)))
    # A level averaged over few intervals is itself uncertain.
    return np.asarray(z / np.sqrt(1 + 1 / np.minimum(track["length"], rules.memory))), variance


def _reported(found: Change, known: Flags) -> Change:
    """The changes of groups whose learning is complete; those of other groups are not reported.

    The level of those is restarted all the same: if it only followed slowly, with outliers clipped, a group that
    turns bad early would look good for minutes.
    """
    return Change(np.where(known, found.direction, 0), np.where(known, found.began_s, np.nan))


def _scale(track: State, users: Floats) -> tuple[Floats, Floats, Floats]:
    """(R,) each: the root of N / v, the offset of a PoW, and its variance by chance."""
    level = track["level"]
    ratio = (track["square"] + FAINT_RATIO * FAINT) / (level + FAINT) - level
    ratio = np.clip(ratio, 0.05, 1)
    offset = np.maximum(FAINT, COUNT_OFFSET * ratio / users)
    return np.sqrt(users / ratio), offset, ratio * level / users


def _spread(track: State, rules: DetectorRules) -> Floats:
    return np.asarray(np.maximum(rules.caution * np.sqrt(track["spread2"]), rules.spread))


def _begin(track: State, interval: Interval, rules: DetectorRules) -> None:
    fresh = track["age"] == 0
    track["level"][fresh], track["square"][fresh] = interval.pow[fresh], interval.square[fresh]
    track["spread2"][fresh], track["length"][fresh] = (rules.spread / rules.caution) ** 2, 1
    track["zero_s"][fresh] = interval.end_s
    drift.begin(track, fresh, interval.pow, interval.end_s, rules.drift)


def _restart(track: State, row: np.int64, side: np.int64, end_s: float) -> None:
    # The length is the certainty of the new level. The age is kept, so a reversal is reported without learning.
    track["length"][row] = length = track["run"][row, side]
    track["level"][row] = track["run_pow"][row, side] / length
    track["square"][row] = track["run_square"][row, side] / length
    _clear(track, row, end_s)


def _clear(track: State, row: np.int64, end_s: float) -> None:
    """Set the CUSUMs of this row to zero."""
    track["sum"][row], track["run"][row] = 0, 0
    track["run_pow"][row], track["run_square"][row], track["zero_s"][row] = 0, 0, end_s


def _follow(track: State, z: Floats, moves: Flags, interval: Interval, rules: DetectorRules) -> None:
    """Move the level by a share of the surprise, on the transformed scale, where noise is symmetric."""
    scale, offset, _ = _scale(track, interval.users)
    spread = _spread(track, rules)
    share = moves / np.minimum(track["length"] + 1, rules.memory)
    step = share * np.clip(z, -OUTLIER, OUTLIER) * spread / 2
    root = np.arcsinh(spread * scale * np.sqrt(track["level"] + offset)) + step
    moved = (np.sinh(root) / (spread * scale)) ** 2 - offset
    track["level"] = np.where(moves, np.clip(moved, 0, 1), track["level"])
    track["square"] += share * (interval.square - track["square"])
    track["length"] += moves


def _learn_spread(track: State, interval: Interval, variance: Floats, rules: DetectorRules) -> None:
    """Attribute deviations that chance does not explain to common causes; outliers are clipped."""
    base = np.maximum(track["level"], FAINT) ** 2
    most = OUTLIER * (_spread(track, rules) ** 2 + variance / base)
    excess = ((interval.pow - track["level"]) ** 2 - variance) / base
    memory = np.minimum(track["age"] + SPREAD_PRIOR, rules.spread_memory)
    track["spread2"] = np.maximum(track["spread2"] + (np.clip(excess, -most, most) - track["spread2"]) / memory, 0)
