"""Ratings, against the paper's numbers, scipy.stats, quadrature and root finding."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from qoemon.core.arrays import Floats
from qoemon.core.qoe.bins import RESPONSE_BINS, STALL_BINS, response_bin
from qoemon.core.qoe.distribution import Distribution, RatingKernel, rating_cdf
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX, RatingModel
from qoemon.core.qoe.scale import ACR5, Scale
from tests.support.oracle import Mixture, Waiting, web_mos

BETA, BINOMIAL = RatingModel.BETA, RatingModel.BINOMIAL

# Figure 3: waiting times of mean 4 s; standard deviation, model, E[f], GoB, PoW.
FIGURE_3 = [
    (2, BINOMIAL, 2.626506, 0.22978, 0.47836),
    (4, BINOMIAL, 2.900231, 0.35349, 0.40137),
    (8, BINOMIAL, 3.299083, 0.50514, 0.30897),
    (2, BETA, 2.626506, 0.25562, 0.49666),
    (4, BETA, 2.900231, 0.37119, 0.41847),
    (8, BETA, 3.299083, 0.51314, 0.32398),
]


def at_nodes(std_s: float) -> tuple[Floats, Floats]:
    """MOS and weights of a quadrature over the lognormal waiting times; the trapezoid converges fast here."""
    z = np.linspace(-9, 9, 4001)
    weights = np.exp(-z * z / 2)
    x = Waiting(4, std_s).distribution.ppf(stats.norm.cdf(z))
    good = np.isfinite(x)  # beyond 8.2 sigma the CDF is 1 in double precision
    return WEB_IQX(x[good]), weights[good] / weights[good].sum()


def web_kernel(model: RatingModel, **more: object) -> RatingKernel:
    return RatingKernel(WEB_IQX(*RESPONSE_BINS.conditions), 0.25, scale=ACR5, model=model, **more)


def one_bin(mos: float, theta: float, **more: object) -> Distribution:
    return RatingKernel(np.array([mos]), theta, scale=ACR5, **more).distribution(np.array([[1]]))


@pytest.mark.parametrize(("std_s", "model", "mos", "gob", "pow_"), FIGURE_3)
def test_figure_3_by_quadrature(std_s: float, model: RatingModel, mos: float, gob: float, pow_: float) -> None:
    at, weights = at_nodes(std_s)
    cdf = weights @ rating_cdf(at, 0.25, np.array([2.5, 3.5]), model, ACR5)
    assert weights @ at == pytest.approx(mos, abs=1e-5)
    assert 1 - cdf[1] == pytest.approx(gob, abs=1e-5)
    assert cdf[0] == pytest.approx(pow_, abs=1e-5)


@pytest.mark.parametrize(("std_s", "mos"), [(2, 2.626506), (4, 2.900231), (8, 3.299083)])
def test_the_oracle_agrees_on_the_mean_of_figure_3(std_s: float, mos: float) -> None:
    assert Waiting(4, std_s).expected(web_mos) == pytest.approx(mos, abs=1e-6)


@pytest.mark.parametrize(("std_s", "model", "mos", "gob", "pow_"), FIGURE_3)
def test_figure_3_through_the_histogram(
    std_s: float, model: RatingModel, mos: float, gob: float, pow_: float
) -> None:
    """10,001 exact quantiles of the waiting time, counted in the response bins."""
    x = Waiting(4, std_s).distribution.ppf((np.arange(10_001) + 0.5) / 10_001)
    predicted = web_kernel(model).distribution(np.bincount(response_bin(x), minlength=RESPONSE_BINS.size)[None])
    assert predicted.mos[0] == pytest.approx(mos, abs=0.002)
    assert predicted.gob[0] == pytest.approx(gob, abs=0.002)
    assert predicted.pow[0] == pytest.approx(pow_, abs=0.002)


def test_beta_and_binomial_differ_by_up_to_036_in_figure_3() -> None:
    gaps = []
    for std_s in (2, 4, 8):
        at, weights = at_nodes(std_s)
        beta, binomial = (rating_cdf(at, 0.25, ACR5.cuts[1:-1], model, ACR5) for model in (BETA, BINOMIAL))
        gaps.append(np.abs(weights @ (beta - binomial)).max())
    assert max(gaps) == pytest.approx(0.036, abs=0.0005)


@pytest.mark.parametrize("theta", [0.1, 0.3])
@pytest.mark.parametrize("mos", [1.2, 1.5, 2.5, 3.0, 4.4, 4.99])
def test_beta_is_scipys_beta(mos: float, theta: float) -> None:
    y = np.linspace(1, 5, 41)
    mine = rating_cdf(np.array([mos]), theta, y, BETA, ACR5)[0]
    assert mine == pytest.approx([Mixture([(mos, 1)], theta).cdf(each) for each in y], abs=1e-12)


def test_where_all_agree_there_is_one_opinion() -> None:
    """MOS 1 and 5 leave no variance; the formula needs no branch for them."""
    cdf = rating_cdf(np.array([1.0, 5.0]), 0.3, np.array([1.01, 3, 4.99, 5]), BETA, ACR5)
    assert cdf.tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]
    for mos, ratings in ((1.0, [1, 0, 0, 0, 0]), (5.0, [0, 0, 0, 0, 1])):
        predicted = one_bin(mos, 0.3)
        assert predicted.ratings[0].tolist() == ratings
        assert predicted.sos[0] == 0


def test_binomial_is_the_binomial_at_its_mean() -> None:
    x = np.linspace(0, 30, 61)
    mine = rating_cdf(WEB_IQX(x), 0.25, np.array([1.0, 1.7, 2, 3, 4, 5]), BINOMIAL, ACR5)
    expected = [stats.binom.cdf([0, 0, 1, 2, 3, 4], 4, np.exp(-0.25 * each)) for each in x]
    assert mine == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("model", [BETA, BINOMIAL])
def test_sos_hypothesis_holds_in_every_bin(model: RatingModel) -> None:
    for mos in np.linspace(1, 5, 17):
        predicted = one_bin(mos, 0.25, model=model)
        assert predicted.sos[0] ** 2 == pytest.approx(0.25 * (5 - mos) * (mos - 1), abs=1e-9)
        assert predicted.mos[0] == pytest.approx(mos, abs=1e-12)


@pytest.mark.parametrize("mos", [1.1, 2.0, 3.7, 4.6])
def test_the_cdf_has_the_mean_and_variance_it_claims(mos: float) -> None:
    """Mean and variance by integrating the CDF follow the SOS hypothesis."""

    def above(y: float) -> float:
        return 1 - rating_cdf(np.array([mos]), 0.3, np.array([y]), BETA, ACR5)[0, 0]

    mean = 1 + quad(above, 1, 5, limit=200)[0]
    second = 1 + 2 * quad(lambda y: y * above(y), 1, 5, limit=200)[0]
    assert mean == pytest.approx(mos, abs=1e-6)
    assert second - mean**2 == pytest.approx(0.3 * (5 - mos) * (mos - 1), abs=1e-5)


@pytest.mark.parametrize("theta", [0.05, 0.1, 0.3, 0.7])
def test_good_and_poor_mirror_each_other(theta: float) -> None:
    mos = np.linspace(1, 5, 81)
    kernel = RatingKernel(mos, theta, scale=ACR5)
    predicted, mirrored = (
        kernel.distribution(np.eye(81, dtype=np.int64)),
        kernel.distribution(np.eye(81, dtype=np.int64)[::-1]),
    )
    assert predicted.gob == pytest.approx(mirrored.pow, abs=1e-12)


@pytest.mark.parametrize(("theta", "most"), [(0.3, 0.8915), (0.1, 0.9691)])
def test_the_floor_of_video_stall_bounds_poor_or_worse(theta: float, most: float) -> None:
    assert one_bin(1.5, theta).pow[0] == pytest.approx(most, abs=5e-5)


@pytest.mark.parametrize("theta", [0.1, 0.3])
def test_more_stalls_and_longer_ones_never_please(theta: float) -> None:
    kernel = RatingKernel(VIDEO_STALL(*STALL_BINS.conditions), theta, scale=ACR5)
    predicted = kernel.distribution(np.eye(STALL_BINS.size, dtype=np.int64))
    for axis in (0, 1):
        assert (np.diff(predicted.gob.reshape(21, 62), axis=axis) < 0).all()
        assert (np.diff(predicted.pow.reshape(21, 62), axis=axis) > 0).all()
        assert (np.diff(predicted.mos.reshape(21, 62), axis=axis) < 0).all()


@pytest.mark.parametrize("model", [BETA, BINOMIAL])
def test_rating_shares_sum_to_one_and_make_good_and_poor(model: RatingModel) -> None:
    counts = np.random.default_rng(3).poisson(0.2, (7, RESPONSE_BINS.size))
    predicted = web_kernel(model).distribution(counts)
    assert predicted.ratings.sum(axis=1) == pytest.approx(np.ones(7), abs=1e-12)
    assert (predicted.ratings >= 0).all()
    assert predicted.ratings[:, 3:].sum(axis=1) == pytest.approx(predicted.gob, abs=1e-12)
    assert predicted.ratings[:, :2].sum(axis=1) == pytest.approx(predicted.pow, abs=1e-12)
    assert predicted.observations.tolist() == counts.sum(axis=1).tolist()


def test_expected_ratings_are_the_shares_times_the_users() -> None:
    kernel = web_kernel(BETA)
    counts = np.random.default_rng(4).poisson(0.2, (3, RESPONSE_BINS.size))
    predicted = kernel.distribution(counts)
    assert kernel.sums(counts)[:, :5] == pytest.approx(
        predicted.ratings * predicted.observations[:, None], rel=1e-12
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_mixture_is_what_the_oracle_says(seed: int) -> None:
    """GoB, PoW, ratings, MOS, SOS, the band and quantiles of users in a few random conditions."""
    rng = np.random.default_rng(seed)
    mos = np.append(rng.uniform(1.5, 4.9, 6), 5.0)
    counts = rng.integers(1, 50, (1, 7))
    counts[0, -1] = 1
    theta = rng.choice([0.1, 0.2, 0.3])
    wanted = (0.05, 0.1, 0.5, 0.9)
    predicted = RatingKernel(mos, theta, scale=ACR5, band=(0.15, 0.4), quantiles=wanted).distribution(counts)
    twin = Mixture(list(zip(mos.tolist(), counts[0].tolist(), strict=True)), theta)
    assert (predicted.mos[0], predicted.sos[0]) == pytest.approx((twin.mos, twin.sos), abs=1e-9)
    assert (predicted.gob[0], predicted.pow[0]) == pytest.approx((twin.gob, twin.pow), abs=1e-9)
    assert predicted.ratings[0] == pytest.approx(twin.ratings, abs=1e-9)
    assert predicted.quantiles[0] == pytest.approx([twin.quantile(q) for q in wanted], abs=0.02)
    for column, other in enumerate((0.15, 0.4)):
        what_if = Mixture(twin.parts, other)
        assert predicted.band_gob[0, column] == pytest.approx(what_if.gob, abs=1e-9)
        assert predicted.band_pow[0, column] == pytest.approx(what_if.pow, abs=1e-9)


def test_quantiles_of_binomial_ratings_are_ratings() -> None:
    """The smallest rating that at least q of the users do not exceed."""
    wanted = (0.05, 0.1, 0.5, 0.9)
    for x in (0.5, 2.0, 4.0, 9.0):
        mos = np.array([web_mos(x)])
        predicted = RatingKernel(mos, 0.25, scale=ACR5, model=BINOMIAL, quantiles=wanted).distribution(
            np.array([[3]])
        )
        assert predicted.quantiles[0].tolist() == (1 + stats.binom.ppf(wanted, 4, np.exp(-0.25 * x))).tolist()


def test_mos_is_the_mean_of_f_not_of_rounded_ratings() -> None:
    predicted = one_bin(2.2, 0.3)
    assert predicted.mos[0] == pytest.approx(2.2, abs=1e-12)
    assert abs(predicted.ratings[0] @ ACR5.ratings - 2.2) > 0.01


def test_a_group_without_users_has_no_score() -> None:
    predicted = web_kernel(BETA, band=(0.1,), quantiles=(0.5,)).distribution(
        np.zeros((2, RESPONSE_BINS.size), np.int64)
    )
    scores = (
        predicted.mos,
        predicted.sos,
        predicted.gob,
        predicted.pow,
        predicted.ratings,
        predicted.quantiles,
        predicted.band_gob,
        predicted.band_pow,
    )
    assert all(np.isnan(each).all() for each in scores)
    assert predicted.observations.tolist() == [0, 0]


@pytest.mark.parametrize("theta", [0, 1, -0.1, 1.5, np.nan, np.inf])
def test_theta_out_of_range_is_refused(theta: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < theta < 1"):
        rating_cdf(np.array([3.0]), theta, np.array([2.5]), BETA, ACR5)


@pytest.mark.parametrize("mos", [0.99, 5.01, np.nan, np.inf])
def test_a_mos_off_the_scale_is_refused(mos: float) -> None:
    with pytest.raises(ValueError, match=r"MOS outside \[1, 5\]"):
        rating_cdf(np.array([mos]), 0.3, np.array([2.5]), BETA, ACR5)


def test_binomial_ratings_take_no_other_theta() -> None:
    with pytest.raises(ValueError, match=r"binomial ratings have theta 0\.25"):
        rating_cdf(np.array([3.0]), 0.3, np.array([2.5]), BINOMIAL, ACR5)


def test_other_scales_work_alike() -> None:
    """ACR on 1..5, rescaled to 0..8, gives the same results for the same part of the scale."""
    wide = Scale(low=0, high=8, good=6, poor=2)
    predicted = RatingKernel(np.array([3.0]), 0.3, scale=wide).distribution(np.array([[1]]))
    a, b = 7 / 3 * 3 / 8, 7 / 3 * 5 / 8
    assert predicted.ratings.shape == (1, 9)
    assert predicted.gob[0] == pytest.approx(stats.beta.sf(5.5 / 8, a, b), abs=1e-12)
    assert predicted.pow[0] == pytest.approx(stats.beta.cdf(2.5 / 8, a, b), abs=1e-12)
