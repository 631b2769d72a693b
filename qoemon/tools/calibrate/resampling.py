"""Confidence intervals of the SOS parameter, by resampling.

The conditions of a study were chosen; the people are a sample. If the same people rate several conditions, as is
usual, strict and lenient ones move theta in all of them: an interval of independent ratings is then 2 to 4 times
too narrow. So users are resampled whole, with all their ratings. Only where the file does not say who gave which
rating, ratings are resampled within their conditions, as if each came from another user.

Percentiles of theta alone cover too little in either case, since resampling shrinks s² by (n - 1) / n and theta
spreads more where it is larger. So the deviation in standard errors is resampled (bootstrap-t). `make calibration`
measures the coverage, and that of the rejected alternatives.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from qoemon.tools.calibrate.parabola import (
    CentralMoments,
    influence,
    moments,
    population_slope,
    sample_moments,
    slope,
    standard_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.config.studies.ratings import Ratings
    from qoemon.core.arrays import Floats

CELLS = 400_000
"""Numbers of an array while users are resampled, 3 MB: resamples are made in parts of that size."""


class Estimates(NamedTuple):
    """Theta and its standard error, of a study or of B resamples, (B,)."""

    theta: Floats
    error: Floats


def interval_of_ratings(
    ratings: Sequence[Floats], low: float, high: float, confidence: float, rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """Interval of theta if each rating came from another user, clipped to [0, 1].

    ratings  (n,) for each condition, n at least 2
    source   Efron, Tibshirani 1993, An Introduction to the Bootstrap, 12.5
    """
    observed = moments(ratings)
    theta = slope(observed, low, high)
    samples = CentralMoments(*np.concatenate([resampled(each, rng, resamples) for each in ratings], axis=2))
    thetas = slope(samples, low, high)
    return _bootstrap_t(
        Estimates(theta, standard_error(observed, theta, low, high)),
        Estimates(thetas, standard_error(samples, thetas, low, high)),
        float(population_slope(observed, low, high)),
        confidence,
    )


def interval_of_users(
    ratings: Ratings, confidence: float, rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """Interval of theta, with users resampled whole, clipped to [0, 1].

    ratings  with their users, at least two
    source   Field, Welsh 2007, Bootstrapping clustered data: the cluster bootstrap; studentised as above
    """
    panel = UserPanel(ratings)
    users = panel.users
    observed = panel.estimates(np.ones((1, users)))
    parts = [panel.estimates(times) for times in user_samples(users, panel.conditions, rng, resamples)]
    return _bootstrap_t(
        Estimates(observed.theta[0], observed.error[0]),
        Estimates(*map(np.concatenate, zip(*parts, strict=True))),
        float(population_slope(panel.moments(np.ones((1, users))), ratings.low, ratings.high)[0]),
        confidence,
    )


def resampled(ratings: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Moments of B resamples of the ratings (n,), each with n ratings; (5, B, 1)."""
    # Ratings have few distinct values, so it is cheaper to draw how often each value occurs.
    values, counts = np.unique(ratings, return_counts=True)
    return sample_moments(
        rng.multinomial(len(ratings), counts / len(ratings), size=resamples).astype(np.float64), values
    )


class UserPanel:
    """Ratings of U users in C conditions as sparse matrices (U, C): resampling users is a matrix product."""

    def __init__(self, ratings: Ratings) -> None:
        assert ratings.user is not None, "the users are known"  # noqa: S101 - for the type checker
        self.low, self.high = ratings.low, ratings.high
        distinct, user = np.unique(ratings.user, return_inverse=True)
        self.users, self.conditions = len(distinct), len(ratings.names)
        # Relative to a rating of the condition, so that equal ratings have a variance of exactly 0.
        self._origin = np.zeros(self.conditions)
        self._origin[ratings.condition] = ratings.rating
        shifted = ratings.rating - self._origin[ratings.condition]
        shape = (self.users, self.conditions)
        place = user.astype(np.int32), ratings.condition.astype(np.int32)
        self._power = [csr_array((shifted**power, place), shape) for power in range(4)]

    def moments(self, times: Floats) -> CentralMoments:
        """Moments (B, C) of samples in which each user is so many times, (B, U); the fourth ones are not known."""
        count, *sums = (np.asarray(times @ power) for power in self._power)
        mean, square, cube = (each / np.maximum(count, 1) for each in sums)
        third = cube - 3 * mean * square + 2 * mean**3
        return CentralMoments(
            count, mean + self._origin, np.maximum(square - mean**2, 0), third, np.full_like(third, np.nan)
        )

    def estimates(self, times: Floats) -> Estimates:
        """Theta and its standard error, (B,), of such samples.

        The error is that of sums over users: each has the influence of all his or her ratings together.
        """
        theta = slope(self.moments(times), self.low, self.high)
        total = (times * self.influence_of_users(times) ** 2).sum(axis=1)
        return Estimates(theta, np.sqrt(total * self.users / (self.users - 1)))

    def influence_of_users(self, times: Floats) -> Floats:
        """What each user adds to theta in such samples, (B, U)."""
        of = self.moments(times)
        linear, square = influence(of, slope(of, self.low, self.high), self.low, self.high)
        mean = of.mean - self._origin
        constant = square * (mean**2 - of.second) - linear * mean
        by_power = (constant, linear - 2 * square * mean, square)
        parts = (np.asarray(factor @ power.T) for factor, power in zip(by_power, self._power[:3], strict=True))
        return np.asarray(sum(parts))


def user_samples(users: int, conditions: int, rng: np.random.Generator, resamples: int) -> Iterator[Floats]:
    """How often each user is in each resample, (B, U), in parts."""
    part = max(1, CELLS // max(users, conditions))
    for start in range(0, resamples, part):
        count = min(part, resamples - start)
        yield rng.multinomial(users, np.full(users, 1 / users), size=count).astype(np.float64)


def _bootstrap_t(
    observed: Estimates, samples: Estimates, resampled_truth: float, confidence: float
) -> tuple[float, float]:
    """Lower and upper end of the interval.

    resampled_truth  theta of the population that the samples are drawn from: that of the ratings themselves
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = (samples.theta - resampled_truth) / samples.error
    # A sample in which all users agree has no standard error: its deviation counts as infinite.
    deviation[np.isnan(deviation)] = inf
    tail = (1 - confidence) / 2
    least, most = np.quantile(deviation, [tail, 1 - tail], method="closest_observation")
    with np.errstate(invalid="ignore"):
        lower, upper = observed.theta - most * observed.error, observed.theta - least * observed.error
    return clipped(float(lower), 0.0), clipped(float(upper), 1.0)


def clipped(end: float, unknown: float) -> float:
    """End of an interval, clipped to [0, 1], the range of theta; `unknown` if it is NaN."""
    return unknown if np.isnan(end) else float(np.clip(end, 0, 1))
