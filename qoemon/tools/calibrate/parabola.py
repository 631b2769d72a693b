"""The SOS parameter as the slope of a parabola, and the standard error of that slope.

The hypothesis is one parabola for all conditions of a service, s² = θ (H - m)(m - L), where m is the mean of the
ratings of a condition and s² their variance, on a scale from L to H. θ is its least-squares slope: the sum of P s²
over the sum of P², with P the parabola at m.

As m is the mean of n ratings only, that slope is too large: .250 instead of .238 with 6 ratings a condition. Three
causes are removed; with D = H + L - 2m:

- E[(H - m)(m - L)] is too small by Var(m) = σ²/n. P has s²/n added, which makes it unbiased.
- Errors of P and of s² are correlated: Cov(P, s²) = D κ₃/n + 2σ⁴/(n (n - 1)).
- The square of an error is positive: Var(P) = D²σ²/n + 2σ⁴/(n (n - 1)).

The last two are exact for independent ratings of any distribution. Their estimates are subtracted to first order:
the ratio of the corrected sums would be unstable where all conditions are near the ends of the scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.config.studies.ratings import Moments
    from qoemon.core.arrays import Floats


class CentralMoments(NamedTuple):
    """What theta and its standard error depend on: moments of C conditions, (..., C) each.

    size    ratings; conditions with fewer than two have no variance, and do not count
    mean    scale points
    second, third, fourth  central moments (ddof 0), scale points to that power
    """

    size: Floats
    mean: Floats
    second: Floats
    third: Floats
    fourth: Floats


def moments(ratings: Sequence[Floats]) -> CentralMoments:
    """The moments of each condition, (C,), from its ratings, (n,)."""
    rows = [sample_moments(np.ones((1, len(each))), each)[:, 0, 0] for each in ratings]
    return CentralMoments(*np.array(rows).reshape(-1, 5).T)


def sample_moments(times: Floats, values: Floats) -> Floats:
    """Moments of B samples of a condition, (5, B, 1).

    times   (B, n) how often each value is in the sample
    values  (n,)
    """
    # Relative to the first value, so that equal values have a variance of exactly 0.
    count, shifted = times.sum(axis=1), values - values[0]
    mean, square, cube, fourth = (times @ shifted**power / count for power in (1, 2, 3, 4))
    second = np.maximum(square - mean**2, 0)
    third = cube - 3 * mean * square + 2 * mean**3
    fourth = fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4
    return np.array([count, mean + values[0], second, third, fourth])[:, :, None]


def beta_moments(study: Moments) -> CentralMoments:
    """The moments of a study that has means and variances only: the higher ones are those of a Beta with these."""
    size, span = study.size.astype(np.float64), study.high - study.low
    mean = (study.mos - study.low) / span
    largest = mean * (1 - mean)
    second = np.where(size > 1, np.nan_to_num(study.variance), 0) * (size - 1) / size / span**2
    # A sample may have more variance than any Beta; then its higher moments are those of users at both ends.
    theta = np.clip(np.divide(second, largest, out=np.zeros_like(second), where=largest > 0), 0, 1)
    third = 2 * largest * (1 - 2 * mean) * theta**2 / (1 + theta)
    excess = 6 * theta**3 * largest * (1 - largest * (5 + theta)) / ((1 + theta) * (1 + 2 * theta))
    fourth = 3 * (theta * largest) ** 2 + excess
    return CentralMoments(size, study.mos, second * span**2, third * span**3, fourth * span**4)


def slope(of: CentralMoments, low: float, high: float) -> Floats:
    """Estimated SOS parameter of studies, (...); NaN where all users agree on an end of the scale.

    Conditions with fewer than two ratings do not count.

    source  Hossfeld, Schatz, Egger 2011, SOS: The MOS is not enough!; its bias is corrected, see above
    """
    usable = of.size > 1
    n = np.where(usable, of.size, 2)
    variance = np.where(usable, of.second * n / (n - 1), 0)
    parabola = np.where(usable, (high - of.mean) * (of.mean - low) + variance / n, 0)
    steepness = high + low - 2 * of.mean
    # The third cumulant of two ratings is 0, whatever they are: it has no unbiased estimate.
    cubed = np.where(n > 2, of.third * n**2 / ((n - 1) * np.maximum(n - 2, 1)), 0)
    fourth_power = variance**2 * (n - 1) / (n + 1)  # σ⁴, unbiased if the excess kurtosis is 0
    covariance = steepness * cubed / n + 2 * fourth_power / (n * (n - 1))
    # D² s²/n + 2σ⁴/(n (n - 1)), less the bias of D² s²: 4σ⁴/n - 4 D κ₃/n.
    spread = steepness**2 * variance / n + 4 * steepness * cubed / n**2 - 2 * fourth_power / n**2
    with np.errstate(invalid="ignore"):
        square = (parabola**2).sum(axis=-1)
        theta = (parabola * variance).sum(axis=-1) / square
        bias = (np.where(usable, covariance - theta[..., None] * spread, 0)).sum(axis=-1) / square
    return np.asarray(np.maximum(theta - bias, 0))


def population_slope(of: CentralMoments, low: float, high: float) -> Floats:
    """SOS parameter of populations, (...), whose moments are known exactly; NaN where it has no effect."""
    parabola = (high - of.mean) * (of.mean - low)
    with np.errstate(invalid="ignore"):
        return np.asarray((parabola * of.second).sum(axis=-1) / (parabola**2).sum(axis=-1))


def influence(of: CentralMoments, theta: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """What theta gains by a rating of a condition, by its deviation from the mean and by the square of that.

    A rating r adds linear (r - m) + square ((r - m)² - σ²) to theta: through the parabola at m, and through s².

    returns  linear and square, (..., C) each
    """
    usable = of.size > 1
    parabola = (high - of.mean) * (of.mean - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(usable, 1 / of.size, 0) / np.where(usable, parabola**2, 0).sum(axis=-1, keepdims=True)
        linear = (of.second - 2 * theta[..., None] * parabola) * (high + low - 2 * of.mean) * each
        return linear, parabola * each


def standard_error(of: CentralMoments, theta: Floats, low: float, high: float) -> Floats:
    """Standard error of the SOS parameter of studies, (...), by the delta method, for independent ratings."""
    linear, square = influence(of, theta, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = linear**2 * of.second + 2 * linear * square * of.third + square**2 * (of.fourth - of.second**2)
        # Rounding may leave -1e-16 where all users agree.
        total = np.where(of.size > 1, np.maximum(each, 0) * of.size**2 / (of.size - 1), 0).sum(axis=-1)
    return np.asarray(np.sqrt(total))
