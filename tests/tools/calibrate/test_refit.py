"""A proposal of constants: the truth where ratings tell it, what was before where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.config.studies.study import StudyError
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX, QosMapping
from qoemon.tools.calibrate.fit import fit_near
from qoemon.tools.calibrate.refit import Model, Rated, fitted, refit
from tests.support.feedback import drawn

BEFORE = Model(VIDEO_STALL, 0.3)
LOWER = Model(VIDEO_STALL.with_parameters({"scale": 2.9}), 0.3)
"""Users whose best rating has a mean of about 4.4, where the published constants have 5."""


def rated(truth: Model, ratings: int, days: int = 10, seed: int = 1) -> Rated:
    """Ratings of users by this model: half of the sessions have no stall."""
    rng = np.random.default_rng(seed)
    n = np.where(rng.random(ratings) < 0.5, 0, rng.integers(1, 5, ratings)).astype(np.float64)
    axes = (n, n * rng.uniform(1, 6, ratings))
    rating = drawn(truth.predict(axes).shares, rng).astype(np.int64)
    return Rated(axes, rating, np.ones(ratings, np.int64), rng.integers(0, days, ratings))


def test_a_lower_ceiling_is_found_and_proposed() -> None:
    found = refit(rated(LOWER, 2000), BEFORE)
    assert found.after.mapping(np.zeros(1), np.zeros(1))[0] == pytest.approx(4.4, abs=0.06)
    assert found.proposed
    assert (found.ratings, found.days, found.folds, found.better) == (2000, 10, 5, 5)


def test_constants_that_are_right_are_kept() -> None:
    found = refit(rated(BEFORE, 2000), BEFORE)
    assert not found.proposed
    for name, value in found.after.mapping.parameters.items():
        assert value == pytest.approx(VIDEO_STALL.parameters[name], rel=0.25)


def test_few_ratings_move_constants_little() -> None:
    few, many = (fitted(rated(LOWER, ratings), BEFORE).mapping.parameters for ratings in (10, 3000))
    assert abs(few["scale"] - 3.5) < abs(many["scale"] - 3.5)
    assert few["time"] == pytest.approx(4.5, rel=0.3)


def test_a_constant_that_ratings_do_not_tell_stays() -> None:
    """Where nobody has a stall, time and count have no effect."""
    some = rated(LOWER, 500)
    calm = Rated((np.zeros(500), np.zeros(500)), np.full(500, 4), some.count, some.day)
    after = fitted(calm, BEFORE).mapping.parameters
    assert (after["time"], after["count"]) == pytest.approx((4.5, 5.7))
    assert after["scale"] + after["floor"] == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("theta", [0.15, 0.45])
def test_theta_follows_with_the_number_of_ratings(theta: float) -> None:
    truth = Model(VIDEO_STALL, theta)
    few, many = (fitted(rated(truth, ratings), BEFORE).theta for ratings in (40, 4000))
    assert many == pytest.approx(theta, abs=0.04)
    assert abs(few - 0.3) < abs(many - 0.3)


def test_equal_ratings_may_be_one_row() -> None:
    some = rated(LOWER, 300)
    rows = np.column_stack([*some.axes, some.rating, some.day])
    pooled, count = np.unique(np.vstack([rows, rows]), axis=0, return_counts=True)
    n, t, rating, day = pooled.T
    twice = Rated((n, t), rating.astype(np.int64), count, day.astype(np.int64))
    doubled = Rated(
        *([np.concatenate([axis, axis]) for axis in some.axes],),
        *(np.tile(each, 2) for each in (some.rating, some.count, some.day)),
    )
    one, other = (refit(each, BEFORE) for each in (twice, doubled))
    assert one.after.mapping.parameters == pytest.approx(other.after.mapping.parameters, rel=1e-4)
    assert (one.gain, one.error) == pytest.approx((other.gain, other.error), rel=1e-3)
    assert one.ratings == other.ratings == 600


def test_few_days_propose_nothing() -> None:
    for days in (1, 4):
        found = refit(rated(LOWER, 2000, days=days), BEFORE)
        assert not found.proposed
        assert found.folds == days
    with pytest.raises(ValueError, match="no ratings"):
        refit(rated(LOWER, 0), BEFORE)


def test_the_prior_is_the_distance_of_logarithms() -> None:
    """One rating of 3 in one condition, with one free constant: the minimum of the sum of two squares."""
    found = fit_near(VIDEO_STALL, (), (np.zeros(1), np.zeros(1)), np.array([3.0]), np.ones(1), 0.5, ("scale",))
    grid = np.linspace(1, 4, 300_001)
    squares = ((grid + 1.5 - 3) / 0.5) ** 2 + (np.log(grid / 3.5) / 0.3) ** 2
    assert found.parameters["scale"] == pytest.approx(grid[squares.argmin()], abs=1e-4)
    assert {**found.parameters, "scale": 3.5} == dict(VIDEO_STALL.parameters)


def test_a_constant_that_does_not_exist_is_refused() -> None:
    with pytest.raises(StudyError, match="no constant ceiling"):
        refit(rated(LOWER, 100), BEFORE, only=("ceiling",))


@pytest.mark.parametrize("mapping", [WEB_IQX])
def test_waiting_times_are_refitted_too(mapping: QosMapping) -> None:
    rng = np.random.default_rng(1)
    axes = (rng.lognormal(0.5, 1, 3000),)
    beta = mapping.parameters["beta"]
    truth = Model(mapping.with_parameters({"beta": beta * 1.5}), 0.3)
    rating = drawn(truth.predict(axes).shares, rng).astype(np.int64)
    found = refit(Rated(axes, rating, np.ones(3000, np.int64), np.arange(3000) % 12), Model(mapping, 0.3))
    assert found.after.mapping.parameters["beta"] == pytest.approx(beta * 1.5, rel=0.1)
    assert found.proposed
