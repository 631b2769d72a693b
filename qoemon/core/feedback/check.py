"""Whether the model of a service still holds: two CUSUMs over days, of the bias and of the spread of ratings.

A day is one witness, however many ratings it has. Its deviation d has the variance

    s^2 = c + tau^2

with c what chance adds with so many ratings, and tau^2 how much days differ beyond that, which is learnt. A
detector that counts ratings instead raises alarms again and again when those of an hour share a cause. For each
direction, the evidence of a day is (+-d - tolerance) / s, limited to a few standard deviations, less an allowance.
It adds up in S, which never falls below 0; the model is off once S exceeds a limit, and until S is 0 again.

tau^2 is learnt about the running mean of the days, so a bias that was there from the beginning does not teach it
that biases are usual. Differences of successive days report a shift a day earlier, but days resemble the day
before: with a correlation of .5, and a standard deviation of .15 between days, they raise false alarms in 66 of 100
services in a year, the mean in 26.

The state is a function of the days, which are kept: nothing else has to survive a restart, and a rating that comes
late for its day counts there. The detector of groups, core/alerting/change_point.py, has the same form, but tracks
a level of its own; here the level is given by the prediction.

Page 1954 (CUSUM); Welford 1962 (the variance about a running mean).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Counts, Flags, Floats, Ints
from qoemon.core.feedback.day import DaySums, floating
from qoemon.core.qoe.scale import ACR5, Scale


class ModelState(StrEnum):
    """Whether ratings agree with the predictions of a service, among those who answered."""

    TOO_FEW = "too_few"
    """too few days with enough ratings, or none lately"""
    HOLDS = "holds"
    """no deviation was found that is larger than the tolerance"""
    OFF = "off"
    """ratings deviate by more than the tolerance, and not by chance"""


class Way(StrEnum):
    """How ratings deviate from the predictions; if several apply, the first in this order is reported."""

    LOWER = "lower"
    """users rate lower than predicted"""
    HIGHER = "higher"
    WIDER = "wider"
    """users disagree more than predicted: theta is too small"""
    NARROWER = "narrower"


@dataclass(frozen=True)
class CheckRules:
    """Constants of the check.

    least_ratings     ratings that make a day a witness
    tolerance         bias that is accepted, on a scale of 1 to 5; on others it is as large a part of the scale
    spread_tolerance  relative deviation of the spread that is accepted
    allowance         evidence of a day that is not counted, standard deviations
    clip              largest evidence of a day, standard deviations
    limit             sum of evidence above which the model is off
    usual             standard deviation of the bias between days that is assumed at first, as the tolerance
    spread_usual      the same of the spread
    usual_days        days that these assumptions are worth
    memory            days over which it is learnt
    least_days        witnesses before the model can be said to hold
    stale_days        days without a witness after which nothing is said any more
    raises            ValueError if a constant is out of range
    """

    least_ratings: int = 20
    tolerance: float = 0.1
    spread_tolerance: float = 0.1
    allowance: float = 0.5
    clip: float = 4.0
    limit: float = 6.0
    usual: float = 0.1
    spread_usual: float = 0.05
    usual_days: int = 20
    memory: int = 60
    least_days: int = 5
    stale_days: int = 30

    def __post_init__(self) -> None:
        if min(self.least_ratings, self.usual_days, self.memory, self.least_days, self.stale_days) < 1:
            raise ValueError(f"{self}: expected numbers of ratings and days of at least 1")
        if not min(self.tolerance, self.spread_tolerance, self.usual, self.spread_usual) > 0:
            raise ValueError(f"{self}: expected tolerances and usual deviations above 0")
        if not 0 < self.allowance < self.clip:
            raise ValueError(f"{self}: expected 0 < allowance < clip")
        if not 0 < self.limit < np.inf:
            raise ValueError(f"{self}: expected limit above 0")


class Witness(NamedTuple):
    """Deviations from the prediction, one a day; (D, ...), of several services at once if there are more axes.

    deviation  how much larger than predicted, in the unit of the tolerance
    chance     its variance by chance
    counts     whether there are enough ratings; the other columns do not matter where there are not
    tolerance  deviation that is accepted
    usual      standard deviation between days that is assumed at first
    """

    deviation: Floats
    chance: Floats
    counts: Flags
    tolerance: float
    usual: float


class Course(NamedTuple):
    """What the CUSUMs of one deviation say after each day, (D, ..., 2): of a larger value, and of a smaller one.

    off    whether the limit has been exceeded and S has not been 0 since
    since  index of the first day of the deviation: the one after S was last 0
    """

    off: Flags
    since: Ints


@dataclass(frozen=True)
class ModelCheck:
    """Whether the model of a service holds, after the last of some days.

    way        how it is off; None if it is not
    since      number of the day on which the deviation began; None if the model is not off
    witnesses  number of days with enough ratings
    """

    state: ModelState
    way: Way | None
    since: int | None
    witnesses: int


NOTHING = ModelCheck(ModelState.TOO_FEW, None, None, 0)


def check(
    days: Ints, sums: DaySums, today: int, scale: Scale = ACR5, rules: CheckRules | None = None
) -> ModelCheck:
    """Whether the model holds, by the days that have closed.

    days   (D,) numbers of the days, ascending: all with predictions by the constants that are in force
    sums   of these days, stacked
    today  number of the day that has not closed yet
    """
    rules = rules or CheckRules()
    if not len(days):
        return NOTHING
    biased = of_bias(sums, scale, rules)
    courses = follow(biased, rules), follow(of_spread(sums, rules), rules)
    (higher, lower), (wider, narrower) = (each.off[-1] for each in courses)
    sinces = np.concatenate([each.since[-1] for each in courses])[[1, 0, 2, 3]]
    witnesses = int(biased.counts.sum())
    stale = not witnesses or today - days[biased.counts][-1] > rules.stale_days
    for way, off, since in zip(Way, (lower, higher, wider, narrower), sinces, strict=True):
        if off and not stale:
            return ModelCheck(ModelState.OFF, way, int(days[since]), witnesses)
    enough = witnesses >= rules.least_days and not stale
    return ModelCheck(ModelState.HOLDS if enough else ModelState.TOO_FEW, None, None, witnesses)


def of_bias(sums: DaySums, scale: Scale, rules: CheckRules) -> Witness:
    """The mean residuals of stacked days, as if the scale were 1 to 5."""
    unit = (ACR5.high - ACR5.low) / (scale.high - scale.low)
    ratings = sums.answered.sum(axis=-1)
    residuals = floating(sums.residuals).sum(axis=-1) * unit
    chance = floating(sums.variances).sum(axis=-1) * unit**2
    return Witness(*_relative(residuals, chance, ratings, ratings, rules), rules.tolerance, rules.usual)


def of_spread(sums: DaySums, rules: CheckRules) -> Witness:
    """The relative deviation of squared residuals of stacked days, conditions in the middle of the scale."""
    squares, variances, spreads = (
        floating(each).sum(axis=-1) for each in (sums.middle_squares, sums.middle_variances, sums.middle_spreads)
    )
    columns = _relative(squares - variances, spreads, variances, sums.middle.sum(axis=-1), rules)
    return Witness(*columns, rules.spread_tolerance, rules.spread_usual)


def _relative(
    deviation: Floats, variance: Floats, divisor: Floats | Counts, ratings: Counts, rules: CheckRules
) -> tuple[Floats, Floats, Flags]:
    """The columns of a Witness: sums over the ratings of a day, as a part of the divisor."""
    counts = ratings >= rules.least_ratings
    each = np.where(counts, divisor, 1)
    return deviation / each, variance / each**2, counts


def follow(witness: Witness, rules: CheckRules) -> Course:
    """The CUSUMs of a deviation, day by day; a day without enough ratings changes nothing."""
    shape = witness.deviation.shape
    total, off, since = (
        np.zeros((*shape[1:], 2)),
        np.zeros((*shape[1:], 2), np.bool_),
        np.zeros((*shape[1:], 2), np.int64),
    )
    course = Course(np.zeros((*shape, 2), np.bool_), np.zeros((*shape, 2), np.int64))
    between = Between(shape[1:], witness.usual, rules)
    columns = zip(witness.deviation, witness.chance, witness.counts, strict=True)
    for day, (deviation, chance, counts) in enumerate(columns):
        # A day without ratings has no error by chance, and the one between days may be learnt to be 0.
        error = np.sqrt(np.where(counts, chance + between.variance, 1))[..., None]
        evidence = np.clip((deviation[..., None] * SIDES - witness.tolerance) / error, -rules.clip, rules.clip)
        moved = np.maximum(total + evidence - rules.allowance, 0)
        since = np.where(counts[..., None] & (total == 0) & (moved > 0), day, since)
        off = np.where(counts[..., None], (off & (moved > 0)) | (moved > rules.limit), off)
        # Evidence beyond the limit is not kept: the end of a long deviation is found as early as of a short one.
        total = np.where(counts[..., None], np.minimum(moved, np.where(off, rules.limit, np.inf)), total)
        course.off[day], course.since[day] = off, since
        between.learn(deviation, chance, counts)
    return course


SIDES = np.array([1.0, -1.0])


class Between:
    """The variance between days beyond chance, learnt; an array of this shape.

    It is a running mean over `memory` days, of the squared distance from the mean of the witnesses before. With k
    of them, this distance has (k + 1) / k times the variance of a witness. The influence of one day is limited: a
    lasting change begins with a large distance.
    """

    def __init__(self, shape: tuple[int, ...], usual: float, rules: CheckRules) -> None:
        self._rules = rules
        self.variance = np.full(shape, usual**2)
        self._mean, self._mean_chance = np.zeros(shape), np.zeros(shape)
        self._seen = np.zeros(shape, np.int64)

    def learn(self, deviation: Floats, chance: Floats, counts: Flags) -> None:
        """Add one day."""
        rules = self._rules
        before = np.minimum(self._seen, rules.memory)
        by_chance = (before * chance + self._mean_chance) / (before + 1)
        excess = (deviation - self._mean) ** 2 * before / (before + 1) - by_chance
        most = rules.clip * (self.variance + by_chance)
        step = (np.clip(excess, -most, most) - self.variance) / np.minimum(
            self._seen + rules.usual_days, rules.memory
        )
        self.variance = np.where(counts & (before > 0), np.maximum(self.variance + step, 0), self.variance)
        self._mean, self._mean_chance = (
            np.where(counts, old + (new - old) / (before + 1), old)
            for new, old in ((deviation, self._mean), (chance, self._mean_chance))
        )
        self._seen = self._seen + counts
