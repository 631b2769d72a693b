"""Sums over conditions from which MOS, SOS, GoB, PoW and their bounds follow: ten numbers instead of a histogram.

They are linear in the histogram of conditions, so the sums of any groups and rating intervals add up to those of
all of them together: a history keeps the sums, and each time range and each roll-up is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Floats, Ints
from qoemon.core.qoe.confidence import effective_users, interval
from qoemon.core.qoe.scale import Scale

MOMENTS = 5
"""Columns after those of the ratings: MOS, square of the opinion, and the squares of MOS, GoB and PoW."""


def width(scale: Scale) -> int:
    """Number of columns of the sums: K ratings and the moments."""
    return len(scale.ratings) + MOMENTS


@dataclass(frozen=True)
class RatedSums:
    """The QoE behind some sums; without observations, NaN.

    observations, users  (N,) conditions rated, and distinct sessions behind them
    mos, sos             (N,) scale points
    gob, pow             (N,) share of ratings good or better, poor or worse
    ratings              (N, K) share of each rating
    mos_bounds, gob_bounds, pow_bounds  (N, 2) confidence interval of each
    """

    observations: Ints
    users: Ints
    mos: Floats
    sos: Floats
    gob: Floats
    pow: Floats
    ratings: Floats
    mos_bounds: Floats
    gob_bounds: Floats
    pow_bounds: Floats


def rated(
    sums: Floats, observations: Ints, users: Ints, squares: Floats, scale: Scale, confidence: float
) -> RatedSums:
    """The QoE of N sums of RatingKernel.sums().

    sums                 (N, C) as of width()
    observations, users  (N,) conditions, and distinct sessions behind them
    squares              (N,) sum over these sessions of the square of their conditions; 0 if unknown
    source               Hossfeld et al. 2020, arXiv:2003.12742, (3), (5), (14); GoB and PoW by (20), (21)
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / observations[:, None]
    ratings, (mos, opinion_square, *of_squares) = mean[:, :-MOMENTS], mean[:, -MOMENTS:].T
    gob = ratings[:, scale.ratings >= scale.good].sum(axis=1)
    pow_ = ratings[:, scale.ratings <= scale.poor].sum(axis=1)
    effective = effective_users(observations, users, squares)
    return RatedSums(
        observations=observations,
        users=users,
        mos=mos,
        # Rounding may leave a variance of -1e-6 where all agree.
        sos=np.sqrt(np.maximum(opinion_square - mos**2, 0)),
        gob=gob,
        pow=pow_,
        ratings=ratings,
        mos_bounds=interval(mos, of_squares[0], effective, confidence, scale.low, scale.high),
        gob_bounds=interval(gob, of_squares[1], effective, confidence),
        pow_bounds=interval(pow_, of_squares[2], effective, confidence),
    )
