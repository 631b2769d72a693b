"""Predicted ratings: of users at one QoS condition, and of all users, given a histogram of their conditions.

A rating model gives the distribution of ratings around the MOS of each QoS bin. Every QoE metric of a window is
linear in its histogram, or a function of such metrics. So the kernel is computed once per service, and a window's
QoE, for all its groups, is one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.qoe.confidence import effective_users, interval
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import Scale
from qoemon.core.qoe.special import bdtr, betainc

OPINION_STEPS = 64
"""Steps of the grid on which the CDF of opinions is inverted. They are narrow at the ends of the scale, where a
Beta may have poles, so quantiles are accurate to .01 scale points."""


def rating_cdf(
    mos: Floats,
    theta: float,
    opinions: Floats,
    model: RatingModel,
    scale: Scale,
    study: EmpiricalRatings | None = None,
) -> Floats:
    """P(rating <= y) for each QoS bin and each opinion y.

    Beta: ratings spread around a MOS m on [low, high] with the variance of the SOS hypothesis,
    theta (high - m)(m - low), so alpha + beta = (1 - theta) / theta.
    Binomial: low + Bin(high - low, unit MOS), discrete; theta must be 1 / (high - low).
    Empirical: the ratings of a study, discrete; theta has no influence.

    mos       (B,) scale points
    theta     SOS parameter, dimensionless, 0 < theta < 1
    opinions  (E,) scale points
    returns   (B, E)
    raises    ValueError if theta or any MOS is out of range, NaN included, or the study is missing
    source    Hossfeld et al. 2020, arXiv:2003.12742, (7), (10)-(13) and (16), (17)
    """
    if not 0 < theta < 1:
        raise ValueError(f"theta is {theta}, expected 0 < theta < 1")
    if not np.all((scale.low <= mos) & (mos <= scale.high)):
        raise ValueError(f"MOS outside [{scale.low}, {scale.high}]")
    mean = scale.unit(mos)[:, None]
    if model is RatingModel.BINOMIAL:
        if not np.isclose(theta, binomial_theta(scale)):
            raise ValueError(f"theta is {theta}, but binomial ratings have theta {binomial_theta(scale)}")
        return np.asarray(bdtr(np.floor(opinions) - scale.low, scale.high - scale.low, mean))
    if model is RatingModel.EMPIRICAL:
        if study is None:
            raise ValueError("empirical ratings need a study")
        upto = np.floor(opinions).astype(np.int64) - scale.low
        return np.asarray(study.at(mos).cumsum(axis=1)[:, upto])
    total = (1 - theta) / theta
    # betainc is exact at alpha = 0 and beta = 0, where all users agree: no special case.
    return np.asarray(betainc(mean * total, (1 - mean) * total, scale.unit(opinions)))


def binomial_theta(scale: Scale) -> float:
    """SOS parameter of binomial ratings: their variance is (m - low)(high - m) / (high - low)."""
    return 1 / (scale.high - scale.low)


@dataclass(frozen=True)
class Distribution:
    """Predicted ratings of the users of G groups. A group without observations has NaN, which is never exported.

    observations  (G,) conditions rated
    effective_users  (G,) users for the bounds: see confidence.effective_users()
    mos, sos      (G,) scale points: mean and standard deviation over all users and their ratings
    gob, pow      (G,) share of ratings good or better, poor or worse
    ratings       (G, K) share of each rating
    quantiles     (G, Q) scale points
    mos_bounds, gob_bounds, pow_bounds  (G, 2) lower and upper end of the confidence interval of each
    mos_square, gob_square, pow_square  (G,) mean over the conditions of the square of each: the spread among users
    band_gob, band_pow  (G, T) the same shares for each theta of the band
    """

    observations: Counts | Floats
    effective_users: Counts | Floats
    mos: Floats
    sos: Floats
    gob: Floats
    pow: Floats
    ratings: Floats
    quantiles: Floats
    mos_bounds: Floats
    gob_bounds: Floats
    pow_bounds: Floats
    mos_square: Floats
    gob_square: Floats
    pow_square: Floats
    band_gob: Floats
    band_pow: Floats


class RatingKernel:
    """The distribution of ratings in each QoS bin of a service, as a matrix to multiply histograms with.

    mos        (B,) MOS of each bin, scale points
    theta      SOS parameter of the service
    study      the ratings that the empirical model interpolates
    band       further thetas for which GoB and PoW are computed
    quantiles  quantiles to compute, each in (0, 1)
    confidence of the bounds, in (0, 1)
    raises     ValueError as rating_cdf()
    """

    def __init__(
        self,
        mos: Floats,
        theta: float,
        *,
        scale: Scale,
        model: RatingModel = RatingModel.BETA,
        study: EmpiricalRatings | None = None,
        band: Sequence[float] = (),
        quantiles: Sequence[float] = (),
        confidence: float = 0.95,
    ) -> None:
        self.scale, self.quantiles, self.confidence = scale, tuple(quantiles), confidence
        self._discrete = model is not RatingModel.BETA
        self.opinions = _opinion_grid(scale, discrete=self._discrete)
        # The band is a sensitivity analysis for theta, which only the Beta has as a free parameter.
        at_cuts = [
            rating_cdf(mos, each, scale.cuts, RatingModel.BETA if i else model, scale, study)
            for i, each in enumerate((theta, *band))
        ]
        shares = _between_cuts(at_cuts[0])
        # Opinions of the Beta are continuous: their variance follows the SOS hypothesis, not the shares.
        spread = theta * (scale.high - mos) * (mos - scale.low)
        good, poor = _good(at_cuts[0], scale), _poor(at_cuts[0], scale)
        self._columns = _Columns(
            ratings=shares,
            mos=mos[:, None],
            gob=good[:, None],
            pow=poor[:, None],
            opinion_square=(shares @ scale.ratings**2 if self._discrete else spread + mos**2)[:, None],
            squares=np.column_stack([mos, good, poor]) ** 2,
            band_gob=np.column_stack([_good(cdf, scale) for cdf in at_cuts])[:, 1:],
            band_pow=np.column_stack([_poor(cdf, scale) for cdf in at_cuts])[:, 1:],
            cdf=rating_cdf(mos, theta, self.opinions, model, scale, study),
        )
        self._matrix = np.ascontiguousarray(np.hstack(self._columns))
        columns = self._columns
        self._moments = np.hstack([columns.mos, columns.opinion_square, columns.squares])

    def sums(self, counts: Counts) -> Floats:
        """(G, C) expected number of users who give each rating, and moments, from (G, B) counts of conditions.

        The columns are those of rating_sums.width(): sums of groups and rating intervals add up.
        """
        return np.hstack([counts @ self._columns.ratings, counts @ self._moments])

    def distribution(
        self, counts: Counts | Floats, users: Counts | Floats | None = None, squares: Counts | Floats | None = None
    ) -> Distribution:
        """Predicted ratings, given the histogram of conditions.

        counts   (G, B) conditions in each bin
        users    (G,) distinct sessions behind the conditions, for the bounds (default: one session per condition)
        squares  (G,) sum over these sessions of the square of their conditions (default: all sessions have as many)
        source  Hossfeld et al. 2020, arXiv:2003.12742, (3), (5), (14); GoB and PoW by (20), (21)
        """
        observations = counts.sum(axis=1)
        effective: Counts | Floats = observations if users is None else users
        if users is not None and squares is not None:
            effective = effective_users(observations, users, squares)
        return self.distribution_of(self.total(counts), observations, effective)

    def total(self, counts: Counts | Floats) -> Floats:
        """The linear part of distribution(), (G, C): totals of the same kernel options add up."""
        return np.asarray(counts @ self._matrix)

    def distribution_of(self, total: Floats, observations: Counts | Floats, users: Counts | Floats) -> Distribution:
        """The rest of distribution(), given a total (G, C), its observations and effective users, (G,) each."""
        with np.errstate(invalid="ignore"):
            mean = self._split(total / observations[:, None])
        mos, gob, pow_ = mean.mos[:, 0], mean.gob[:, 0], mean.pow[:, 0]
        low, high = self.scale.low, self.scale.high
        return Distribution(
            observations=observations,
            effective_users=users,
            mos=mos,
            # Rounding may leave a variance of -1e-16 where all agree.
            sos=np.sqrt(np.maximum(mean.opinion_square[:, 0] - mos**2, 0)),
            gob=gob,
            pow=pow_,
            ratings=mean.ratings,
            quantiles=self._invert(mean.cdf),
            mos_bounds=interval(mos, mean.squares[:, 0], users, self.confidence, low, high),
            gob_bounds=interval(gob, mean.squares[:, 1], users, self.confidence),
            pow_bounds=interval(pow_, mean.squares[:, 2], users, self.confidence),
            mos_square=mean.squares[:, 0],
            gob_square=mean.squares[:, 1],
            pow_square=mean.squares[:, 2],
            band_gob=mean.band_gob,
            band_pow=mean.band_pow,
        )

    def _split(self, product: Floats) -> _Columns:
        """The columns of a product with the whole matrix, by name."""
        ends = np.cumsum([columns.shape[1] for columns in self._columns])[:-1]
        return _Columns(*np.split(product, ends, axis=1))

    def _invert(self, cdf: Floats) -> Floats:
        """(G, Q) quantiles of a group's CDF, (G, E): those of the mixture, not a mean of the quantiles of bins."""
        out = np.full((len(cdf), len(self.quantiles)), np.nan)
        for column, q in enumerate(self.quantiles):
            above = np.minimum((cdf < q).sum(axis=1), len(self.opinions) - 1)
            out[:, column] = self.opinions[above]
            if not self._discrete:
                out[:, column] -= (
                    _overshoot(cdf, above, q) * np.diff(self.opinions, prepend=self.opinions[0])[above]
                )
        out[np.isnan(cdf[:, 0])] = np.nan
        return out


