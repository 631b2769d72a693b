"""The curves of plots are those of the mixture, by scipy.stats; and what is drawn are these curves."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX, RatingModel
from qoemon.tools.curves import curves
from qoemon.tools.plotting import draw_cdfs, draw_shares

VIDEO = Service("video", VIDEO_STALL, 0.3, (0.1, 0.3))


def counts_of(service: Service, users: dict[float, int]) -> np.ndarray:
    """Users by MOS, each in the bin nearest to it."""
    counts = np.zeros(len(service.rated_at), np.int64)
    for mos, number in users.items():
        counts[np.argmin(abs(service.rated_at - mos))] += number
    return counts


def by_scipy(mos: float, theta: float, opinion: float) -> float:
    mean, total = (mos - 1) / 4, (1 - theta) / theta
    return float(stats.beta(mean * total, (1 - mean) * total).cdf((opinion - 1) / 4))


def test_the_curves_are_those_of_the_mixture() -> None:
    found = curves(counts_of(VIDEO, {2.0: 1, 4.0: 3}), VIDEO)
    assert found.opinion_cdf is not None
    for place in (20, 80, 140):
        opinion = found.opinions[place]
        mixed = 0.25 * by_scipy(2, 0.3, opinion) + 0.75 * by_scipy(4, 0.3, opinion)
        assert found.opinion_cdf[place] == pytest.approx(mixed, abs=0.002)
    assert found.mos_cdf[found.opinions < 1.99].max() == 0
    assert set(found.mos_cdf[(found.opinions > 2.01) & (found.opinions < 3.99)]) == {0.25}
    assert found.mos_cdf[-1] == 1
    for rating, share in zip((1, 2, 3, 4), found.rating_cdf, strict=False):
        mixed = 0.25 * by_scipy(2, 0.3, rating + 0.5) + 0.75 * by_scipy(4, 0.3, rating + 0.5)
        assert share == pytest.approx(mixed, abs=0.002)
    for theta, gob, pow_ in list(zip(found.thetas, found.gob, found.pow, strict=True))[::16]:
        assert pow_ == pytest.approx(0.25 * by_scipy(2, theta, 2.5) + 0.75 * by_scipy(4, theta, 2.5), abs=0.002)
        good = 1 - 0.25 * by_scipy(2, theta, 3.5) - 0.75 * by_scipy(4, theta, 3.5)
        assert gob == pytest.approx(good, abs=0.002)


def test_discrete_ratings_have_no_continuous_opinions() -> None:
    web = Service("web", WEB_IQX, 0.25, model=RatingModel.BINOMIAL)
    found = curves(counts_of(web, {3.0: 1}), web)
    assert found.opinion_cdf is None
    assert found.rating_cdf == pytest.approx(stats.binom(4, 0.5).cdf(range(5)), abs=0.01)


def test_the_ratings_are_drawn_as_steps_at_the_ratings() -> None:
    axes, shares = Figure().subplots(1, 2)
    found = curves(counts_of(VIDEO, {3.0: 2}), VIDEO)
    draw_cdfs(axes, found)
    draw_shares(shares, found, VIDEO.theta, VIDEO.theta_band)
    drawn = {str(line.get_label()): line for line in axes.lines}
    assert set(drawn) == {"MOS of the users", "opinions (continuous)", "ratings"}
    x, y = (np.asarray(values, float) for values in drawn["ratings"].get_data())
    steps = {at: y[np.flatnonzero(x <= at)[-1]] for at in (1.5, 2.5, 3.5, 4.5)}
    assert list(steps.values()) == pytest.approx(found.rating_cdf[:4].tolist())
    lines = {str(line.get_label()): line for line in shares.lines}
    assert lines["PoW: poor or worse"].get_ydata() == pytest.approx(found.pow)
    assert "θ 0.3 of the service" in lines
