"""Refits the constants of a running service to the ratings of its users: a proposal, which is never applied.

Users who rate are those who want to, and their ratings come in uneven conditions: many without a stall, few with
long ones. So the constants stay near those in force (fit.fit_near()), and the result is proposed only if it
predicts the ratings of days that it has not seen better than the constants in force.

First the constants are fitted to the mean ratings, then theta to how far ratings are from these means. A rating is
an opinion that was rounded, so its mean is not the MOS; the difference is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq

from qoemon.core.feedback.day import is_middle
from qoemon.core.feedback.prediction import Predicted, least_variance, predicted, ranked_score
from qoemon.tools.calibrate.fit import fit_near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.core.arrays import Flags, Floats, Ints
    from qoemon.core.qoe.mapping import QosMapping

FOLDS = 5
LEAST_BETTER = 0.8
"""Share of the folds in which the new constants have to be better."""

ROUNDS = 2
"""Fits of the constants: the second subtracts the effect of rounding at the MOS of the first."""

PRIOR_RATINGS = 100
"""Ratings that the theta in force is worth."""

LEAST_THETA, MOST_THETA = 0.01, 0.9
"""Range of theta that is searched."""


@dataclass(frozen=True)
class Rated:
    """Ratings with the conditions of their sessions, N rows; equal ones may be one row.

    axes    (N,) each: the arguments of the mapping
    rating  (N,) whole numbers on its scale
    count   (N,) how many users gave this rating
    day     (N,) number of the day
    """

    axes: tuple[Floats, ...]
    rating: Ints
    count: Ints
    day: Ints

    def of(self, rows: Flags) -> Rated:
        """Some of the rows."""
        axes = tuple(axis[rows] for axis in self.axes)
        return replace(self, axes=axes, rating=self.rating[rows], count=self.count[rows], day=self.day[rows])


class Model(NamedTuple):
    """What is needed to predict a rating: a mapping with its constants, and theta, with rounded Beta ratings."""

    mapping: QosMapping
    theta: float

    def predict(self, axes: Sequence[Floats]) -> Predicted:
        """The prediction in these conditions, (N,)."""
        mos, index = np.unique(self.mapping(*axes), return_inverse=True)
        return predicted(mos, self.theta, self.mapping.scale).at(index)


@dataclass(frozen=True)
class Refit:
    """Constants fitted to ratings, beside those in force, and how both predict days that were held out.

    after    fitted to all days
    ratings, days  their number
    folds, better  parts of the days that were held out in turn, and those in which new constants were better
    gain     mean over days of how much smaller the ranked probability score was
    error    its standard error over days; NaN with one day
    """

    before: Model
    after: Model
    ratings: int
    days: int
    folds: int
    better: int
    gain: float
    error: float

    @property
    def proposed(self) -> bool:
        """Whether the new constants are better beyond chance; otherwise keep those in force."""
        return self.folds == FOLDS and self.better >= ceil(LEAST_BETTER * FOLDS) and self.gain > self.error


def refit(rated: Rated, before: Model, inputs: Sequence[str] = (), only: Sequence[str] = ()) -> Refit:
    """Refit constants and theta to ratings; with fewer than FOLDS days nothing is proposed.

    inputs  names of the mapping's inputs that the configuration chose; () for a mapping with its own
    only    the constants to fit, the others keep their values; all if empty
    raises  StudyError if the mapping has no such constants, or they cannot be fitted; ValueError without a rating
    """
    days = np.unique(rated.day[rated.count > 0])
    if not len(days):
        raise ValueError("no ratings to fit, expected at least one")
    folds = min(FOLDS, len(days))
    gain = np.zeros(len(days))
    better = 0
    for fold in range(folds if folds > 1 else 0):
        held_out = np.isin(rated.day, days[fold::folds])
        after = fitted(rated.of(~held_out), before, inputs, only)
        of_days, size = _gains(rated.of(held_out), before, after, days[fold::folds])
        gain[fold::folds] = of_days
        better += float(of_days @ size) > 0
    error = float(gain.std(ddof=1) / sqrt(len(days))) if len(days) > 1 else nan
    ratings = int(rated.count.sum())
    after = fitted(rated, before, inputs, only)
    return Refit(before, after, ratings, len(days), folds, better, float(gain.mean()), error)


def fitted(rated: Rated, before: Model, inputs: Sequence[str] = (), only: Sequence[str] = ()) -> Model:
    """The constants that these ratings make likely, given those of before, and then theta."""
    mapping, at = before.mapping, before.predict(rated.axes)
    noise = sqrt(max(_mean((rated.rating - at.mean) ** 2, rated), least_variance(mapping.scale)))
    for _ in range(ROUNDS):
        opinion = rated.rating - (at.mean - at.mos)
        mapping = fit_near(before.mapping, inputs, rated.axes, opinion, rated.count.astype(np.float64), noise, only)
        at = Model(mapping, before.theta).predict(rated.axes)
    return Model(mapping, _theta(rated, mapping, before.theta))


def _theta(rated: Rated, mapping: QosMapping, before: float) -> float:
    """The theta whose variances are those of the ratings, drawn towards the one of before."""
    inside = rated.of(is_middle(mapping(*rated.axes), mapping.scale))
    ratings = int(inside.count.sum())
    if not ratings:
        return before

    def missing(theta: float) -> float:
        """How much larger the predicted variance is than that of the ratings."""
        at = Model(mapping, theta).predict(inside.axes)
        return _mean(at.variance - (inside.rating - at.mean) ** 2, inside)

    if missing(LEAST_THETA) >= 0:
        found = LEAST_THETA
    elif missing(MOST_THETA) <= 0:
        found = MOST_THETA
    else:
        found = float(brentq(missing, LEAST_THETA, MOST_THETA, xtol=1e-4))
    return before + (found - before) * ratings / (ratings + PRIOR_RATINGS)


def _gains(rated: Rated, before: Model, after: Model, days: Ints) -> tuple[Floats, Floats]:
    """(D,) how much smaller the mean ranked probability score of each day is, and its number of ratings."""
    position = rated.rating - before.mapping.scale.low
    old, new = (ranked_score(each.predict(rated.axes).shares, position) for each in (before, after))
    at, count = np.searchsorted(days, rated.day), rated.count.astype(np.float64)
    size = np.asarray(np.bincount(at, count, len(days)), np.float64)
    return np.bincount(at, (old - new) * count, len(days)) / size, size


def _mean(numbers: Floats, rated: Rated) -> float:
    return float(numbers @ rated.count / rated.count.sum())
