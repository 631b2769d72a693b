"""Figures of the feedback of one service: who answered, how far predictions are off, and how far users disagree.

A day is one witness. Ratings of a day share causes that the model does not know (a match, an update, a weekday), so
the error of a mean residual is taken from how the days differ, not from how many ratings there are: an interval
from the number of ratings holds the truth in less than half of the cases if days differ by .15 MOS.

All figures are among those who answered, and NaN below LEAST_RATINGS: then only counts are reported.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Counts, Flags, Floats
from qoemon.core.feedback.day import DaySums, floating
from qoemon.core.qoe.scale import Scale
from qoemon.core.qoe.special import stdtrit

LEAST_RATINGS = 30
"""Ratings below which no figure is reported."""


class Estimate(NamedTuple):
    """Figures with the ends of their confidence intervals; NaN where they cannot be known."""

    value: Floats
    lower: Floats
    upper: Floats


class Reliability(NamedTuple):
    """What was predicted and what users answered, by class of prediction: the points of a reliability diagram.

    ratings  (CLASSES,) number of ratings
    thumbs   (CLASSES,) number of thumbs, up and down
    mean, expected_mean  (CLASSES,) scale points
    good, expected_good  (CLASSES,) share of ratings that are good or better and of thumbs up, among both
    poor, expected_poor  (CLASSES,) share of ratings that are poor or worse
    """

    ratings: Counts
    thumbs: Counts
    mean: Floats
    expected_mean: Floats
    good: Floats
    expected_good: Floats
    poor: Floats
    expected_poor: Floats


def response_ratio(sums: DaySums) -> Floats:
    """(CLASSES,) share of those asked who rated or gave a thumb; NaN where nobody was asked."""
    return _ratio(sums.responded, sums.asked)


def bias(days: DaySums, confidence: float = 0.95) -> Estimate:
    """How much higher users rate than predicted, scale points: the mean over days of their mean residuals.

    days     stacked; a day without ratings does not count
    returns  arrays of shape (); no interval with fewer than two days
    source   Student's t over days: Student 1908; days as clusters: Cochran 1977, Sampling Techniques, 9
    """
    total = _over_days(days.residuals.sum(axis=-1)[:, None], days.answered.sum(axis=-1)[:, None], confidence)
    return Estimate(*(each[0] for each in total))


def bias_by_class(days: DaySums, confidence: float = 0.95) -> Estimate:
    """bias() of the ratings of each class of prediction, (CLASSES,)."""
    return _over_days(days.residuals, days.answered, confidence)


def reliability(sums: DaySums, scale: Scale) -> Reliability:
    """The points of the reliability diagram.

    source  Murphy, Winkler 1977, Reliability of subjective probability forecasts
    """
    ratings, thumbs = sums.answered, sums.thumbs_up + sums.thumbs_down
    shares, good, poor = floating(sums.shares), scale.ratings >= scale.good, scale.ratings <= scale.poor
    both = ratings + thumbs
    enough, enough_of_both = ratings >= LEAST_RATINGS, both >= LEAST_RATINGS
    good_answers = sums.histogram[:, good].sum(axis=1) + sums.thumbs_up
    return Reliability(
        ratings=ratings,
        thumbs=thumbs,
        mean=_ratio(sums.ratings, ratings, enough),
        expected_mean=_ratio(floating(sums.predicted), ratings, enough),
        good=_ratio(good_answers, both, enough_of_both),
        expected_good=_ratio(shares[:, good].sum(axis=1) + floating(sums.predicted_good), both, enough_of_both),
        poor=_ratio(sums.histogram[:, poor].sum(axis=1), ratings, enough),
        expected_poor=_ratio(shares[:, poor].sum(axis=1), ratings, enough),
    )


def spread_ratio(days: DaySums, confidence: float = 0.95) -> Estimate:
    """How far users disagree, as a ratio of variances: above 1, theta is too small; below 1, too large.

    The sum of squared residuals over that of predicted variances, of conditions in the middle of the scale. A bias
    increases it by its square over the variance, 7 % for .3 MOS.

    days     stacked
    returns  arrays of shape (); no interval with fewer than two days
    source   ratio of two sums over clusters: Cochran 1977, Sampling Techniques, (6.13)
    """
    squares, variances = (floating(each).sum(axis=-1) for each in (days.middle_squares, days.middle_variances))
    used = days.middle.sum(axis=-1) > 0
    if days.middle.sum() < LEAST_RATINGS:
        return Estimate(*np.full(3, np.nan))
    value = squares.sum() / variances.sum()
    apart = (squares - value * variances)[used]
    half = np.asarray(np.nan)
    if (count := len(apart)) > 1:
        error = np.sqrt(np.sum(apart**2) * count / (count - 1)) / variances.sum()
        half = error * stdtrit(count - 1, (1 + confidence) / 2)
    return Estimate(value, np.maximum(value - half, 0), value + half)


def rank_ratio(sums: DaySums) -> float:
    """The ranked probability score over its expectation: about 1 where ratings are distributed as predicted.

    It is above 1 for a bias and for a spread that is too small. NaN below LEAST_RATINGS.
    """
    enough = sums.answered.sum() >= LEAST_RATINGS
    found, expected = floating(sums.scores_of_ranks).sum(), floating(sums.expected_scores_of_ranks).sum()
    return float(found / expected) if enough and expected else float("nan")


def mean_of_days(daily: Floats, used: Flags, enough: Flags, confidence: float) -> Estimate:
    """Mean over days and its interval, (C,) each; no interval with fewer than two days.

    daily   (D, C) the figure of each day
    used    (D, C) whether the day has one
    enough  (C,) whether there are enough ratings to report anything
    """
    days = used.sum(axis=0)
    mean = _ratio(np.where(used, daily, 0).sum(axis=0), days, enough)
    squares = np.sum(np.where(used, daily - mean, 0) ** 2, axis=0)
    error = np.sqrt(_ratio(squares, days * (days - 1), days > 1))
    half = error * stdtrit(np.maximum(days - 1, 1), (1 + confidence) / 2)
    return Estimate(mean, mean - half, mean + half)


def _over_days(residuals: Counts, counts: Counts, confidence: float) -> Estimate:
    """mean_of_days() of sums of residuals (D, C) of so many ratings (D, C)."""
    return mean_of_days(
        _ratio(floating(residuals), counts), counts > 0, counts.sum(axis=0) >= LEAST_RATINGS, confidence
    )


def _ratio(above: Floats | Counts, below: Counts, where: Flags | None = None) -> Floats:
    """The ratio of two arrays, NaN where the second is 0 or it is not wanted."""
    wanted = below > 0 if where is None else where & (below > 0)
    return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=wanted))
