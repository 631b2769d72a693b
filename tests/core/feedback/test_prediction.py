"""Prediction of a rating: reference values, and sums that are what a slow loop finds."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.core.feedback.prediction import least_variance, predicted, ranked_score
from qoemon.core.qoe.distribution import RatingKernel
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5, Scale

HUNDRED = Scale(low=0, high=100, good=60, poor=40)


def test_a_rating_is_predicted_as_the_rounded_opinion() -> None:
    """The values of a MOS of 3.5, 2 and 5 at theta .3, computed independently."""
    at = predicted(np.array([3.5, 2.0, 5.0]), 0.3)
    assert at.shares[0] == pytest.approx([0.04117, 0.16792, 0.24484, 0.32374, 0.22233], abs=5e-6)
    assert at.mean == pytest.approx([3.518127, 1.962159, 5], abs=5e-7)
    assert at.variance == pytest.approx([1.277202, 1.042938, 0], abs=5e-7)
    assert at.rank[0] == pytest.approx(0.625626, abs=5e-7)
    assert ranked_score(at.shares[:1], np.array([1]))[0] == pytest.approx(0.974846, abs=5e-7)


@pytest.mark.parametrize(
    ("scale", "theta", "model"),
    [
        (ACR5, 0.3, RatingModel.BETA),
        (HUNDRED, 0.15, RatingModel.BETA),
        (ACR5, 0.25, RatingModel.BINOMIAL),
        (ACR5, 0.3, RatingModel.EMPIRICAL),
    ],
)
def test_moments_are_those_of_the_predicted_shares(scale: Scale, theta: float, model: RatingModel) -> None:
    counts = np.array([[5, 4, 1, 0, 0], [0, 0, 0, 3, 7]])
    study = EmpiricalRatings.of(counts, ACR5) if model is RatingModel.EMPIRICAL else None
    mos = scale.low + (scale.high - scale.low) * np.linspace(0.01, 0.99, 9)
    at = predicted(mos, theta, scale, model, study)
    for row, shares in enumerate(at.shares):
        mean = sum(p * r for p, r in zip(shares, scale.ratings, strict=True))
        square = [(r - mean) ** 2 for r in scale.ratings]
        variance = sum(p * s for p, s in zip(shares, square, strict=True))
        assert at.mean[row] == pytest.approx(mean)
        assert at.variance[row] == pytest.approx(variance)
        assert at.spread[row] == pytest.approx(
            sum(p * s**2 for p, s in zip(shares, square, strict=True)) - variance**2
        )
        scores = ranked_score(np.tile(shares, (len(shares), 1)), np.arange(len(shares)))
        assert at.rank[row] == pytest.approx(shares @ scores)


def test_shares_and_gob_are_those_that_the_daemon_publishes() -> None:
    mos = np.linspace(1, 5, 41)
    at = predicted(mos, 0.3)
    published = RatingKernel(mos, 0.3, scale=ACR5).distribution(np.eye(41, dtype=np.int64))
    assert at.shares == pytest.approx(published.ratings)
    assert at.good == pytest.approx(published.gob)


def test_the_floor_of_the_variance_grows_with_the_scale() -> None:
    assert least_variance(ACR5) == 0.02
    assert least_variance(HUNDRED) == 12.5
