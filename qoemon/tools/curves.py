"""The curves of a system of users: how their MOS, opinions and ratings are distributed, and how theta matters.

They follow Hossfeld et al. 2020, arXiv:2003.12742, Figures 3 to 5; everything about ratings comes from the core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import RatingModel

if TYPE_CHECKING:
    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.plan.plan import Service

POINTS = 161
"""Opinions at which a CDF is computed."""

THETAS = np.linspace(0.02, 0.98, 97)
"""SOS parameters at which GoB and PoW are computed."""


@dataclass(frozen=True)
class Curves:
    """The distributions of the users of a system.

    opinions     (E,) scale points
    mos_cdf      (E,) share of the users with at most this MOS
    opinion_cdf  (E,) share of the opinions up to this, before they are rounded; None if ratings are discrete
    rating_cdf   (K,) share of each rating or a lower one, of the ratings (K,)
    thetas, gob, pow  (T,) share of ratings good or better, poor or worse, with Beta ratings of each theta
    """

    opinions: Floats
    mos_cdf: Floats
    opinion_cdf: Floats | None
    ratings: Floats
    rating_cdf: Floats
    thetas: Floats
    gob: Floats
    pow: Floats


def curves(counts: Counts | Floats, service: Service) -> Curves:
    """The curves of a system with these conditions, (B,) counts in the bins of the service."""
    scale, used = service.scale, counts > 0
    mos, weights = service.rated_at[used], counts[used] / counts.sum()
    opinions = np.linspace(scale.low, scale.high, POINTS)
    shares = service.kernel().distribution(counts[None]).ratings[0]
    beta = service.model is RatingModel.BETA
    gob, pow_ = np.array([_shares(mos, weights, replace(service, theta=float(theta))) for theta in THETAS]).T
    return Curves(
        opinions=opinions,
        mos_cdf=mos_cdf(mos, weights, opinions),
        opinion_cdf=weights @ rating_cdf(mos, service.theta, opinions, service.model, scale) if beta else None,
        ratings=scale.ratings.astype(np.float64),
        rating_cdf=np.cumsum(shares),
        thetas=THETAS,
        gob=gob,
        pow=pow_,
    )


def mos_cdf(mos: Floats, weights: Floats, opinions: Floats) -> Floats:
    """(E,) share of the conditions with at most each of the opinions; mos and weights, whose sum is 1, are (B,)."""
    return np.asarray((mos[None, :] <= opinions[:, None]) @ weights)


def _shares(mos: Floats, weights: Floats, service: Service) -> tuple[float, float]:
    """GoB and PoW with Beta ratings."""
    scale = service.scale
    cuts = np.array([scale.poor + 0.5, scale.good - 0.5])
    poor, below_good = weights @ rating_cdf(mos, service.theta, cuts, RatingModel.BETA, scale)
    return 1 - float(below_good), float(poor)
