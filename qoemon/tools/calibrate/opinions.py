"""The SOS parameter of opinions, from that of the ratings into which they were rounded.

The daemon predicts opinions, which are continuous, and rounds them to ratings (core/qoe/distribution.py). Whole
ratings of people have been rounded already, which adds to their variance. With their theta in the configuration,
the daemon would add it twice, and predict too many ratings at the ends of the scale. So the configuration gets the
theta of opinions: with it, the rounded Beta of the core has the theta that was observed.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.config.studies.ratings import Moments, Ratings
    from qoemon.core.arrays import Floats

MOST_STEPS = 10
"""Ratings on more steps, such as those of a slider, are taken for opinions: rounding adds little variance."""

LEAST, MOST = 1e-4, 1 - 1e-4
"""Range of the theta of opinions that is searched."""


def is_rounded(study: Ratings | Moments) -> bool:
    """Whether the ratings are opinions that were rounded: all whole, on a scale of few steps with whole ends."""
    few = study.high - study.low <= MOST_STEPS and _whole(study.low, study.high)
    ratings: Floats | Sequence[float] = getattr(study, "rating", ())
    return few and _whole(*ratings)


def scale_of(low: float, high: float) -> Scale | None:
    """The scale of the daemon between these ends, with good and poor as on 1 to 5; None if an end is not whole.

    Opinions are good above 3.5 of 1 to 5, and poor below 2.5: 62.5 and 37.5 % of the way from low to high.
    """
    if not _whole(low, high):
        return None
    span, acr = high - low, ACR5.high - ACR5.low
    good = ceil(low + span * (ACR5.good - 0.5 - ACR5.low) / acr)
    poor = floor(low + span * (ACR5.poor + 0.5 - ACR5.low) / acr)
    return Scale(int(low), int(high), good, poor)


def theta_of_opinions(theta: float, mos: Floats, scale: Scale) -> float:
    """The theta of opinions whose ratings, rounded to whole numbers, have that theta; within LEAST and MOST.

    theta  of the ratings
    mos    (C,) of the conditions, at which opinions and ratings are compared
    """
    # A condition at an end of the scale has no spread with any theta.
    inside = mos[(mos > scale.low) & (mos < scale.high)]
    if not len(inside) or rounded_theta(LEAST, inside, scale) >= theta:
        return LEAST
    if rounded_theta(MOST, inside, scale) <= theta:
        return MOST
    return float(brentq(lambda each: rounded_theta(each, inside, scale) - theta, LEAST, MOST, xtol=1e-6))


def rounded_theta(theta: float, mos: Floats, scale: Scale) -> float:
    """The theta that a study finds in ratings rounded from opinions of this theta; mos (C,) of the opinions."""
    shares = rating_shares(mos, theta, scale)
    mean = shares @ scale.ratings
    variance = shares @ scale.ratings**2 - mean**2
    parabola = (scale.high - mean) * (mean - scale.low)  # A study knows the mean of ratings only.
    weight = parabola @ parabola
    # On two or three steps, opinions that hardly differ may all be rounded to an end of the scale.
    return float(parabola @ variance / weight) if weight else 0.0


def rating_shares(mos: Floats, theta: float, scale: Scale) -> Floats:
    """(C, K) share of each rating in conditions of these MOS, (C,), as the daemon predicts Beta ratings."""
    cdf = rating_cdf(mos, theta, scale.cuts, RatingModel.BETA, scale)
    return np.diff(cdf[:, 1:], axis=1, prepend=0)


def _whole(*numbers: float) -> bool:
    return all(float(number).is_integer() for number in numbers)
