"""Simulated studies whose SOS parameter is known exactly.

Users have Beta opinions, which are rounded to 1..5 as in the core. Rounding changes the variance, so the theta of
the ratings is not that of the opinions: it is the slope for the exact means and variances of their distribution.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from qoemon.config.studies.ratings import Ratings
from qoemon.core.arrays import Floats
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.opinions import rating_shares
from qoemon.tools.calibrate.parabola import CentralMoments, population_slope

LOW, HIGH = float(ACR5.low), float(ACR5.high)
WORST, BEST = 1.3, 4.8
"""Range of the MOS of the conditions, scale points."""

BIAS, TEMPER = 0.5, 0.4
"""Standard deviations over users: of their own bias, scale points, and of the logarithm of their own theta."""


class Simulated(NamedTuple):
    """A study, and the SOS parameter of the population that it is drawn from."""

    ratings: list[Floats]
    truth: float


class Panel(NamedTuple):
    """A study in which the same users rate all conditions, and the SOS parameter of their population."""

    ratings: Ratings
    truth: float


def study(theta: float, conditions: int, raters: int, rng: np.random.Generator) -> Simulated:
    """A study in which each rating comes from another user."""
    shares = rating_shares(rng.uniform(WORST, BEST, conditions), theta, ACR5)
    ratings = [rng.choice(ACR5.ratings, raters, p=each / each.sum()).astype(np.float64) for each in shares]
    return Simulated(ratings, true_theta(shares))


def panel(theta: float, conditions: int, users: int, rng: np.random.Generator) -> Panel:
    """A study of users who rate all conditions, each with a bias and a theta of his or her own."""
    mos = rng.uniform(WORST, BEST, conditions)
    shares = [
        _of_user(mos, theta, *each) for each in zip(rng.normal(size=users), rng.normal(size=users), strict=True)
    ]
    rating = 1 + (rng.random((users, conditions, 1)) > np.cumsum(shares, axis=2)[:, :, :-1]).sum(axis=2)
    user, condition = np.indices(rating.shape)
    ratings = Ratings(
        LOW, HIGH, tuple(map(str, range(conditions))), condition.ravel(), rating.ravel().astype(float), user.ravel()
    )
    return Panel(ratings, true_theta(_of_population(mos, theta)))


def _of_user(mos: Floats, theta: float, bias: float, temper: float) -> Floats:
    """(C, K) shares of the ratings of a user, whose bias and temper are given in standard deviations."""
    own_mos = np.clip(mos + BIAS * bias, LOW, HIGH)
    own_theta = float(np.clip(theta * np.exp(TEMPER * temper), 0.001, 0.999))
    return rating_shares(own_mos, own_theta, ACR5)


def _of_population(mos: Floats, theta: float) -> Floats:
    """(C, K) shares of the ratings of all users, by Gauss-Hermite quadrature over bias and temper."""
    at, weight = np.polynomial.hermite_e.hermegauss(15)
    weight = weight / weight.sum()
    grid = itertools.product(zip(at, weight, strict=True), repeat=2)
    return np.sum([a * b * _of_user(mos, theta, x, y) for (x, a), (y, b) in grid], axis=0)


def true_theta(shares: Floats) -> float:
    """The SOS parameter of ratings with these shares, (C, K)."""
    mean = shares @ ACR5.ratings
    none = np.zeros(len(shares))
    of = CentralMoments(none + 2, mean, shares @ ACR5.ratings**2 - mean**2, none, none)
    return float(population_slope(of, LOW, HIGH))
