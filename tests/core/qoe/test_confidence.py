"""Bounds: a scalar twin, identities, coverage and width over known populations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from benchmarks import coverage
from qoemon.core.arrays import Floats
from qoemon.core.qoe.confidence import interval, lower_bound_of_many

ANSWERS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def bounds_of(g: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The interval for these users, one value each."""
    values = np.array(g)
    lower, upper = of(values.mean(), (values**2).mean(), len(g), confidence)
    return lower, upper


def of(mean: float, square: float, users: float, confidence: float = 0.95) -> list[float]:
    return [float(x) for x in interval(np.array([mean]), np.array([square]), np.array([users]), confidence).ravel()]


def scalar_upper(g: Sequence[float], confidence: float) -> float:
    """The upper bound by its definition: list the users with one more at 1, then search for the bound."""
    more = [*g, 1.0]
    centre = sum(more) / len(more)
    of_spread = sum((x - centre) ** 2 for x in more) / len(more)
    n = len(g) * centre * (1 - centre) / of_spread
    mean = sum(g) / len(g)
    shifted = min(mean + 0.5 * mean / n, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    inside, outside = shifted, 1.0
    for _ in range(200):
        middle = (inside + outside) / 2
        if (middle - shifted) ** 2 * n <= z * z * middle * (1 - middle):
            inside = middle
        else:
            outside = middle
    return inside


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("users", [1, 2, 7, 60])
def test_the_bounds_are_those_of_a_search_over_listed_users(users: int, confidence: float) -> None:
    rng = np.random.default_rng(users)
    for shape in (0.05, 1.0, 20.0):
        g = rng.beta(shape, 3 * shape, users).tolist()
        lower, upper = bounds_of(g, confidence)
        assert upper == pytest.approx(scalar_upper(g, confidence), abs=1e-9)
        assert lower == pytest.approx(1 - scalar_upper([1 - x for x in g], confidence), abs=1e-9)


@pytest.mark.parametrize(("poor", "users"), [(0, 10), (1, 10), (3, 40), (50, 100), (40, 40)])
def test_answers_of_0_and_1_have_wilsons_interval_with_its_continuity_correction(poor: int, users: int) -> None:
    """Both ends solve |p - mu| = z sqrt(mu (1 - mu) / N), with p moved by (1 - p) / 2N down and by p / 2N up."""
    p, z = poor / users, NormalDist().inv_cdf(0.975)
    lower, upper = of(p, p, users)
    for bound, moved in ((lower, p - (1 - p) / (2 * users)), (upper, p + p / (2 * users))):
        if 0 < bound < 1:
            assert abs(moved - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / users), abs=1e-9)


def test_nobody_poor_among_n_is_at_most_wilsons_rule() -> None:
    """(Wilson 1927) with p = 0 the bound is z^2 / (N + z^2); about 4 / N."""
    z2 = NormalDist().inv_cdf(0.975) ** 2
    for users in (1, 10, 1000):
        assert of(0.0, 0.0, users) == pytest.approx([0, z2 / (users + z2)], abs=1e-12)
        assert of(1.0, 1.0, users) == pytest.approx([users / (users + z2), 1], abs=1e-12)


@given(ANSWERS, st.floats(0.5, 0.999))
def test_the_interval_contains_the_point_and_stays_on_the_scale(g: list[float], confidence: float) -> None:
    lower, upper = bounds_of(g, confidence)
    assert 0 <= lower <= np.mean(g) <= upper <= 1


@given(ANSWERS)
def test_good_and_poor_are_bounded_alike(g: list[float]) -> None:
    lower, upper = bounds_of(g)
    mirrored = bounds_of([1 - x for x in g])
    assert (1 - upper, 1 - lower) == pytest.approx(mirrored, abs=1e-7)


@given(ANSWERS, st.integers(1, 10_000), st.integers(1, 10_000))
def test_more_users_never_widen_it(g: list[float], users: int, more: int) -> None:
    mean, square = float(np.mean(g)), float(np.mean(np.square(g)))
    lower, upper = of(mean, square, users)
    lower_of_more, upper_of_more = of(mean, square, users + more)
    assert lower <= lower_of_more + 1e-12
    assert upper_of_more <= upper + 1e-12


@given(ANSWERS, st.floats(0.5, 0.98))
def test_more_confidence_widens_it(g: list[float], confidence: float) -> None:
    lower, upper = bounds_of(g, confidence)
    lower_of_more, upper_of_more = bounds_of(g, confidence + 0.01)
    assert lower_of_more <= lower + 1e-12
    assert upper <= upper_of_more + 1e-12


@given(ANSWERS)
def test_a_mos_is_bounded_as_on_the_unit_scale(g: list[float]) -> None:
    mos = 1 + 4 * np.array(g)
    computed = interval(np.array([mos.mean()]), np.array([(mos**2).mean()]), np.array([len(g)]), low=1.0, high=5.0)
    assert computed[0] == pytest.approx(1 + 4 * np.array(bounds_of(g)), abs=1e-6)


