"""The CDF of a group's opinions for the main theta and those of the band. Only the selected group needs it.

An opinion is continuous, and a rating is the opinion rounded to the nearest integer: Hossfeld et al. 2020, (20).
The binomial and the empirical model have no opinions, only ratings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import RatingModel

STEPS = 20
"""Points of the CDF per scale point: an even number, so that they include the ends of each rating."""


@dataclass(frozen=True)
class Curve:
    """The share of a group's users up to each opinion, and its range over the thetas of the band.

    opinions       (E,) scale points
    share          (E,)
    lower, upper   (E,) over all thetas of the band and the main one; equal to share without a band
    rating_lower, rating_upper  (K,) the same range for the share of each rating
    """

    opinions: Floats
    share: Floats
    lower: Floats
    upper: Floats
    rating_lower: Floats
    rating_upper: Floats


class Curves:
    """Computes curves. The kernel of each service is computed once and kept."""

    def __init__(self) -> None:
        self._kernels: dict[str, Floats] = {}

    def curve(self, service: Service, counts: Counts) -> Curve:
        """The curve of a group, given the counts of its conditions, (B,), at least one.

        source  Hossfeld et al. 2020, arXiv:2003.12742, (14)
        """
        kernel = self._kernels.get(service.name)
        if kernel is None:
            kernel = self._kernels[service.name] = _kernel(service)
        cdfs = np.tensordot(counts / counts.sum(), kernel, axes=(0, 1))
        ratings = _ratings(cdfs, service)
        return Curve(
            opinions=_opinions(service),
            share=cdfs[0],
            lower=cdfs.min(axis=0),
            upper=cdfs.max(axis=0),
            rating_lower=ratings.min(axis=0),
            rating_upper=ratings.max(axis=0),
        )


def _opinions(service: Service) -> Floats:
    scale = service.scale
    return np.linspace(scale.low, scale.high, (scale.high - scale.low) * STEPS + 1)


def _kernel(service: Service) -> Floats:
    """(T, B, E) the CDF in each bin, the main theta first. Other thetas use the Beta model."""
    models = [(service.theta, service.model), *((theta, RatingModel.BETA) for theta in service.theta_band)]
    mos, opinions = service.rated_at, _opinions(service)
    return np.stack(
        [rating_cdf(mos, theta, opinions, model, service.scale, service.study) for theta, model in models]
    )


def _ratings(cdfs: Floats, service: Service) -> Floats:
    """The (T, K) share of each rating from (T, E) CDFs, by (21); the lowest includes the mass at the low end."""
    inner = np.rint((service.scale.cuts[1:] - service.scale.low) * STEPS).astype(np.int64)
    return np.diff(cdfs[:, inner], axis=1, prepend=0.0)
