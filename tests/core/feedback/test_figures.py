"""Figures of feedback: the truth where it is known, a slow twin elsewhere, and no figure from few ratings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from qoemon.core.feedback.answers import Answers, sums_of
from qoemon.core.feedback.day import DaySums, stacked
from qoemon.core.feedback.figures import (
    LEAST_RATINGS,
    bias,
    bias_by_class,
    rank_ratio,
    reliability,
    response_ratio,
    spread_ratio,
)
from qoemon.core.feedback.prediction import predicted
from qoemon.core.qoe.scale import ACR5
from tests.support.feedback import day_of, drawn

AT = predicted(np.array([2.0, 3.0, 4.0, 4.8]), 0.3)
"""One condition in each class."""


def days_of(sizes: list[int], seed: int = 1, theta: float = 0.3, shift: float = 0.0) -> DaySums:
    """Days of so many ratings, by users with this theta and a shift of the MOS."""
    rng = np.random.default_rng(seed)
    truth = predicted(np.clip(AT.mos + shift, 1, 5), theta)
    days = []
    for size in sizes:
        condition = rng.integers(0, 4, size)
        days.append(day_of(drawn(truth.shares[condition], rng), AT.at(condition)))
    return stacked(days)


def test_the_bias_and_its_interval_are_those_of_the_daily_means() -> None:
    days = days_of([40, 9, 0, 25])
    daily = [days.day(at).residuals.sum() / 2**20 / days.day(at).answered.sum() for at in (0, 1, 3)]
    found = bias(days)
    expected = stats.t.interval(0.95, 2, np.mean(daily), stats.sem(daily))
    assert found.value == pytest.approx(np.mean(daily))
    assert (found.lower, found.upper) == pytest.approx(expected)
    apart = bias_by_class(days)
    of_one = days.residuals[[0, 1, 3], 2] / 2**20 / days.answered[[0, 1, 3], 2]
    enough = days.answered.sum(axis=0)[2] >= LEAST_RATINGS
    assert np.isnan(apart.value[2]) == (not enough)
    assert not enough or apart.value[2] == pytest.approx(of_one.mean())


def test_a_shift_of_what_users_say_is_found() -> None:
    days = days_of([4000] * 5, shift=-0.3)
    found, apart = bias(days), bias_by_class(days)
    truth = predicted(AT.mos - 0.3, 0.3).mean - AT.mean
    assert found.value == pytest.approx(truth.mean(), abs=0.03)
    assert apart.value == pytest.approx(truth, abs=0.06)
    assert found.upper < 0


def test_with_few_ratings_there_are_only_counts() -> None:
    few = days_of([14, 15])
    for figure in (*bias(few), *spread_ratio(few), rank_ratio(few.total())):
        assert np.isnan(figure)
    assert few.answered.sum() == LEAST_RATINGS - 1
    points = reliability(few.total(), ACR5)
    assert points.ratings.sum() == 29
    assert np.isnan([points.mean, points.good, points.poor, points.expected_good]).all()
    assert np.isfinite(bias(days_of([15, 15])).value)


def test_one_day_is_one_witness_and_has_no_interval() -> None:
    found = bias(days_of([1000]))
    assert np.isfinite(found.value)
    assert np.isnan([found.lower, found.upper]).all()
    assert np.isfinite(spread_ratio(days_of([1000])).value)
    assert np.isnan(spread_ratio(days_of([1000])).lower)


def test_a_day_without_ratings_changes_nothing() -> None:
    with_gap, without = days_of([40, 0, 60, 50]), stacked([days_of([40, 0, 60, 50]).day(at) for at in (0, 2, 3)])
    assert bias(with_gap) == pytest.approx(bias(without))
    assert spread_ratio(with_gap) == pytest.approx(spread_ratio(without))
    assert bias_by_class(with_gap).upper == pytest.approx(bias_by_class(without).upper, nan_ok=True)


@pytest.mark.parametrize("theta", [0.1, 0.3, 0.5])
def test_the_spread_ratio_tells_how_far_users_disagree(theta: float) -> None:
    days = days_of([3000] * 8, theta=theta)
    true, ours = predicted(AT.mos[:3], theta), AT.at(np.arange(3))
    square = true.variance + (true.mean - ours.mean) ** 2
    found = spread_ratio(days)
    assert found.value == pytest.approx(square.sum() / ours.variance.sum(), rel=0.04)
    assert (found.lower < 1 < found.upper) == (theta == 0.3)
    assert rank_ratio(days.total()) == pytest.approx(1, abs=0.02) or theta != 0.3


def test_the_reliability_diagram_lies_on_its_diagonal_if_the_model_holds() -> None:
    points = reliability(days_of([8000] * 5).total(), ACR5)
    assert points.mean == pytest.approx(points.expected_mean, abs=0.04)
    assert points.good == pytest.approx(points.expected_good, abs=0.02)
    assert points.poor == pytest.approx(points.expected_poor, abs=0.02)
    assert points.expected_mean == pytest.approx(AT.mean, abs=1e-6)
    assert points.expected_good == pytest.approx(AT.good, abs=1e-6)


def test_thumbs_count_as_good_or_not_and_as_answers() -> None:
    condition = np.full(60, 2)
    rating = np.where(np.arange(60) < 20, 5.0, np.nan)
    thumb = np.where(np.arange(60) < 20, 0, np.where(np.arange(60) < 50, -1, 0))
    answers = Answers(np.ones(60, np.bool_), rating, thumb, np.zeros((60, 0)))
    sums = sums_of(answers, AT.at(condition), ACR5)
    points = reliability(sums, ACR5)
    assert points.good[2] == pytest.approx(20 / 50)
    assert points.expected_good[2] == pytest.approx(AT.good[2], abs=1e-6)
    assert np.isnan(points.mean[2])
    assert response_ratio(sums)[2] == pytest.approx(50 / 60)
    assert np.isnan(response_ratio(sums)[0])


def test_who_is_asked_by_condition_does_not_move_the_bias() -> None:
    """Users are asked four times as often where it was bad: their mean rating falls, the mean residual does not."""
    rng = np.random.default_rng(3)
    condition = rng.integers(0, 4, 40_000)
    rating = drawn(AT.shares[condition], rng)
    asked = rng.random(40_000) < np.where(condition < 2, 0.2, 0.05)
    everyone, some = (
        stacked(
            [
                day_of(rating[day & who], AT.at(condition[day & who]))
                for day in np.eye(2, dtype=bool)[np.arange(40_000) % 2].T
            ]
        )
        for who in (np.ones(40_000, np.bool_), asked)
    )
    raw = [days.ratings.sum() / days.answered.sum() for days in (some, everyone)]
    assert raw[0] - raw[1] < -0.4
    assert bias(some).value == pytest.approx(0, abs=0.04)


def test_a_response_ratio_falls_with_those_who_do_not_answer() -> None:
    sums = day_of(np.where(np.arange(40) % 4 == 0, 3.0, np.nan), AT.at(np.full(40, 1)))
    assert response_ratio(sums)[1] == 0.25
    assert np.isnan(response_ratio(replace(sums, asked=np.zeros(4, np.int64)))).all()


def test_a_session_with_a_rating_and_a_thumb_has_responded_once() -> None:
    both = Answers(
        np.ones(4, np.bool_), np.array([4.0, 4, np.nan, np.nan]), np.array([1, 0, -1, 0]), np.zeros((4, 0))
    )
    assert response_ratio(sums_of(both, AT.at(np.full(4, 1)), ACR5))[1] == 0.75
