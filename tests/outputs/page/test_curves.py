"""The CDF of the selected group agrees with the kernel at every theta of the band."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import RatingModel
from qoemon.outputs.page.curves import Curves
from tests.support.core import VIDEO, WEB

SERVICES = [
    replace(VIDEO, theta_band=(0.1, 0.45)),
    WEB,
    replace(WEB, model=RatingModel.BINOMIAL, theta=0.25),
    replace(VIDEO, scale=replace(VIDEO.scale, low=0, high=10, good=7, poor=3), theta_band=(0.2,)),
]


def counts(service: Service) -> np.ndarray:
    return np.random.default_rng(7).poisson(0.3, len(service.rated_at)).astype(np.int64)


@pytest.mark.parametrize("service", SERVICES, ids=["band", "no band", "binomial", "eleven ratings"])
def test_the_curve_agrees_with_the_kernel_at_every_theta(service: Service) -> None:
    some = counts(service)
    curve = Curves().curve(service, some)
    rated = service.kernel().distribution(some[None, :])
    at = {opinion: place for place, opinion in enumerate(np.round(curve.opinions, 6).tolist())}
    good, poor = at[service.scale.good - 0.5], at[service.scale.poor + 0.5]
    assert curve.share[poor] == pytest.approx(rated.pow[0], abs=1e-9)
    assert 1 - curve.share[good] == pytest.approx(rated.gob[0], abs=1e-9)
    poors = [rated.pow[0], *rated.band_pow[0]]
    assert (curve.lower[poor], curve.upper[poor]) == pytest.approx((min(poors), max(poors)), abs=1e-9)
    each = [service.kernel().distribution(some[None, :]).ratings[0]]
    each += [
        replace(service, theta=theta, model=RatingModel.BETA).kernel().distribution(some[None, :]).ratings[0]
        for theta in service.theta_band
    ]
    assert curve.rating_lower == pytest.approx(np.min(each, axis=0), abs=1e-9)
    assert curve.rating_upper == pytest.approx(np.max(each, axis=0), abs=1e-9)


@pytest.mark.parametrize("service", SERVICES[:2])
def test_a_curve_rises_from_the_low_end_to_one(service: Service) -> None:
    curve = Curves().curve(service, counts(service))
    assert np.all(np.diff(curve.share) >= 0)
    assert curve.share[-1] == pytest.approx(1)
    assert (curve.opinions[0], curve.opinions[-1]) == (service.scale.low, service.scale.high)