def test_many_users_have_the_normal_interval() -> None:
    mean, variance, users = 0.2, 0.03, 10**7
    reach = NormalDist().inv_cdf(0.975) * math.sqrt(variance / users)
    assert of(mean, variance + mean**2, users) == pytest.approx([mean - reach, mean + reach], rel=1e-5)


def test_a_session_that_counts_often_is_one_user() -> None:
    """The moments of 60 rating intervals are those of one; only the number of users differs."""
    once = np.random.default_rng(2).beta(1, 4, 20)
    often = np.repeat(once, 60)
    assert of(often.mean(), (often**2).mean(), 20) == pytest.approx(of(once.mean(), (once**2).mean(), 20))


def test_no_users_have_no_bounds_and_groups_do_not_mix() -> None:
    computed = interval(
        np.array([0.3, np.nan, 0.3, 0.0]), np.array([0.1, np.nan, 0.1, 0.0]), np.array([9, 0, 40, 0])
    )
    assert computed.shape == (4, 2)
    assert np.isnan(computed[[1, 3]]).all()
    assert computed[0].tolist() == of(0.3, 0.1, 9)
    assert computed[2].tolist() == of(0.3, 0.1, 40)
    assert interval(np.zeros(0), np.zeros(0), np.zeros(0)).shape == (0, 2)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, math.nan])
def test_confidence_is_checked(confidence: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < confidence < 1"):
        interval(np.zeros(1), np.zeros(1), np.ones(1), confidence)


@pytest.mark.parametrize(
    ("users", "conditions"),
    [
        pytest.param(coverage.players, (0.3, 4), id="players who stall"),
        pytest.param(coverage.players, (0, 1, 0.01), id="players in an outage"),
        pytest.param(coverage.readers, (2, 1), id="readers"),
        pytest.param(coverage.readers, (0.2, 1, 0.02), id="readers, few of them in an outage"),
    ],
)
def test_coverage_and_width_keep_the_bar(
    users: Callable[..., coverage.Population], conditions: tuple[float, ...]
) -> None:
    """A small version of benchmarks/coverage.py with its limits: 94 % coverage, 1.1 times the normal interval."""
    population = users(*conditions)
    for _, cell in coverage.cells(population, repetitions=6000, sizes=(10, 100, 1000), seed=8):
        assert (cell.coverage >= coverage.LEAST_COVERAGE).all(), cell
        assert (cell.width[cell.held] <= coverage.MOST_WIDTH).all(), cell


def test_the_normal_interval_would_not() -> None:
    """The limits can be missed: in nine of ten samples, none of ten users is affected by the outage."""
    _, cell = next(coverage.cells(coverage.players(0, 1, 0.01), repetitions=2000, sizes=(10,), seed=8))
    assert cell.other.max() < 0.2


def test_the_population_is_what_it_says() -> None:
    share: Floats = coverage.players(0, 1, 0.25).share
    truth = share @ coverage.answers(coverage.SERVICES["video-stall"][1])
    assert truth[1] == pytest.approx(0.25 * 0.8915, abs=0.001)  # the most that a stall can cost
    assert truth[2] == pytest.approx(1 - 0.25 * 3.5 / 4, abs=0.001)


@pytest.mark.parametrize("error", [0.025, 1e-3, 1e-5, 1e-7, 4e-9, 1e-10])
@pytest.mark.parametrize("most", [1.0, 0.8, 0.5])
def test_the_bound_for_many_looks_is_wrong_as_rarely_as_it_says(error: float, most: float) -> None:
    """Users are at 0 or at `most`: the exact chance that the bound is above the truth is a binomial tail."""
    for users in (50, 100, 300, 3000):
        count = np.arange(users + 1)
        mean = most * count / users
        bound = lower_bound_of_many(mean, most * mean, np.full(users + 1, users), error)
        assert (np.diff(bound) >= 0).all()
        for share in (0.01, 0.05, 0.15, 0.3, 0.5, 0.75, 0.95):
            wrong = np.flatnonzero(bound > most * share)
            chance = binom.sf(wrong[0] - 1, users, share) if len(wrong) else 0
            assert chance <= 2 * error


def test_the_bound_for_many_looks_of_nobody_and_of_all() -> None:
    bound = lower_bound_of_many(np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([50, 50, 0]), 1e-9)
    assert bound[0] == 0
    assert 0.4 < bound[1] < 1
    assert np.isnan(bound[2])
    for error in (0.0, 0.6, float("nan")):
        with pytest.raises(ValueError, match="expected 0 < error"):
            lower_bound_of_many(np.ones(1), np.ones(1), np.ones(1), error)
