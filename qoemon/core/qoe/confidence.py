"""Confidence intervals for a share of ratings, or a MOS, estimated from a limited number of users.

An estimate for a window is the mean of some g over its users: the probability that a user in this condition rates
good, or poor, or the MOS itself. The users are a sample of a population; a bound is the most extreme mean of g with
which a population could, at the given confidence, have produced this sample.

Where impairments are rare, the spread of g in the sample underestimates that of the population: ten users without a
stall do not rule out an outage that affects one in twenty. So the spread for each bound includes one more user,
the one who increases it most: for the upper bound one at the upper end of the scale, for the lower bound one at the
lower end.
"""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.qoe.special import ndtri


def interval(
    mean: Floats,
    square: Floats,
    users: Counts | Floats,
    confidence: float = 0.95,
    low: float = 0.0,
    high: float = 1.0,
) -> Floats:
    """Confidence interval of E[g] for each of G groups.

    mean        (G,) mean of g over the observations, low to high
    square      (G,) mean of its square
    users       (G,) effective number of users behind the observations, see effective_users()
    confidence  coverage probability, 0 < confidence < 1
    low, high   range of g: 0 and 1 for a probability, the ends of the scale for a MOS
    returns     (G, 2) lower and upper, low <= lower <= mean <= upper <= high; NaN without users
    raises      ValueError if confidence is out of range, NaN included
    source      Wilson 1927, with the continuity correction, for N / phi users. phi is the share of the spread
                mu (1 - mu) of 0/1 answers that g has, so that N / phi is the effective sample size of surveys
                (Korn and Graubard 1998). Computing phi over N + 1 users, the last at the far end, is our own
                addition: docs/uncertainty.md
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected 0 < confidence < 1")
    z, span = float(ndtri((1 + confidence) / 2)), high - low
    mean = np.clip(mean, low, high)  # a mean of products may be off the scale by 1e-16
    variance = np.maximum(square - mean**2, 0) / span**2
    unit = (mean - low) / span
    count = np.where(users > 0, users, np.nan)
    lower = high - span * _upper((high - mean) / span, variance, count, z)
    upper = low + span * _upper(unit, variance, count, z)
    # The formulas imply these limits as well, except for rounding.
    return np.column_stack([np.clip(lower, low, mean), np.clip(upper, mean, high)])


def effective_users(observations: Counts | Floats, users: Counts | Floats, squares: Counts | Floats) -> Floats:
    """(G,) number of users with a single observation each whose mean would be as uncertain as that of these.

    It is the number of users if all have the same number of observations. It is exact where the observations of a
    user are alike; where they differ, they tell more, and the bounds are wider than necessary.

    observations  (G,)
    users         (G,) distinct sessions behind them, the most that there can be
    squares       (G,) sum over sessions of the square of their observations; 0 if unknown: then the users count
    source        Kish 1965, Survey Sampling
    """
    known = squares > 0
    effective = np.divide(observations.astype(np.float64) ** 2, squares, out=users.astype(np.float64), where=known)
    return np.minimum(np.maximum(effective, np.minimum(users, 1)), users)


def lower_bound_of_many(mean: Floats, square: Floats, users: Counts | Floats, error: float) -> Floats:
    """Value that E[g] is at least, wrong with probability `error`, for errors as small as 1e-10.

    There Wilson's bound is wrong far more often than it says where g is rarely 1, and that of the arcsine where it
    mostly is: the lower of the two is used. Users like those of the sample, with as many more at 0 as bring their
    mean down to p, have phi = (r - p) / (1 - p) with r = square / mean; phi is taken to be r, its most. The phi of
    the sample, which interval() uses, is too small in those rare samples of which nearly all users are at 1.

    mean, square  (G,) mean of g, 0 to 1, over the observations, and of its square
    users         (G,) effective number of users behind the observations
    error         0 < error <= 0.5
    returns       (G,) 0 <= bound <= mean; NaN without users
    raises        ValueError if error is out of range, NaN included
    source        Wilson 1927; Anscombe 1948 (the arcsine); the test compares with exact binomial tails
    """
    if not 0 < error <= 0.5:
        raise ValueError(f"error is {error}, expected 0 < error <= 0.5")
    z, mean = -float(ndtri(error)), np.clip(mean, 0, 1)
    ratio = np.divide(square, mean, out=np.ones_like(mean), where=mean > 0)
    n = np.where(users > 0, users, np.nan) / np.clip(ratio, mean, 1)
    rest = np.minimum(1 - mean + (1 - mean) / (2 * n), 1)
    return np.asarray(np.clip(1 - np.maximum(_wilson(rest, n, z), _arcsine(rest, n, z)), 0, mean))


def _upper(mean: Floats, variance: Floats, users: Floats, z: float) -> Floats:
    """Wilson's upper bound on [0, 1] for the effective number of users."""
    n = users / _spread_share(mean, variance, users)
    # Half a user: Wilson's own bounds of rare events miss up to 16 % of the time, all on one side.
    return _wilson(np.minimum(mean + mean / (2 * n), 1), n, z)


def _wilson(mean: Floats, n: Floats, z: float) -> Floats:
    """Wilson's upper bound of a share, for n users."""
    centre = mean + z**2 / (2 * n)
    reach = z * np.sqrt(mean * (1 - mean) / n + (z / (2 * n)) ** 2)
    return np.asarray((centre + reach) / (1 + z**2 / n))


def _arcsine(mean: Floats, n: Floats, z: float) -> Floats:
    """Upper bound of a share, the arcsine of whose root has a standard deviation of 1 / (2 sqrt(n))."""
    return np.asarray(np.sin(np.minimum(np.arcsin(np.sqrt(mean)) + z / (2 * np.sqrt(n)), np.pi / 2)) ** 2)


def _spread_share(mean: Floats, variance: Floats, users: Floats) -> Floats:
    """phi, in (0, 1], with one more user at 1: the variance divided by that of 0/1 answers of the same mean.

    Numerator and denominator are divided by 1 - mean. That leaves 0/0 where all users are at 1. Its limit follows
    from variance / (1 - mean) <= mean, with equality for 0/1 answers: these have phi = 1 for any number of users.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.fmin(variance / (1 - mean), mean)
    return np.asarray(((users + 1) * ratio + 1 - mean) / (users * mean + 1))
