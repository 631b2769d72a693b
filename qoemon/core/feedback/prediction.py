"""What the rating model predicts for one rating: its mean, its spread, and how well a rating agrees with it.

A rating is an opinion that is rounded to the scale, so the mean rating at a condition is not its MOS, which is the
mean of the opinions: with theta .3 it is .02 more at a MOS of 3.5, and .04 less at 2. Residuals are taken from the
mean rating.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5, Scale

LEAST_VARIANCE = 0.02
"""Floor of the predicted variance on a scale of 1 to 5: where nothing stalls, all users are predicted to rate 5,
and a single 4 would be impossible."""


@dataclass(frozen=True)
class Predicted:
    """The prediction for a rating at each of B conditions, scale points and their squares.

    mos       (B,) MOS of the condition
    shares    (B, K) probability of each rating
    mean      (B,) mean rating
    variance  (B,) variance of a rating
    spread    (B,) variance of the square of a rating's distance from the mean
    rank      (B,) expectation of the ranked probability score
    good      (B,) GoB: probability of an opinion that is rated good or better
    """

    mos: Floats
    shares: Floats
    mean: Floats
    variance: Floats
    spread: Floats
    rank: Floats
    good: Floats

    def at(self, conditions: Ints | Flags) -> Predicted:
        """The predictions at some of the conditions."""
        return Predicted(**{field.name: getattr(self, field.name)[conditions] for field in fields(self)})


def predicted(
    mos: Floats,
    theta: float,
    scale: Scale = ACR5,
    model: RatingModel = RatingModel.BETA,
    study: EmpiricalRatings | None = None,
) -> Predicted:
    """The prediction for a rating at conditions with this MOS.

    mos     (B,) scale points
    raises  ValueError as rating_cdf()
    source  Hossfeld et al. 2020, arXiv:2003.12742, (10)-(13) and (20); see rating_cdf()
    """
    cdf = rating_cdf(mos, theta, scale.cuts, model, scale, study)
    # Opinions at the very low end belong to the lowest rating, so the first difference starts from 0.
    shares = np.diff(cdf[:, 1:], axis=1, prepend=0)
    mean = shares @ scale.ratings
    square = (scale.ratings - mean[:, None]) ** 2
    variance = np.sum(shares * square, axis=1)
    upto = cdf[:, 1:-1]
    return Predicted(
        mos=mos,
        shares=shares,
        mean=mean,
        variance=variance,
        spread=np.sum(shares * (square - variance[:, None]) ** 2, axis=1),
        rank=np.sum(upto * (1 - upto), axis=1),
        good=1 - cdf[:, scale.good - scale.low],
    )


def least_variance(scale: Scale) -> float:
    """LEAST_VARIANCE on this scale."""
    return LEAST_VARIANCE * ((scale.high - scale.low) / (ACR5.high - ACR5.low)) ** 2


def ranked_score(shares: Floats, at: Ints) -> Floats:
    """(N,) ranked probability score of each rating: 0 if it was predicted with certainty, more if it is far off.

    It is the sum over all ratings but the highest of the squared difference between the predicted and the observed
    cumulative share; it is not divided by their number.

    shares  (N, K) predicted probability of each rating
    at      (N,) position of the rating on the scale, from 0
    source  Epstein 1969, A scoring system for probability forecasts of ranked categories; Murphy 1971
    """
    observed = np.arange(shares.shape[1] - 1) >= at[:, None]
    return np.asarray(np.sum((np.cumsum(shares, axis=1)[:, :-1] - observed) ** 2, axis=1))
