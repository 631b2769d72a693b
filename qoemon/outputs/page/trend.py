"""Whether the PoW of a group is rising or falling now, and since when: the sign of a recovery.

The run that leads to the newest point begins at the turning point before it: for a fall, the last highest point. To
find it, the points are followed back. The run ends in front of a gap, or where a point lies lower than the highest
so far by a quarter of the fall and beyond chance, so that ups and downs within the noise do not end it. A run is a
trend if

- it is larger than chance: the confidence intervals of the newest point and of the turning point are disjoint, and
- it continues: a tenth of it happened in the last seconds. A fall that ended some time ago is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qoemon.core.arrays import Floats, Ints
from qoemon.outputs.history import STEP_S, Past

RETRACED = 0.25
"""A run ends, followed back, where this share of it would be lost again."""

CONTINUES = 0.1
"""Share of a run that must have happened recently."""

RECENT_S = 20
"""How recently, at least; and at least two ticks."""

_PAUSE_STEPS = 3
"""Between two points further apart than so many steps is a gap."""


@dataclass(frozen=True)
class Trend:
    """A run of PoW. direction: "rising" or "falling"; since_s: its turning point, seconds since the epoch."""

    direction: str
    since_s: int


def trend_document(trend: Trend | None) -> dict[str, Any] | None:
    """The trend as plain data."""
    return None if trend is None else {"direction": trend.direction, "since_s": trend.since_s}


def trends(past: Past, service: str, groups: Ints) -> list[Trend | None]:
    """The trend of the PoW in the base window of each of N groups, given by number; None without one."""
    if len(past.frames) < 2:
        return [None] * len(groups)
    pow_, lower, upper = (
        past.series(service, groups, name).astype(np.float64) for name in ("pow", "pow_lower", "pow_upper")
    )
    times_s = np.array(past.times_s)
    falls = turning_points(times_s, pow_, (lower, upper), past.tick_s)
    # A rise is a fall upside down.
    rises = turning_points(times_s, -pow_, (-upper, -lower), past.tick_s)
    return [_trend(times_s, fall, rise) for fall, rise in zip(falls.tolist(), rises.tolist(), strict=True)]


def turning_points(times_s: Ints, values: Floats, bounds: tuple[Floats, Floats], tick_s: int) -> Ints:
    """(N,) index of the point from which a row falls to its newest point; -1 for a row that does not fall.

    times_s  (T,) ascending
    values   (N, T) NaN without data
    bounds   (N, T) lower and upper bounds of their confidence intervals
    """
    lower, upper = bounds
    rows, newest = np.arange(len(values)), values[:, -1]
    with np.errstate(invalid="ignore"):
        turn = _run_begins(times_s, values, lower, tick_s)
        fall = values[rows, turn] - newest
        recent_s = max(RECENT_S, 2 * tick_s)
        recent = int(np.searchsorted(times_s, times_s[-1] - recent_s, side="right")) - 1
        recently = values[rows, np.maximum(turn, recent)] - newest
        falls = (fall > 0) & (upper[:, -1] < lower[rows, turn]) & (recently >= CONTINUES * fall)
    return np.where(falls, turn, -1)


def _run_begins(times_s: Ints, values: Floats, lower: Floats, tick_s: int) -> Ints:
    """(N,) index of the newest of the highest points of the run that leads to the newest point."""
    back, size = values[:, ::-1], values.shape[1]
    highest = np.fmax.accumulate(back, axis=1)
    at_highest = np.maximum.accumulate(np.where(back == highest, np.arange(size), 0), axis=1)
    by_chance = np.take_along_axis(lower[:, ::-1], at_highest, axis=1)
    ended = back < np.minimum(highest - RETRACED * (highest - back[:, :1]), by_chance)
    ended |= np.isnan(back)
    ended[:, 1:] |= np.diff(times_s)[::-1] > _PAUSE_STEPS * max(tick_s, STEP_S)
    run = ~np.logical_or.accumulate(ended, axis=1)
    return np.asarray(size - 1 - np.argmax(np.where(run, back, -np.inf), axis=1))


def _trend(times_s: Ints, fall: int, rise: int) -> Trend | None:
    """The trend with these turning points; -1 for none. If both directions hold, the later one counts."""
    if fall < 0 and rise < 0:
        return None
    return Trend("falling", int(times_s[fall])) if fall > rise else Trend("rising", int(times_s[rise]))
