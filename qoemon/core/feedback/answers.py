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


def sums_of(
    answers: Answers, at: Predicted, scale: Scale, scores: Sequence[str] = (), counts: Counts | None = None
) -> DaySums:
    """The sums over these sessions.

    at      the predictions for the N sessions, see Predicted.at()
    scores  the names of the S scores
    counts  (N,) how many sessions each of them stands for, also below 0; None for one each. A day of millions of
            sessions has few distinct answers, and needs no more memory than these.
    raises  ValueError if a rating is not on the scale
    """
    number = np.ones(len(answers.rating), np.int64) if counts is None else counts
    rated = ~np.isnan(answers.rating)
    thumb = answers.thumb != 0
    asked = answers.asked | rated | thumb
    of = class_of(at.mos, scale)
    position = _positions(answers.rating[rated], scale)
    here, of_rated, of_number = at.at(rated), of[rated], number[rated]
    residual = position + scale.low - here.mean
    middle = is_middle(here.mos, scale)
    variance = np.maximum(here.variance, least_variance(scale))

    def count(some: Flags) -> Counts:
        return _by_class(of[some], number[some])

    def add(numbers: Floats, some: Flags) -> Ints:
        return _sum(of[some], numbers[some], number[some])

    def add_rated(numbers: Floats, some: Flags | slice = np.s_[:]) -> Ints:
        return _sum(of_rated[some], numbers[some], of_number[some])

    histogram = np.zeros((CLASSES, at.shares.shape[1]), np.int64)
    np.add.at(histogram, (of_rated, position), of_number)
    everyone = np.ones(len(of), np.bool_)
    return DaySums(
        scores=tuple(scores),
        sessions=count(everyone),
        asked=count(asked),
        responded=count(rated | thumb),
        expected_of_sessions=add(at.mean, everyone),
        expected_of_asked=add(at.mean, asked),
        histogram=histogram,
        ratings=_by_class(of_rated, (position + scale.low) * of_number),
        predicted=add_rated(here.mean),
        shares=add_rated(here.shares),
        squares=add_rated(residual**2),
        variances=add_rated(variance),
        middle=_by_class(of_rated[middle], of_number[middle]),
        middle_squares=add_rated(residual**2, middle),
        middle_variances=add_rated(variance, middle),
        middle_spreads=add_rated(here.spread, middle),
        scores_of_ranks=add_rated(ranked_score(here.shares, position)),
        expected_scores_of_ranks=add_rated(here.rank),
        thumbs_up=count(answers.thumb > 0),
        thumbs_down=count(answers.thumb < 0),
        predicted_good=add(at.good, thumb),
        **_of_scores(answers.scores, rated, residual, number),
    )


def _of_scores(scores: Floats, rated: Flags, residual: Floats, number: Counts) -> dict[str, Ints]:
    """The sums of scores; a score that is missing adds to none of its own."""
    known = (~np.isnan(scores)).astype(np.int64)
    value = fixed(np.nan_to_num(scores))
    of_rated, with_rating, of_number = known[rated], np.nan_to_num(scores[rated]), number[rated]
    weighted = of_rated * of_number[:, None]
    products = fixed(with_rating[:, :, None] * with_rating[:, None, :])
    return {
        "scored": number @ known,
        "score_sums": number @ value,
        "rated_with": of_rated.T @ weighted,
        "score_sums_with": value[rated].T @ weighted,
        "score_products": (products * of_number[:, None, None]).sum(axis=0),
        "score_residuals": of_number @ fixed(with_rating * residual[:, None]),
        "residuals_with": fixed(residual) @ weighted,
    }


def _positions(ratings: Floats, scale: Scale) -> Ints:
    position = np.rint(ratings).astype(np.int64) - scale.low
    if outside := sorted(set(ratings[(position < 0) | (position > scale.high - scale.low)].tolist())):
        raise ValueError(f"ratings {outside[:3]}, expected {scale.low} to {scale.high}")
    return position


def _sum(of: Ints, numbers: Floats, number: Counts) -> Ints:
    """(CLASSES, ...) sums of numbers (N, ...), each so many times, in multiples of UNIT."""
    return _by_class(of, (fixed(numbers).T * number).T)


def _by_class(of: Ints, numbers: Ints) -> Ints:
    return np.stack([numbers[of == each].sum(axis=0) for each in range(CLASSES)])