class _Columns(NamedTuple):
    """The columns of the kernel for each bin, (B, number of columns) each."""

    ratings: Floats
    mos: Floats
    gob: Floats
    pow: Floats
    opinion_square: Floats
    squares: Floats
    """of MOS, GoB and PoW, for their bounds"""
    band_gob: Floats
    band_pow: Floats
    cdf: Floats


def _opinion_grid(scale: Scale, *, discrete: bool) -> Floats:
    if discrete:
        return scale.ratings.astype(np.float64)
    unit = np.sin(np.linspace(0, np.pi / 2, OPINION_STEPS + 1)) ** 2
    return scale.low + (scale.high - scale.low) * unit


def _between_cuts(cdf: Floats) -> Floats:
    # Opinions at the very low end belong to the lowest rating, so the first difference starts from 0.
    return np.diff(np.hstack([np.zeros((len(cdf), 1)), cdf[:, 1:]]), axis=1)


def _good(cdf: Floats, scale: Scale) -> Floats:
    return 1 - cdf[:, scale.good - scale.low]


def _poor(cdf: Floats, scale: Scale) -> Floats:
    return cdf[:, scale.poor - scale.low + 1]


def _overshoot(cdf: Floats, above: Counts, q: float) -> Floats:
    """Distance from the point at which the CDF reaches q to grid point `above`, as a fraction of that step."""
    rows = np.arange(len(cdf))
    upper, lower = cdf[rows, above], cdf[rows, np.maximum(above - 1, 0)]
    rise = upper - lower
    return np.divide(upper - q, rise, out=np.zeros_like(rise), where=rise > 0)
