"""Errors of GoB and PoW, what chance makes of them, and the rating model that predicts other conditions best."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.config.studies.ratings import Ratings
from qoemon.core.qoe.distribution import binomial_theta, rating_cdf
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.goodness import (
    choose,
    good,
    goodness,
    goodness_of_theta,
    poor,
    rating_counts,
)
from qoemon.tools.calibrate.opinions import rating_shares

MOS = np.linspace(1.4, 4.7, 40)


def drawn(shares: np.ndarray, raters: int, seed: int = 1) -> Ratings:
    rng = np.random.default_rng(seed)
    conditions = {
        f"c{at}": rng.choice(np.arange(1, 6.0), raters, p=each / each.sum()) for at, each in enumerate(shares)
    }
    return Ratings.of(1, 5, conditions)


def test_ratings_are_counted_by_condition() -> None:
    ratings = Ratings.of(1, 5, {"a": np.array([1, 2, 2.0]), "b": np.array([5.0]), "c": np.array([4.4, 4.6])})
    assert rating_counts(ratings, ACR5).tolist() == [[1, 2, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 1]]


def test_good_and_poor_are_the_shares_of_these_ratings() -> None:
    shares = np.array([[0.1, 0.2, 0.3, 0.25, 0.15]])
    assert (good(shares, ACR5)[0], poor(shares, ACR5)[0]) == (pytest.approx(0.4), pytest.approx(0.3))


def test_the_error_of_the_truth_is_the_noise_floor() -> None:
    """Of many studies of few ratings, on average; and the bias is 0."""
    shares = rating_shares(MOS, 0.2, ACR5)
    found = [goodness(rating_counts(drawn(shares, 12, seed), ACR5), shares, ACR5) for seed in range(60)]
    for of in ("gob", "pow"):
        errors = [getattr(each, of) for each in found]
        assert np.mean([each.mean for each in errors]) == pytest.approx(errors[0].floor, rel=0.04)
        assert np.mean([each.bias for each in errors]) == pytest.approx(0, abs=0.004)


def test_the_noise_floor_falls_with_the_root_of_the_number_of_ratings() -> None:
    shares = rating_shares(MOS, 0.2, ACR5)
    few, many = (goodness(rating_counts(drawn(shares, n), ACR5), shares, ACR5).gob.floor for n in (10, 160))
    assert few / many == pytest.approx(4, rel=0.06)


def test_a_wrong_prediction_has_a_bias_by_hand() -> None:
    counts = np.array([[10, 0, 0, 0, 0], [0, 0, 0, 0, 10]])
    shares = np.array([[0.8, 0, 0, 0.2, 0], [0, 0, 0.5, 0, 0.5]])
    found = goodness(counts, shares, ACR5)
    assert (found.gob.mean, found.gob.bias) == (pytest.approx(0.35), pytest.approx(-0.15))
    assert (found.pow.mean, found.pow.bias) == (pytest.approx(0.1), pytest.approx(-0.1))


def test_the_floor_of_theta_knows_that_the_mos_comes_from_the_same_ratings() -> None:
    """With the true theta, the error is the floor, which is below that of a prediction without the ratings."""
    shares = rating_shares(MOS, 0.2, ACR5)
    found = [goodness_of_theta(drawn(shares, 15, seed), 0.2) for seed in range(40)]
    blind = goodness(rating_counts(drawn(shares, 15), ACR5), shares, ACR5)
    assert np.mean([each.gob.mean for each in found if each]) == pytest.approx(found[0].gob.floor, rel=0.05)  # type: ignore[union-attr]
    assert found[0] is not None
    assert found[0].gob.floor < 0.8 * blind.gob.floor


def of_binomial() -> np.ndarray:
    cdf = rating_cdf(MOS, binomial_theta(ACR5), ACR5.cuts, RatingModel.BINOMIAL, ACR5)
    return np.diff(cdf[:, 1:], axis=1, prepend=0)


def of_two_camps() -> np.ndarray:
    """Users of two kinds, who rate 1 or 2 and 4 or 5, and nobody 3: no Beta has this."""
    high = (MOS - 1.4) / 3.4
    return np.outer(1 - high, [0.6, 0.4, 0, 0, 0]) + np.outer(high, [0, 0, 0, 0.3, 0.7])


@pytest.mark.parametrize(
    ("shares", "model"),
    [
        pytest.param(rating_shares(MOS, 0.15, ACR5), RatingModel.BETA, id="beta"),
        pytest.param(of_binomial(), RatingModel.BINOMIAL, id="binomial"),
        pytest.param(of_two_camps(), RatingModel.EMPIRICAL, id="empirical"),
    ],
)
def test_the_model_of_the_ratings_is_found(shares: np.ndarray, model: RatingModel) -> None:
    choice = choose(drawn(shares, 60))
    assert choice is not None
    assert choice.best is model
    assert set(choice.errors) == set(RatingModel)


def test_chance_seldom_replaces_the_default() -> None:
    kept = [choose(drawn(rating_shares(MOS, 0.2, ACR5), 24, seed)) for seed in range(20)]
    assert sum(each is not None and each.best is RatingModel.BETA for each in kept) >= 18


def test_sliders_and_few_conditions_have_no_goodness() -> None:
    slider = Ratings.of(0, 100, {str(at): np.array([at, at + 10.5]) for at in range(10)})
    assert (goodness_of_theta(slider, 0.2), choose(slider)) == (None, None)
    assert choose(drawn(rating_shares(MOS[:5], 0.2, ACR5), 20)) is None
