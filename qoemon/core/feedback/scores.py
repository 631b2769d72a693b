"""Scores of faces, voices and texts, fused with the weights that ratings have earned.

Clients may report scores of sessions whose users never rate. Where sessions have both, the residual of the rating
is regressed on the scores. The regression corrects the bias for how the scores of those who rated differ from the
scores of all (scores as control variates):

    bias = mean of r over ratings + sum over scores k of w_k (mean of s_k over all sessions - over ratings)

A score that says nothing about ratings has the weight 0, one that says much makes the interval as narrow as
1 / (1 - R^2) times as many ratings would. Scores are in no other figure: never in PoW, GoB, MOS or alerts.
A score that is missing counts as its mean, so it corrects nothing.

Weights and R^2 are cross-validated by day: those of a day come from other days, so they cannot fit its errors.

Hoerl, Kennard 1970 (ridge regression); Lavenberg, Welch 1981 (control variates); Cochran 1977, Sampling Techniques,
9.3 (the regression estimator).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.feedback.day import DaySums, floating
from qoemon.core.feedback.figures import LEAST_RATINGS, Estimate, bias, mean_of_days

FOLDS = 5
PRIOR_RATINGS = 30
"""Ratings that the assumption of no relation is worth: the penalty of the ridge, in each score's variance."""


class ScoredBias(NamedTuple):
    """The bias with all scores, and what the scores are worth.

    bias      as figures.bias(), corrected by the scores; equal to it if they are worth nothing
    ratings   (S,) ratings of sessions with the score
    weights   (S,) scale points a unit of the score, from all days
    worth     factor on the number of ratings, at least 1, of all scores together
    worth_of  (S,) of each score alone
    """

    bias: Estimate
    ratings: Counts
    weights: Floats
    worth: float
    worth_of: Floats


class _Moments(NamedTuple):
    """Of R ratings: centred sums of squares of r, of the scores (S, S), and of products of both (S,).

    A score is less its mean over all sessions, and 0 where it is missing.
    """

    ratings: int
    residual: float
    scores: Floats
    both: Floats

    def of(self, some: list[int]) -> _Moments:
        """With some of the scores only."""
        return self._replace(scores=self.scores[np.ix_(some, some)], both=self.both[some])

    def weights(self) -> Floats:
        """(S,) ridge regression of r on the scores; 0 for a score that never varies."""
        size = len(self.both)
        spread = np.diagonal(self.scores)
        moving = np.flatnonzero(spread > 1e-9)
        out = np.zeros(size)
        if len(moving) and self.ratings:
            penalty = np.diag(spread[moving] * PRIOR_RATINGS / self.ratings)
            out[moving] = np.linalg.solve(self.scores[np.ix_(moving, moving)] + penalty, self.both[moving])
        return out

    def explained(self, weights: Floats) -> float:
        """How much less the sum of squares of r is with these weights."""
        return float(2 * weights @ self.both - weights @ self.scores @ weights)


def scored_bias(days: DaySums, confidence: float = 0.95) -> ScoredBias:
    """The bias of stacked days, corrected by their scores.

    With fewer than LEAST_RATINGS ratings, or two days, the scores are worth nothing yet.
    """
    plain, size = bias(days, confidence), len(days.scores)
    answered = days.answered.sum(axis=-1)
    used = np.flatnonzero(answered > 0)
    ratings = np.asarray(np.diagonal(days.total().rated_with).copy()) if len(answered) else np.zeros(size, np.int64)
    nothing = ScoredBias(plain, ratings, np.zeros(size), 1.0, np.ones(size))
    if not size or len(used) < 2 or answered.sum() < LEAST_RATINGS:
        return nothing
    folds = [used[at :: min(FOLDS, len(used))] for at in range(min(FOLDS, len(used)))]
    held_out = [_moments(_total(days, fold)) for fold in folds]
    others = [_moments(_total(days, np.setdiff1d(used, fold))) for fold in folds]
    everything = list(range(size))
    worth = _worth(held_out, others, everything)
    worth_of = np.array([_worth(held_out, others, [at]) for at in everything])
    if worth <= 1:
        return nothing._replace(worth_of=worth_of)
    daily = np.zeros(len(answered))
    for fold, rest in zip(folds, others, strict=True):
        daily[fold] = _corrected(days.day(fold), rest.weights())
    corrected = mean_of_days(daily[:, None], (answered > 0)[:, None], np.array([True]), confidence)
    weights = _moments(_total(days, used)).weights()
    return ScoredBias(Estimate(*(each[0] for each in corrected)), ratings, weights, worth, worth_of)


def _worth(held_out: list[_Moments], others: list[_Moments], some: list[int]) -> float:
    """1 / (1 - R^2) on days that were held out, at least 1."""
    total = sum(fold.residual for fold in held_out)
    explained = sum(
        fold.of(some).explained(rest.of(some).weights()) for fold, rest in zip(held_out, others, strict=True)
    )
    share = min(max(explained / total, 0.0), 0.999) if total > 0 else 0.0
    return 1 / (1 - share)


def _corrected(days: DaySums, weights: Floats) -> Floats:
    """(D,) mean residuals of the days, each corrected by its scores."""
    answered = days.answered.sum(axis=-1)
    scores = _centred_sums(days) / answered[:, None]
    return np.asarray(floating(days.residuals.sum(axis=-1)) / answered - scores @ weights)


def _centred_sums(sums: DaySums) -> Floats:
    """(..., S) over ratings: sums of the scores less their means over all sessions, 0 where they are missing."""
    with_rating = np.diagonal(sums.rated_with, axis1=-2, axis2=-1)
    of_rated = floating(np.diagonal(sums.score_sums_with, axis1=-2, axis2=-1))
    return np.asarray(of_rated - with_rating * _means(sums))


def _means(sums: DaySums) -> Floats:
    """(..., S) mean of each score over all sessions that have it; 0 if none has it."""
    return np.asarray(floating(sums.score_sums) / np.maximum(sums.scored, 1))


def _moments(sums: DaySums) -> _Moments:
    ratings = int(sums.answered.sum())
    mean, with_both = _means(sums), floating(sums.score_sums_with)
    residual, centred = float(floating(sums.residuals).sum()), _centred_sums(sums)
    scores = (
        floating(sums.score_products)
        - with_both * mean
        - with_both.T * mean[:, None]
        + sums.rated_with * mean * mean[:, None]
    )
    both = floating(sums.score_residuals) - mean * floating(sums.residuals_with)
    count = max(ratings, 1)
    return _Moments(
        ratings,
        float(floating(sums.squares).sum()) - residual**2 / count,
        scores - np.outer(centred, centred) / count,
        both - centred * residual / count,
    )


def _total(days: DaySums, some: Ints) -> DaySums:
    return days.day(some).total()
