"""What one day of feedback adds to a service: counts and sums of ratings and of the predictions beside them.

Everything that is said about the model follows from these sums, so no single rating is kept. They are integers:
the sums of shards and ticks add up to those of one shard, to the last digit, in any order. Numbers that are no
counts are rounded to multiples of UNIT before they are added.

Sums are by class of prediction, so that ratings where the model predicts much can be told from those where it
predicts little. The columns of a day are K ratings of the service's scale, CLASSES classes, and S scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Counts, Flags, Floats, Ints
from qoemon.core.qoe.scale import Scale

UNIT = 2.0**-20
"""Resolution of sums of numbers that are no counts, scale points or their squares. A day of 50 million ratings from
0 to 100 fits into 64 bits."""

CLASSES = 4
_CUTS = np.array([0.375, 0.625, 0.875])
_MIDDLE = (0.125, 0.875)
"""On the scale from 0 to 1: 2.5, 3.5 and 4.5, and 1.5 to 4.5, of 1 to 5."""


def class_of(mos: Floats, scale: Scale) -> Ints:
    """(N,) class of each predicted MOS: below 2.5, 3.5, 4.5, or above, where the scale is 1 to 5."""
    return np.searchsorted(_CUTS, scale.unit(mos), side="right")


def class_ends(scale: Scale) -> Floats:
    """(CLASSES + 1,) the lower end of each class, and the upper end of the last, scale points."""
    return np.asarray(scale.low + (scale.high - scale.low) * np.array([0, *_CUTS, 1]))


def is_middle(mos: Floats, scale: Scale) -> Flags:
    """(N,) whether each predicted MOS is within 1.5 to 4.5, where the scale is 1 to 5.

    Near the ends the predicted variance is so small that a few ratings would decide the ratio of the variances.
    """
    unit = scale.unit(mos)
    return np.asarray((_MIDDLE[0] <= unit) & (unit <= _MIDDLE[1]))


def fixed(numbers: Floats) -> Ints:
    """Numbers as multiples of UNIT, rounded: what is added to a sum that has this unit."""
    return np.rint(np.asarray(numbers) / UNIT).astype(np.int64)


def floating(sums: Ints) -> Floats:
    """The inverse of fixed()."""
    return np.asarray(sums * UNIT, np.float64)


@dataclass(frozen=True)
class DaySums:
    """Sums over the feedback of one service. Several days may be stacked: all arrays then have a first axis more.

    r is the residual of a rating: the rating less the mean that is predicted for the condition of its session; v is
    the predicted variance of a rating there, at least its floor. What is marked * is in multiples of UNIT.

    scores    names of the scores that the service takes, S of them

    Of all sessions, (CLASSES,):
    sessions   sessions with a prediction
    asked      of them, those to whom the question was shown
    responded  of these, those with a rating, a thumb, or both
    expected_of_sessions, expected_of_asked  * sums of the predicted mean rating

    Of sessions with a rating, (CLASSES,), and (CLASSES, K) for histogram and shares:
    histogram  number of each rating
    ratings    sum of the ratings, scale points
    predicted  * sum of the predicted mean rating
    shares     * sums of the predicted probability of each rating
    squares, variances  * sums of r^2 and of v
    middle     number of ratings of conditions in the middle of the scale, see is_middle()
    middle_squares, middle_variances, middle_spreads  * over these: sums of r^2, of v, and of the predicted variance
               of r^2, which is the error of the first
    scores_of_ranks, expected_scores_of_ranks  * sums of the ranked probability score and of its expectation

    Of sessions with a thumb, (CLASSES,):
    thumbs_up, thumbs_down
    predicted_good  * sum of the predicted GoB

    Of scores, (S,), and (S, S) where a second score has to be known too:
    scored, score_sums      sessions with the score, and * sum of it
    rated_with              (S, S) ratings of sessions that have both scores
    score_sums_with         (S, S) * of these sessions, sum of the score of the row
    score_products          (S, S) * of these sessions, sum of the product of both scores
    score_residuals         * sum of the score times r, over ratings of sessions with the score
    residuals_with          * sum of r over the same sessions
    """

    scores: tuple[str, ...]
    sessions: Counts
    asked: Counts
    responded: Counts
    expected_of_sessions: Ints
    expected_of_asked: Ints
    histogram: Counts
    ratings: Counts
    predicted: Ints
    shares: Ints
    squares: Ints
    variances: Ints
    middle: Counts
    middle_squares: Ints
    middle_variances: Ints
    middle_spreads: Ints
    scores_of_ranks: Ints
    expected_scores_of_ranks: Ints
    thumbs_up: Counts
    thumbs_down: Counts
    predicted_good: Ints
    scored: Counts
    score_sums: Ints
    rated_with: Counts
    score_sums_with: Ints
    score_products: Ints
    score_residuals: Ints
    residuals_with: Ints

    @classmethod
    def nothing(cls, ratings: int, scores: Sequence[str] = ()) -> DaySums:
        """The sums over no feedback, of a scale with so many ratings."""
        shapes = _shapes(ratings, len(scores))
        return cls(scores=tuple(scores), **{name: np.zeros(shape, np.int64) for name, shape in shapes.items()})

    @property
    def answered(self) -> Counts:
        """(CLASSES,) number of ratings."""
        return np.asarray(self.histogram.sum(axis=-1))

    @property
    def residuals(self) -> Ints:
        """(CLASSES,) sum of r, in multiples of UNIT."""
        return self.ratings * round(1 / UNIT) - self.predicted

    def __add__(self, other: DaySums) -> DaySums:
        """The sums over both; ValueError if they are of other scores or of another scale."""
        if self.scores != other.scores:
            raise ValueError(
                f"sums with the scores {self.scores} and {other.scores}, expected the same: with_scores()"
            )
        ratings = self.histogram.shape[-1], other.histogram.shape[-1]
        if ratings[0] != ratings[1]:
            raise ValueError(f"sums of scales of {ratings[0]} and {ratings[1]} ratings, expected the same scale")
        return self._made_of({name: mine + getattr(other, name) for name, mine in self._arrays().items()})

    def with_scores(self, scores: Sequence[str]) -> DaySums:
        """The same sums with these scores only; those that are new have no sessions yet."""
        known = [(at, self.scores.index(name)) for at, name in enumerate(scores) if name in self.scores]
        to, of = (np.array(each, np.int64) for each in (zip(*known, strict=True) if known else ((), ())))
        arrays = self._arrays()
        for name in _BY_SCORE:
            arrays[name] = _moved(arrays[name], to, of, len(scores), axes=1)
        for name in _BY_PAIR_OF_SCORES:
            arrays[name] = _moved(arrays[name], to, of, len(scores), axes=2)
        return DaySums(scores=tuple(scores), **arrays)

    def day(self, at: int | slice | Ints) -> DaySums:
        """A day of stacked ones, or several of them."""
        return self._made_of({name: array[at] for name, array in self._arrays().items()})

    def total(self) -> DaySums:
        """The sum over all days of stacked ones."""
        return self._made_of({name: array.sum(axis=0) for name, array in self._arrays().items()})

    def dump(self) -> Arrays:
        """All arrays by name, and the names of the scores."""
        return {**self._arrays(), "scores": np.frombuffer(json.dumps(self.scores).encode(), np.uint8)}

    @classmethod
    def load(cls, dump: Mapping[str, NDArray[Any]]) -> DaySums:
        """The sums of dump(); ValueError if they have another form."""
        try:
            scores = tuple(json.loads(dump["scores"].tobytes()))
            shapes = _shapes(dump["histogram"].shape[-1], len(scores))
            arrays = {name: np.array(dump[name], np.int64) for name in shapes}
        except KeyError as error:
            raise ValueError(f"the dumped sums of feedback have no {error}: discard them") from None
        days = arrays["sessions"].shape[:-1]
        for name, shape in shapes.items():
            if arrays[name].shape != (*days, *shape):
                found = f"{name} of the shape {arrays[name].shape}, expected {(*days, *shape)}"
                raise ValueError(f"the dumped sums of feedback have {found}: discard them")
        return cls(scores=scores, **arrays)

    def _arrays(self) -> dict[str, Ints]:
        return {name: getattr(self, name) for name in _NAMES}

    def _made_of(self, arrays: Mapping[str, Ints]) -> DaySums:
        return DaySums(scores=self.scores, **arrays)


_BY_RATING = ("histogram", "shares")
_BY_SCORE = ("scored", "score_sums", "score_residuals", "residuals_with")
_BY_PAIR_OF_SCORES = ("rated_with", "score_sums_with", "score_products")
_NAMES = tuple(field.name for field in fields(DaySums) if field.name != "scores")


def stacked(days: Sequence[DaySums]) -> DaySums:
    """Several days of the same scores as one, with a first axis for the days; ValueError if there is none."""
    if not days:
        raise ValueError("no days to stack, expected one at least")
    if len({day.scores for day in days}) > 1:
        raise ValueError("days with different scores, expected the same: with_scores()")
    return DaySums(
        scores=days[0].scores, **{name: np.stack([getattr(day, name) for day in days]) for name in _NAMES}
    )


def _shapes(ratings: int, scores: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a single day."""
    special = {
        **dict.fromkeys(_BY_RATING, (CLASSES, ratings)),
        **dict.fromkeys(_BY_SCORE, (scores,)),
        **dict.fromkeys(_BY_PAIR_OF_SCORES, (scores, scores)),
    }
    return {name: special.get(name, (CLASSES,)) for name in _NAMES}


def _moved(array: Ints, to: Ints, of: Ints, size: int, axes: int) -> Ints:
    """An array of zeros, with elements `of` of the last axis, or of the last two, at `to`."""
    out = np.zeros((*array.shape[:-axes], *[size] * axes), np.int64)
    if axes == 1:
        out[..., to] = array[..., of]
    else:
        out[..., to[:, None], to] = array[..., of[:, None], of]
    return out
