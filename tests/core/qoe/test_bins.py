"""Bins: the error of binning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.counting.stalls import stall_condition, stall_rate
from qoemon.core.qoe.bins import (
    RESPONSE_BINS,
    STALL_BINS,
    mapped_stalls,
    mos_level,
    mos_levels,
    response_bin,
    stall_bin,
)
from qoemon.core.qoe.distribution import RatingKernel, rating_cdf
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX, RatingModel
from qoemon.core.qoe.scale import ACR5, Scale
from tests.support.oracle import bin_of
from tests.support.streams import FEW

SESSIONS = 20_000
Population = tuple[Ints, Ints, Ints]
"""Stalls, stall ms and played ms of each session in a rating interval."""


def ms(seconds: Floats) -> Ints:
    return np.rint(np.maximum(seconds, 0) * 1000).astype(np.int64)


def minute(rng: np.random.Generator, rate: float | Floats, mean_s: float) -> Population:
    """A minute of each session: random stalls with Gamma distributed duration; the rest was played."""
    n = rng.poisson(rate, SESSIONS)
    t = np.where(n > 0, rng.gamma(np.maximum(n, 1) * 2, mean_s / 2), 0)
    return n, ms(t), ms(np.maximum(60 - t, 1))


def bimodal(rng: np.random.Generator) -> Population:
    return minute(rng, np.where(rng.random(SESSIONS) < 0.8, 0.1, 8.0), 4)


def outage(rng: np.random.Generator) -> Population:
    """A total outage: half of the sessions played nothing, the others up to 2 s; most stalls began before."""
    p = np.where(rng.random(SESSIONS) < 0.5, 0, rng.uniform(0, 2, SESSIONS))
    return rng.integers(0, 2, SESSIONS), ms(60 - p), ms(p)


def stutter(rng: np.random.Generator) -> Population:
    n = rng.integers(21, 60, SESSIONS)
    t = n * rng.uniform(0.05, 0.4, SESSIONS)
    return n, ms(t), ms(60 - t)


def hiccups(rng: np.random.Generator) -> Population:
    return np.ones(SESSIONS, np.int64), ms(rng.uniform(0.01, 0.99, SESSIONS)), ms(rng.uniform(40, 60, SESSIONS))


def beginners(rng: np.random.Generator) -> Population:
    """1 to 5 s played, and active long enough to be rated."""
    p = rng.uniform(1, 5, SESSIONS)
    n = rng.integers(0, 3, SESSIONS)
    t = np.where(n > 0, rng.uniform(0.2, 8, SESSIONS), 0)
    rated = p + t >= 5
    return n[rated], ms(t)[rated], ms(p)[rated]


SHAPES: dict[str, Callable[[np.random.Generator], Population]] = {
    "calm": lambda rng: minute(rng, 0.2, 2),
    "moderate": lambda rng: minute(rng, 1.5, 3),
    "heavy": lambda rng: minute(rng, 5, 5),
    "bimodal": bimodal,
    "outage": outage,
    "stutter": stutter,
    "hiccups": hiccups,
    "beginners": beginners,
}

WAITS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "lognormal": lambda rng: rng.lognormal(1.27, 0.47, SESSIONS),
    "fast": lambda rng: rng.lognormal(-3, 1, SESSIONS),
    "heavy tail": lambda rng: np.minimum(0.3 * (1 + rng.pareto(0.8, SESSIONS)), 300),
}


def video_mos(n: Ints, t_ms: Ints, p_ms: Ints) -> Floats:
    """The exact MOS of each session, which is the floor where nothing was played."""
    p = np.maximum(p_ms, 1)
    return np.where(p_ms > 0, VIDEO_STALL(n * 60_000 / p, t_ms * 60 / p), 1.5)


def check(counts: Counts, kernel: RatingKernel, mos: Floats, theta: float) -> None:
    """Ratings predicted from the histogram equal those of the exact conditions."""
    predicted = kernel.distribution(counts[None])
    exact = rating_cdf(mos, theta, np.array([2.5, 3.5]), RatingModel.BETA, ACR5).mean(axis=0)
    assert predicted.mos[0] == pytest.approx(mos.mean(), abs=0.005)
    assert (predicted.gob[0], predicted.pow[0]) == pytest.approx((1 - exact[1], exact[0]), abs=0.002)


@pytest.mark.parametrize("theta", [0.1, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_levels_of_mos_cost_at_most_005_mos_and_002_gob(shape: str, theta: float) -> None:
    """Stalls, through the same steps as the daemon's: condition, MOS, level, kernel."""
    n, t_ms, p_ms = SHAPES[shape](np.random.default_rng(5))
    level = mos_level(VIDEO_STALL(*stall_condition(n, t_ms, p_ms)), ACR5)
    at = mos_levels(ACR5)
    counts = np.bincount(level, minlength=len(at))
    check(counts, RatingKernel(at, theta, scale=ACR5), video_mos(n, t_ms, p_ms), theta)


