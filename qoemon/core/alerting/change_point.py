"""When the share of poor ratings began to move: a CUSUM on what each rating interval says against the level before.

PoW never stands still. It varies with who happens to be there (few sessions, few of them stalled), with causes that
hit many sessions at once, and over the day. So the level is tracked by a fast moving average, which follows the day
and slow causes, and what remains is measured on a scale on which it spreads evenly. With v the ratio of the second
moment of the kernel to the first, one interval's PoW p of N users varies around a level m by about

    v m / N + spread^2 m^2

of which asinh(spread sqrt(N m / v)) 2 / spread is the transform to unit variance: a square root where chance rules,
a logarithm where common causes do. An empty, skewed PoW of zero needs no branch there. The difference of the
transformed p and m is the interval's surprise, in standard deviations; two one-sided CUSUMs add it up.
While one of them is under way the level waits, or it would swallow the very change that is being established.

Page 1954 (CUSUM); Anscombe 1948 (the transform of over-dispersed counts); docs/decisions/0008-change-detector.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints

State = NDArray[np.void]

TRACK = np.dtype(
    [
        ("level", np.float64),  # PoW, tracked
        ("square", np.float64),  # second moment of PoW, tracked
        ("spread2", np.float64),  # square of the relative deviation by common causes, tracked slowly
        ("age", np.int64),  # intervals taken in; 0 in a group without a level
        ("length", np.int64),  # of them, those that the level was averaged over since it last began
        ("sum", np.float64, 2),  # CUSUM up and down, standard deviations
        ("run", np.int64, 2),  # intervals since it was last zero
        ("run_pow", np.float64, 2),  # their sums of PoW and second moment
        ("run_square", np.float64, 2),
        ("zero_s", np.float64, 2),  # when it was last zero, s since the epoch
    ]
)
"""One group's row."""

FAINT = 0.002
"""PoW below which a change is of no interest, and the ratio v is taken as FAINT_RATIO."""
FAINT_RATIO = 0.4
COUNT_OFFSET = 0.375
"""Users with a poor rating, added before the root (Anscombe's 3/8): it keeps counts near 0 unbiased."""
SPREAD_PRIOR = 60
"""Intervals for which the least spread counts when the spread begins to be learnt."""
OUTLIER = 4.0
"""Standard deviations beyond which one interval moves the level and the spread no further."""
SIDES = np.array([1.0, -1.0])


@dataclass(frozen=True)
class DetectorRules:
    """The detector's constants; intervals are rating intervals, deviations standard deviations.

    memory         intervals over which the level averages: the shorter, the better it follows the day
    allowance      deviations that each interval may differ by before it counts: half of the least change sought
    limit          deviations beyond the allowance, added up, that establish a change
    hold           sum from which a change is pending and the level waits
    spread         least relative deviation by common causes; more is learnt
    spread_memory  intervals over which it is learnt
    caution        factor on what was learnt: deviations of successive intervals resemble each other
    learning       intervals before a first change can be told; what is found in them moves the level only
    """

    memory: int = 4
    allowance: float = 2.0
    limit: float = 3.0
    hold: float = 1.0
    spread: float = 0.2
    spread_memory: int = 720
    caution: float = 1.3
    learning: int = 8

    def __post_init__(self) -> None:
        if min(self.memory, self.learning, self.spread_memory) < 1:
            raise ValueError(f"{self}: expected memory, learning and spread_memory of at least 1 rating interval")
        if not (self.allowance > 0 and 0 < self.hold <= self.limit < np.inf):
            raise ValueError(f"{self}: expected allowance above 0, and 0 < hold <= limit")
        if not (0 < self.spread < np.inf and 1 <= self.caution < np.inf):
            raise ValueError(f"{self}: expected spread, a relative standard deviation, above 0, and caution from 1")


class Interval(NamedTuple):
    """What one closed rating interval says about R groups.

    pow, square  (R,) first and second moment, over the users, of their share of ratings poor or worse
    users        (R,) distinct sessions
    end_s        when it ended, s since the epoch
    """

    pow: Floats
    square: Floats
    users: Floats
    end_s: float


class Change(NamedTuple):
    """What was found in R groups: direction (R,) 1 worse, -1 better, 0 none; began_s (R,) s, NaN without one."""

    direction: Ints
    began_s: Floats


