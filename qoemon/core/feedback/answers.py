"""The feedback of some sessions beside their predictions, as sums of a day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Counts, Flags, Floats, Ints
from qoemon.core.feedback.day import CLASSES, DaySums, class_of, fixed, is_middle
from qoemon.core.feedback.prediction import Predicted, least_variance, ranked_score
from qoemon.core.qoe.scale import Scale


class Answers(NamedTuple):
    """The feedback of N sessions, those that gave none included.

    asked   (N,) whether the question was shown; a session that answers is counted as asked, too
    rating  (N,) the rating, a number on the scale, which is rounded; NaN without one
    thumb   (N,) 1 for up, -1 for down, 0 without one
    scores  (N, S) each score; NaN where it is missing
    """

    asked: Flags
    rating: Floats
    thumb: Ints
    scores: Floats


def sums_of(answers: Answers, at: Predicted, scale: Scale, scores: Sequence[str] = ()) -> DaySums:
    """The sums over these sessions.

    at      the predictions for the N sessions, see Predicted.at()
    scores  the names of the S scores
    raises  ValueError if a rating is not on the scale
    """
    rated = ~np.isnan(answers.rating)
    thumb = answers.thumb != 0
    asked = answers.asked | rated | thumb
    of = class_of(at.mos, scale)
    position = _positions(answers.rating[rated], scale)
    here, of_rated = at.at(rated), of[rated]
    residual = position + scale.low - here.mean
    middle = is_middle(here.mos, scale)
    variance = np.maximum(here.variance, least_variance(scale))
    return DaySums(
        scores=tuple(scores),
        sessions=_count(of),
        asked=_count(of[asked]),
        responded=_count(of[rated | thumb]),
        expected_of_sessions=_sum(of, at.mean),
        expected_of_asked=_sum(of[asked], at.mean[asked]),
        histogram=np.bincount(of_rated * at.shares.shape[1] + position, minlength=CLASSES * at.shares.shape[1])
        .reshape(CLASSES, -1)
        .astype(np.int64),
        ratings=_by_class(of_rated, position + scale.low),
        predicted=_sum(of_rated, here.mean),
        shares=_sum(of_rated, here.shares),
        squares=_sum(of_rated, residual**2),
        variances=_sum(of_rated, variance),
        middle=_count(of_rated[middle]),
        middle_squares=_sum(of_rated[middle], residual[middle] ** 2),
        middle_variances=_sum(of_rated[middle], variance[middle]),
        middle_spreads=_sum(of_rated[middle], here.spread[middle]),
        scores_of_ranks=_sum(of_rated, ranked_score(here.shares, position)),
        expected_scores_of_ranks=_sum(of_rated, here.rank),
        thumbs_up=_count(of[answers.thumb > 0]),
        thumbs_down=_count(of[answers.thumb < 0]),
        predicted_good=_sum(of[thumb], at.good[thumb]),
        **_of_scores(answers.scores, rated, residual),
    )


def _of_scores(scores: Floats, rated: Flags, residual: Floats) -> dict[str, Ints]:
    """The sums of scores; a score that is missing adds to none of its own."""
    known = (~np.isnan(scores)).astype(np.int64)
    value = fixed(np.nan_to_num(scores))
    of_rated, with_rating = known[rated], np.nan_to_num(scores[rated])
    return {
        "scored": known.sum(axis=0),
        "score_sums": value.sum(axis=0),
        "rated_with": of_rated.T @ of_rated,
        "score_sums_with": value[rated].T @ of_rated,
        "score_products": fixed(with_rating[:, :, None] * with_rating[:, None, :]).sum(axis=0),
        "score_residuals": fixed(with_rating * residual[:, None]).sum(axis=0),
        "residuals_with": fixed(residual) @ of_rated,
    }


def _positions(ratings: Floats, scale: Scale) -> Ints:
    position = np.rint(ratings).astype(np.int64) - scale.low
    if outside := sorted(set(ratings[(position < 0) | (position > scale.high - scale.low)].tolist())):
        raise ValueError(f"ratings {outside[:3]}, expected {scale.low} to {scale.high}")
    return position


def _count(of: Ints) -> Counts:
    return np.bincount(of, minlength=CLASSES).astype(np.int64)


def _sum(of: Ints, numbers: Floats) -> Ints:
    """(CLASSES, ...) sums of numbers (N, ...), in multiples of UNIT."""
    return _by_class(of, fixed(numbers))


def _by_class(of: Ints, numbers: Ints) -> Ints:
    return np.stack([numbers[of == each].sum(axis=0) for each in range(CLASSES)])
