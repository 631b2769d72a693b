"""Slow rises of PoW, which a level that follows the group within minutes would learn.

The recent mean of PoW is compared with an older one. If PoW rises by a constant factor an interval, the difference
of their logarithms approaches that rate times `older - recent` intervals. It is measured in standard deviations:
the group's own, learnt from how far the two means usually differ, plus what chance adds with so many users. For a
ramp in wander with a time constant of 10 to 60 intervals this is close to the best linear filter. The limit for any
detector: docs/decisions/0008-change-detector.md.

Only rises are detected: a level that falls slowly needs nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats

COLUMNS = [
    ("recent", np.float64),  # mean PoW of the last intervals
    ("older", np.float64),  # mean PoW over a longer time
    ("drift2", np.float64),  # square of the usual difference of their logarithms, beyond chance
    ("level_s", np.float64),  # end of the last interval without a suspected rise, s since the epoch
]
"""The state of one group."""

OUTLIER2 = 6.25
"""Variances at which the influence of one interval on the usual difference is clipped: a rise is not learnt."""
SUSPECTED = 0.5
"""Standard deviations of the difference from which a rise is suspected: a reported one is dated back to there."""
PRIOR_INTERVALS = 90
"""Weight, in intervals, of the assumed usual difference when learning begins."""


@dataclass(frozen=True)
class DriftRules:
    """Constants of the detection of slow rises. Intervals are rating intervals.

    recent, older  memory of the two means, intervals
    limit          difference of their logarithms at which a rise is detected, standard deviations; inf for none
    usual          usual difference assumed of a new group
    memory         intervals over which it is learnt
    learning       intervals before learning begins, and before a rise can be detected
    raises         ValueError if a constant is out of range
    """

    recent: int = 5
    older: int = 20
    limit: float = 4.1
    usual: float = 0.1
    memory: int = 10_080
    learning: int = 60

    def __post_init__(self) -> None:
        if not (1 <= self.recent < self.older <= self.learning and self.memory >= 1):
            raise ValueError(f"{self}: expected 1 <= recent < older <= learning, and memory of at least 1 interval")
        if not (self.limit > 0 and 0 < self.usual < np.inf):
            raise ValueError(f"{self}: expected limit and usual above 0")


def begin(track: NDArray[np.void], rows: Flags, level: Floats, end_s: float, rules: DriftRules) -> None:
    """Initialise these groups: both means are at `level`, (R,)."""
    restart(track, rows, level, end_s)
    track["drift2"][rows] = rules.usual**2


def restart(track: NDArray[np.void], rows: Flags, level: Floats, end_s: float) -> None:
    """Set both means of these groups to `level`, (R,); what is usual is kept."""
    track["recent"][rows] = track["older"][rows] = level[rows]
    track["level_s"][rows] = end_s


def rising(
    track: NDArray[np.void], pow_: Floats, chance: Floats, offset: Floats, end_s: float, rules: DriftRules
) -> Flags:
    """Update the means; returns which groups rise by more than they usually do.

    track   (R,) with the columns above, `age` and `length`, intervals processed and those since the last restart
    pow_    (R,) PoW of the interval
    chance  (R,) its variance by chance, as a share of PoW
    offset  (R,) added to PoW before the logarithm
    """
    for name, memory in (("recent", rules.recent), ("older", rules.older)):
        track[name] += (pow_ - track[name]) / np.minimum(track["length"] + 1, memory)
    rise = np.log((track["recent"] + offset) / (track["older"] + offset))
    by_chance = chance / (track["older"] + offset) * _difference_share(rules)
    variance = track["drift2"] + by_chance
    track["level_s"] = np.where(rise > SUSPECTED * np.sqrt(variance), track["level_s"], end_s)
    learns = track["age"] >= rules.learning
    excess = np.minimum(rise**2, OUTLIER2 * variance) - by_chance
    weight = learns / np.minimum(track["age"] + PRIOR_INTERVALS, rules.memory)
    track["drift2"] = np.maximum(track["drift2"] + (excess - track["drift2"]) * weight, 0)
    return np.asarray(learns & (rise > rules.limit * np.sqrt(variance)))


def _difference_share(rules: DriftRules) -> float:
    """Variance of the difference of two exponential means of the same white noise, as a share of the noise's."""
    recent, older = rules.recent, rules.older
    return 1 / (2 * recent - 1) - 2 / (recent + older - 1) + 1 / (2 * older - 1)


def upgraded(state: NDArray[Any], dtype: np.dtype[Any], rules: DriftRules) -> NDArray[np.void]:
    """A state from before these columns existed, with them: both means begin at the level.

    The age becomes that of a group whose usual difference is about to be learnt, or it would be learnt slowly.
    """
    out = np.zeros(len(state), dtype)
    for name in state.dtype.names or ():
        out[name] = state[name]
    begin(out, np.ones(len(out), np.bool_), out["level"], 0.0, rules)
    out["level_s"] = out["zero_s"].max(axis=1)
    out["age"] = np.minimum(out["age"], rules.learning)
    return out