class ChangeDetector:
    """Tracks the PoW of many groups, one row of `state` each.

    Its work on one group depends on no other, so groups may come, and pause, as they like.
    """

    def __init__(self, rules: DetectorRules) -> None:
        self.rules = rules
        self.state: State = np.zeros(0, TRACK)

    def grow(self, groups: int) -> None:
        """Make room for so many groups, at least."""
        fresh = np.zeros(max(groups - len(self.state), 0), TRACK)
        self.state = np.concatenate([self.state, fresh])

    def load(self, state: NDArray[Any]) -> None:
        """Take over what was `state` before a restart. ValueError if it is that of another version."""
        if state.dtype != TRACK:
            raise ValueError(
                f"the dumped detector has columns {state.dtype}, expected {TRACK}: drop it, start anew"
            )
        self.state = state.copy()

    def shift(self, by_s: float) -> None:
        """Move all times by so many seconds."""
        self.state["zero_s"] += by_s

    def forget(self, rows: Ints) -> None:
        """Begin these groups anew."""
        self.state[rows] = np.zeros(1, TRACK)

    @property
    def pending(self) -> Flags:
        """(G,) where a change is under way, not established yet."""
        return np.asarray((self.state["sum"] > self.rules.hold).any(axis=1))

    def observe(self, rows: Ints, interval: Interval) -> Change:
        """Take in an interval of these groups, (R,) rows; what it establishes."""
        track = self.state[rows]
        _begin(track, interval, self.rules)
        z, variance = surprise(track, interval, self.rules)
        found = self._decide(track, z, interval)
        known = track["age"] >= self.rules.learning
        # The level of the first few intervals is too unsure to hold on to.
        waits = (track["sum"] > self.rules.hold).any(axis=1) & known
        moves = ~waits & (found.direction == 0)
        change = _told(found, known)
        _learn_spread(track, interval, variance, self.rules)
        _follow(track, z, moves, interval, self.rules)
        track["age"] += 1
        self.state[rows] = track
        return change

    def _decide(self, track: State, z: Floats, interval: Interval) -> Change:
        """Add up the surprises; where that passes the limit, the level begins anew at what it was since."""
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
    """How many standard deviations each PoW lies above its level, (R,); and the variance of chance, (R,)."""
    scale, offset, variance = _scale(track, interval.users)
    spread = _spread(track, rules)
    root = np.arcsinh(spread * scale * np.sqrt(interval.pow + offset))
    z = 2 / spread * (root - np.arcsinh(spread * scale * np.sqrt(track["level"] + offset)))
    # A level that was averaged over few intervals is itself uncertain.
    return np.asarray(z / np.sqrt(1 + 1 / np.minimum(track["length"], rules.memory))), variance


def _told(found: Change, known: Flags) -> Change:
    """What was found, in groups that are known well enough: of the others nothing is told.

    Their level has begun anew all the same. If it only crept to where it belongs, outliers cut, a group that turns
    bad early would pass for a good one for minutes.
    """
    return Change(np.where(known, found.direction, 0), np.where(known, found.began_s, np.nan))


def _scale(track: State, users: Floats) -> tuple[Floats, Floats, Floats]:
    """The root of N / v; the offset of a PoW; the variance that chance gives it. All (R,)."""
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


def _restart(track: State, row: np.int64, side: np.int64, end_s: float) -> None:
    # The length says how sure the new level is; the age goes on, so that what reverts at once is told at once.
    track["length"][row] = length = track["run"][row, side]
    track["level"][row] = track["run_pow"][row, side] / length
    track["square"][row] = track["run_square"][row, side] / length
    track["sum"][row], track["run"][row] = 0, 0
    track["run_pow"][row], track["run_square"][row], track["zero_s"][row] = 0, 0, end_s


def _follow(track: State, z: Floats, moves: Flags, interval: Interval, rules: DetectorRules) -> None:
    """Move the level by its share of the surprise, on the scale of surprises: there the noise is symmetric."""
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
    """Whatever chance does not explain of the deviations is put down to common causes; outliers are cut."""
    base = np.maximum(track["level"], FAINT) ** 2
    most = OUTLIER * (_spread(track, rules) ** 2 + variance / base)
    excess = ((interval.pow - track["level"]) ** 2 - variance) / base
    memory = np.minimum(track["age"] + SPREAD_PRIOR, rules.spread_memory)
    track["spread2"] = np.maximum(track["spread2"] + (np.clip(excess, -most, most) - track["spread2"]) / memory, 0)
