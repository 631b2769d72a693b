"""How well predicted ratings agree with those of a study: errors of GoB and PoW, and those that chance alone makes.

The observed share of good ratings of a condition is that of few people, so a perfect prediction is off as well. How
much, on average, is the noise floor: a model whose error is near it cannot be told from a perfect one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qoemon.core.qoe.distribution import binomial_theta, rating_cdf
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import RatingModel
from qoemon.tools.calibrate.opinions import is_rounded, rating_shares, scale_of, theta_of_opinions
from qoemon.tools.calibrate.parabola import moments, slope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qoemon.config.studies.ratings import Ratings
    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.qoe.scale import Scale

DRAWS = 200
"""Simulated studies for a noise floor: its standard error is below 1 % of it."""

FOLDS = 5
SURE = 2.0
"""Standard errors by which a rating model must be better than the default: with one, chance picks it in 25 %."""

LEAST_CONDITIONS = 6
"""Conditions of which some can be left out: fewer say nothing of a rating model."""


@dataclass(frozen=True)
class ShareError:
    """Error of a predicted share over conditions, each counted once.

    mean   mean absolute error
    bias   mean error: above 0 where more is predicted than observed
    floor  mean absolute error that a perfect prediction would have with so few ratings
    """

    mean: float
    bias: float
    floor: float

    def as_dict(self) -> dict[str, float]:
        """The error as plain types, for JSON."""
        return {"mean_absolute_error": self.mean, "bias": self.bias, "noise_floor": self.floor}


@dataclass(frozen=True)
class Goodness:
    """Errors of GoB and PoW, over the conditions of a study."""

    gob: ShareError
    pow: ShareError

    def as_dict(self) -> dict[str, Any]:
        """The errors as plain types, for JSON."""
        return {"gob": self.gob.as_dict(), "pow": self.pow.as_dict()}

    @property
    def text(self) -> str:
        """The errors as a sentence."""
        return (
            f"GoB and PoW are off by {self.gob.mean:.3f} and {self.pow.mean:.3f} on average (bias "
            f"{self.gob.bias:+.3f} and {self.pow.bias:+.3f}); a perfect model would be off by {self.gob.floor:.3f} "
            f"and {self.pow.floor:.3f} with so few ratings."
        )


@dataclass(frozen=True)
class Choice:
    """How well each rating model predicts conditions that were left out.

    errors  by model: mean absolute error of the cumulative shares, which GoB and PoW are two of
    best    the model of the least error; beta unless another is better by SURE standard errors
    """

    errors: Mapping[RatingModel, float]
    best: RatingModel

    def as_dict(self) -> dict[str, Any]:
        """The errors as plain types, for JSON."""
        return {"best": str(self.best), "errors": {str(model): error for model, error in self.errors.items()}}

    @property
    def text(self) -> str:
        """The choice as a sentence."""
        errors = ", ".join(f"{model} {error:.4f}" for model, error in self.errors.items())
        if self.best is RatingModel.BETA:
            words = "beta, the default, is not significantly worse than the others"
        else:
            words = f"{self.best} is better than beta by more than {SURE:g} standard errors"
        return f"Rating model on conditions left out of the fit: {words} (mean error of shares: {errors})."


def good(shares: Floats, scale: Scale) -> Floats:
    """(...,) share of ratings that are good or better, of shares (..., K)."""
    return np.asarray(shares[..., scale.good - scale.low :].sum(axis=-1))


def poor(shares: Floats, scale: Scale) -> Floats:
    """(...,) share of ratings that are poor or worse, of shares (..., K)."""
    return np.asarray(shares[..., : scale.poor - scale.low + 1].sum(axis=-1))


def rating_counts(ratings: Ratings, scale: Scale) -> Counts:
    """(C, K) number of times that each rating was given; ratings between two steps count as the nearer one."""
    steps, step = len(scale.ratings), np.rint(ratings.rating).astype(np.int64) - scale.low
    flat = np.bincount(ratings.condition * steps + step, minlength=len(ratings.names) * steps)
    return flat.reshape(len(ratings.names), steps)


def goodness(
    counts: Counts, shares: Floats, scale: Scale, floor: Callable[[Floats], Floats] | None = None
) -> Goodness:
    """Errors of predicted shares (C, K) against counted ratings (C, K).

    floor  the shares (D, C, K) that the model would predict for other samples of its own conditions, given theirs
           (D, C, K); None if it does not look at the ratings, as a mapping does not
    """
    size = counts.sum(axis=1)
    observed = counts / size[:, None]
    rng = np.random.default_rng(1)
    drawn = np.stack(
        [rng.multinomial(n, each / each.sum(), DRAWS) / n for n, each in zip(size, shares, strict=True)], 1
    )
    again = shares[None] if floor is None else floor(drawn)

    def error(share: Callable[[Floats, Scale], Floats]) -> ShareError:
        gap = share(shares, scale) - share(observed, scale)
        chance = share(again, scale) - share(drawn, scale)
        return ShareError(float(np.abs(gap).mean()), float(gap.mean()), float(np.abs(chance).mean()))

    return Goodness(error(good), error(poor))


def goodness_of_theta(ratings: Ratings, theta: float) -> Goodness | None:
    """Errors of Beta ratings with this theta of opinions, given the MOS of each condition.

    The MOS is that of the same ratings, so it follows their errors in part; the noise floor does as well.

    returns  None if the ratings are not whole, or theta is 0 or 1
    """
    scale = scale_of(ratings.low, ratings.high)
    if scale is None or not is_rounded(ratings) or not 0 < theta < 1:
        return None
    counts = rating_counts(ratings, scale)
    steps = scale.ratings.astype(np.float64)
    shares = rating_shares(_mean(counts, steps), theta, scale)
    grid = np.linspace(scale.low, scale.high, 20 * (len(steps) - 1) + 1)
    table = rating_shares(grid, theta, scale)

    def predicted(drawn: Floats) -> Floats:
        mos = drawn @ steps
        return np.stack([np.interp(mos, grid, column) for column in table.T], axis=-1)

    return goodness(counts, shares, scale, predicted)


def choose(ratings: Ratings, *, folds: int = FOLDS, seed: int = 1) -> Choice | None:
    """Which rating model predicts the shares of left-out conditions best, given their MOS.

    Theta, and the frequencies of the empirical model, are those of the other conditions.

    returns  None if the ratings are not whole, or of fewer than LEAST_CONDITIONS conditions
    """
    scale = scale_of(ratings.low, ratings.high)
    if scale is None or not is_rounded(ratings):
        return None
    counts = rating_counts(ratings, scale)
    spread = counts.sum(axis=1) > 1
    counts, parts = counts[spread], [each for each in ratings.conditions.values() if len(each) > 1]
    if len(parts) < LEAST_CONDITIONS:
        return None
    errors = {model: np.zeros(len(parts)) for model in RatingModel}
    order = np.random.default_rng(seed).permutation(len(parts))
    for out in np.array_split(order, min(folds, len(parts))):
        rest = np.setdiff1d(np.arange(len(parts)), out)
        for model in RatingModel:
            errors[model][out] = _errors(model, counts, [parts[at] for at in rest], rest, out, scale)
    means = {model: float(each.mean()) for model, each in errors.items()}
    return Choice(means, _best(errors))


def _errors(
    model: RatingModel, counts: Counts, known: list[Floats], rest: Counts, out: Counts, scale: Scale
) -> Floats:
    """(O,) mean absolute error of the cumulative shares of the conditions `out`, predicted from `rest`."""
    steps = scale.ratings.astype(np.float64)
    mos = _mean(counts[out], steps)
    study = None
    if model is RatingModel.BETA:
        of_ratings = float(slope(moments(known), scale.low, scale.high))
        theta = theta_of_opinions(0.5 if np.isnan(of_ratings) else of_ratings, _mean(counts[rest], steps), scale)
    else:
        theta = binomial_theta(scale) if model is RatingModel.BINOMIAL else 0.5  # which has no influence
        study = EmpiricalRatings.of(counts[rest], scale)
    if model is RatingModel.BINOMIAL and len(steps) < 3:
        return np.full(len(out), np.inf)  # of two ratings, theta is 1
    cdf = rating_cdf(mos, theta, scale.cuts, model, scale, study)[:, 1:-1]
    observed = np.cumsum(counts[out] / counts[out].sum(axis=1, keepdims=True), axis=1)[:, :-1]
    return np.asarray(np.abs(cdf - observed).mean(axis=1))


def _best(errors: Mapping[RatingModel, Floats]) -> RatingModel:
    """The model of the least mean error, if it is better than beta by SURE standard errors; else beta."""
    least = min(errors, key=lambda model: float(errors[model].mean()))
    gain = errors[RatingModel.BETA] - errors[least]
    sure = gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain))
    return least if sure else RatingModel.BETA


def _mean(counts: Counts, steps: Floats) -> Floats:
    return np.asarray(counts @ steps / counts.sum(axis=1))
