"""How often the rating model of simulated studies is found, on conditions that were left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.calibration.simulated import BEST, WORST
from qoemon.config.studies.ratings import Ratings
from qoemon.core.arrays import Floats
from qoemon.core.qoe.distribution import binomial_theta, rating_cdf
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.goodness import choose
from qoemon.tools.calibrate.opinions import rating_shares

STUDIES, CONDITIONS, RATERS = 100, 40, 30
LEAST = 90.0


def populations() -> Mapping[RatingModel, Floats]:
    """(C, K) shares of ratings by the model that they have; two camps of users are neither of the others."""
    mos = np.linspace(WORST, BEST, CONDITIONS)
    binomial = rating_cdf(mos, binomial_theta(ACR5), ACR5.cuts, RatingModel.BINOMIAL, ACR5)
    high = ((mos - WORST) / (BEST - WORST))[:, None]
    return {
        RatingModel.BETA: rating_shares(mos, 0.15, ACR5),
        RatingModel.BINOMIAL: np.diff(binomial[:, 1:], axis=1, prepend=0),
        RatingModel.EMPIRICAL: (1 - high) * [0.6, 0.4, 0, 0, 0] + high * [0, 0, 0, 0.3, 0.7],
    }


def rows() -> Iterator[Row]:
    """The share of studies in which the model is found; the binomial is near the Beta of its own theta."""
    for model, shares in populations().items():
        if model is RatingModel.BINOMIAL:
            continue
        rng = np.random.default_rng(1)
        found = [choose(_study(shares, rng)) for _ in range(STUDIES)]
        right = 100 * float(np.mean([each is not None and each.best is model for each in found]))
        yield Row(f"rating model {model} found, {CONDITIONS} conditions, {RATERS} ratings", right, LEAST, unit=" %")


def _study(shares: Floats, rng: np.random.Generator) -> Ratings:
    drawn = [rng.choice(np.arange(1, 6.0), RATERS, p=each / each.sum()) for each in shares]
    return Ratings.of(1, 5, {str(at): each for at, each in enumerate(drawn)})