@pytest.mark.parametrize("theta", [0.1, 0.3])
def test_no_condition_is_off_by_more_than_half_a_level(theta: float) -> None:
    """For any population: each MOS is accurate to .0025, its GoB and PoW to .002."""
    mos = np.linspace(1, 5, 40_001)
    level, at = mos_level(mos, ACR5), mos_levels(ACR5)
    assert np.abs(at[level] - mos).max() <= 0.0025 + 1e-12
    cuts = np.array([2.5, 3.5])
    exact, levelled = (rating_cdf(each, theta, cuts, RatingModel.BETA, ACR5) for each in (mos, at[level]))
    assert np.abs(exact - levelled).max() <= 0.002


@pytest.mark.parametrize("scale", [ACR5, Scale(0, 10, 7, 3), Scale(1, 7, 5, 3)])
def test_ratings_are_levels(scale: Scale) -> None:
    ratings = scale.ratings.astype(float)
    at = mos_levels(scale)
    assert at[mos_level(ratings, scale)].tolist() == pytest.approx(ratings.tolist(), abs=1e-12)
    assert mos_level(ratings[-1:], scale).tolist() == [len(at) - 1]


@pytest.mark.parametrize("shape", WAITS)
def test_binning_responses_costs_at_most_005_mos_and_002_gob(shape: str) -> None:
    x = WAITS[shape](np.random.default_rng(6))
    counts = np.bincount(response_bin(x), minlength=RESPONSE_BINS.size)
    check(counts, RatingKernel(WEB_IQX(*RESPONSE_BINS.conditions), 0.25, scale=ACR5), WEB_IQX(x), 0.25)


@FEW
@given(st.integers(0, 10**9), st.integers(0, 10**12), st.integers(0, 10**12))
def test_stall_bins_are_those_of_exact_fractions(n: int, t_ms: int, p_ms: int) -> None:
    for small in (1, 10**3, 10**6, 10**9):
        one = (min(n, 10**9) // small, t_ms // small, p_ms // small)
        sums = [np.array([each]) for each in one]
        mine = stall_bin(stall_rate(*sums), stall_condition(*sums)[1])[0]
        assert divmod(int(mine), 62) == bin_of(*one) or not one[1] + one[2]


@FEW
@given(st.integers(0, 100), st.integers(1, 60_000), st.integers(1, 60_000))
def test_the_shown_stalls_are_those_of_the_mapping_per_minute_of_media(n: int, t_ms: int, p_ms: int) -> None:
    sums = np.array([n]), np.array([t_ms]), np.array([p_ms])
    stalls, stall_s = stall_condition(*sums)
    np.testing.assert_allclose(mapped_stalls(stall_rate(*sums), stall_s), (stalls, stall_s))


def test_a_slot_ends_with_its_second() -> None:
    """1 s in a minute is in the first slot, a millisecond more in the second; nothing is 0."""
    n, t = stall_condition(np.zeros(4, np.int64), np.array([0, 1, 1_000, 1_001]), np.full(4, 60_000))
    assert stall_bin(n, t).tolist() == [0, 1, 1, 2]


def test_every_response_lies_in_the_bin_whose_edges_hold_it() -> None:
    (axis,) = RESPONSE_BINS.axes
    x = np.random.default_rng(7).lognormal(-1, 3, 10_000)
    bins = response_bin(x)
    lower = np.append(0, axis.upper[:-1])
    assert (lower[bins] <= x).all()
    assert (x <= axis.upper[bins]).all()


def test_response_bins_are_two_percent_wide_from_1_ms_to_300_s() -> None:
    (axis,) = RESPONSE_BINS.axes
    assert np.diff(np.log(axis.values)).max() < np.log(1.021)
    assert axis.values[0] == pytest.approx(0.001, rel=0.02)
    assert axis.values[-1] == pytest.approx(300, rel=0.02)
    assert response_bin(np.array([0.0, 1e-9, 300.0, 1e9])).tolist() == [0, 0, *[RESPONSE_BINS.size - 1] * 2]


def test_marginals_are_the_sums_over_the_other_axis() -> None:
    counts = np.random.default_rng(8).integers(0, 5, (3, STALL_BINS.size))
    n, t = STALL_BINS.marginals(counts)
    numbers = np.arange(STALL_BINS.size)
    assert n[1].tolist() == np.bincount(numbers // 62, counts[1]).tolist()
    assert t[2].tolist() == np.bincount(numbers % 62, counts[2]).tolist()
