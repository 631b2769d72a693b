"""The SOS parameter is the slope of the parabola, its interval covers the truth, and both are printed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from rich.console import Console

from benchmarks.calibration.bias import drawn
from benchmarks.calibration.simulated import HIGH, LOW, panel, study, true_theta
from qoemon.config import config
from qoemon.config.studies.ratings import Moments, Ratings
from qoemon.config.studies.study import StudyError
from qoemon.tools.calibrate import plot
from qoemon.tools.calibrate.opinions import is_rounded, rating_shares, scale_of
from qoemon.tools.calibrate.parabola import CentralMoments, beta_moments, moments, slope, standard_error
from qoemon.tools.calibrate.resampling import UserPanel, interval_of_ratings, interval_of_users
from qoemon.tools.calibrate.sos import Basis, Sos, estimate, summary, table, yaml_fragment
from qoemon.tools.plotting import PlotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.core.arrays import Floats


def rated(*conditions: Sequence[float], low: float = 1, high: float = 5) -> Ratings:
    return Ratings.of(low, high, {f"c{at}": np.array(each, np.float64) for at, each in enumerate(conditions)})


def crowd(theta: float, low: float, high: float, conditions: int = 9, raters: int = 40) -> list[Floats]:
    """Ratings whose sample variance is on the parabola to the last digit."""
    rng = np.random.default_rng(2)
    out = []
    for mos in np.linspace(low, high, conditions + 2)[1:-1]:
        noise = rng.normal(size=raters)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        out.append(mos + noise * np.sqrt(theta * (high - mos) * (mos - low)))
    return out


@pytest.mark.parametrize(("low", "high"), [(1, 5), (0, 100), (-3, 3), (1, 7)])
@pytest.mark.parametrize("theta", [0.02, 0.1, 0.3, 0.7])
def test_theta_is_recovered_from_variances_on_the_parabola(theta: float, low: float, high: float) -> None:
    """To the last digit with so many ratings that nothing is left to correct."""
    exact = Moments(
        low,
        high,
        ("a", "b", "c"),
        mos := low + (high - low) * np.array([0.2, 0.5, 0.8]),
        theta * (high - mos) * (mos - low),
        np.full(3, 10**12),
    )
    estimated = estimate(exact)
    assert estimated.theta == pytest.approx(theta, rel=1e-11)
    assert estimated.rmse == pytest.approx(0, abs=1e-11 * (high - low) ** 2)
    assert estimated.interval[0] < theta < estimated.interval[1]
    crowded = estimate(rated(*crowd(theta, low, high), low=low, high=high))
    assert crowded.interval[0] < theta < crowded.interval[1]


def test_theta_is_the_slope_through_the_origin() -> None:
    """By hand: means 2 and 4, variances 1 and 2, parabola 3 at both; then a mean of 3, where it is 4."""
    of = CentralMoments(*np.array([[1e9] * 3, [2, 4, 3], [1, 1, 2.0], [0, 0, 0], [0, 0, 0]]))
    assert slope(of, 1, 5) == pytest.approx((3 + 3 + 4 * 2) / (9 + 9 + 16))


def test_few_ratings_are_corrected_by_hand() -> None:
    """A condition of 4 ratings, 1 2 3 4: mean 2.5, s² 5/3, third moment 0, D = 1; the parabola is 3.75 + 5/12."""
    s2, parabola = 5 / 3, 3.75 + 5 / 12
    fourth_power = s2**2 * 3 / 5
    covariance, spread = 2 * fourth_power / 12, s2 / 4 - 2 * fourth_power / 16
    theta = s2 / parabola
    expected = theta - (covariance - theta * spread) / parabola**2
    assert estimate(rated([1, 2, 3, 4])).theta == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("theta", [0.1, 0.2, 0.3])
def test_six_ratings_a_condition_estimate_theta_without_bias(theta: float) -> None:
    """Rows of `make calibration`; least squares as published comes to .01 and more for theta .2 and .3."""
    shares = rating_shares(np.linspace(1.3, 4.8, 40), theta, scale_of(1, 5))
    found = slope(drawn(shares, 6, np.random.default_rng(4)), LOW, HIGH)
    assert found.mean() == pytest.approx(true_theta(shares), abs=0.003)


def test_theta_does_not_depend_on_the_units_of_the_scale() -> None:
    ratings = [np.array([1, 2, 2, 4.0]), np.array([3, 5, 5, 4, 4.0]), np.array([2, 3, 3.0])]
    acr, percent = (
        estimate(rated(*ratings)),
        estimate(rated(*(25 * (each - 1) for each in ratings), high=100, low=0)),
    )
    assert acr.theta == pytest.approx(percent.theta, rel=1e-12)
    assert acr.interval == pytest.approx(percent.interval, rel=1e-9)


def test_moments_are_those_of_numpy() -> None:
    ratings = [np.array([1, 2, 2, 5.0]), np.array([70.5, 71, 99]), np.array([3.0])]
    found = moments(ratings)
    for at, each in enumerate(ratings):
        central = [np.mean((each - each.mean()) ** power) for power in (2, 3, 4)]
        expected = [len(each), each.mean(), *central]
        assert [float(column[at]) for column in found] == pytest.approx(expected, abs=1e-8)


def test_the_standard_error_is_the_spread_of_theta_over_studies() -> None:
    rng = np.random.default_rng(5)
    shares = np.array([[0.4, 0.3, 0.2, 0.1, 0], [0.05, 0.15, 0.3, 0.3, 0.2], [0, 0.05, 0.1, 0.25, 0.6]])
    studies = [[rng.choice(np.arange(1, 6.0), 100, p=each) for each in shares] for _ in range(1500)]
    found = CentralMoments(*np.array([moments(each) for each in studies]).swapaxes(0, 1))
    thetas = slope(found, 1, 5)
    # 1,500 studies tell a standard deviation to 1.8 %.
    assert np.mean(standard_error(found, thetas, 1, 5)) == pytest.approx(thetas.std(), rel=0.07)


@pytest.mark.parametrize("theta", [0.1, 0.3])
def test_the_interval_covers_the_truth(theta: float) -> None:
    """A row of `make calibration` with fewer resamples; there, percentiles come to 86 % for theta .1."""
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(500):
        ratings, truth = study(theta, 20, 15, rng)
        lower, upper = interval_of_ratings(ratings, LOW, 5, 0.95, rng, 400)
        covered += lower <= truth <= upper
    assert 0.92 * 500 <= covered <= 0.98 * 500


def test_the_interval_of_30_users_who_rate_40_conditions_covers_the_truth() -> None:
    """A row of `make calibration`; as if each rating came from another user, it would cover 59 %."""
    rng = np.random.default_rng(3)
    covered = apart = 0
    for _ in range(250):
        ratings, truth = panel(0.2, 40, 30, rng)
        lower, upper = interval_of_users(ratings, 0.95, rng, 400)
        covered += lower <= truth <= upper
        lower, upper = interval_of_ratings(list(ratings.conditions.values()), LOW, HIGH, 0.95, rng, 100)
        apart += lower <= truth <= upper
    assert 0.92 * 250 <= covered <= 0.98 * 250
    assert apart < 0.75 * 250


def test_a_sample_of_users_is_the_study_with_their_ratings() -> None:
    """The matrix product equals counting the ratings of the drawn users one by one, with those who rate twice."""
    rng = np.random.default_rng(8)
    condition, user = rng.integers(0, 5, 200), rng.integers(0, 12, 200)
    rating = rng.integers(1, 6, 200).astype(float)
    users = UserPanel(Ratings(1, 5, tuple("abcde"), condition, rating, user))
    times = rng.integers(0, 3, 12)
    found = users.moments(times[None].astype(float))
    often = times[user]
    again = moments([np.repeat(rating[condition == c], often[condition == c]) for c in range(5)])
    for ours, theirs in zip(found[:4], again[:4], strict=True):
        assert ours[0] == pytest.approx(theirs)


def test_the_error_of_users_is_that_of_their_sums() -> None:
    """Users who agree with themselves: theta has the error of so many users, not of so many ratings."""
    rng = np.random.default_rng(5)
    once = [rng.integers(1, 6, 60).astype(float) for _ in range(3)]
    user = np.tile(np.arange(60), 3)
    rating, condition = np.concatenate(once), np.repeat(np.arange(3), 60)
    of_ratings = moments(once)
    one = UserPanel(Ratings(1, 5, tuple("abc"), condition, rating, np.arange(180)))
    apart = one.estimates(np.ones((1, 180)))
    assert apart.error[0] == pytest.approx(standard_error(of_ratings, apart.theta[0], 1, 5), rel=0.02)
    doubled = Ratings(
        1, 5, tuple("abcdef"), np.r_[condition, condition + 3], np.r_[rating, rating], np.r_[user, user]
    )
    assert UserPanel(doubled).estimates(np.ones((1, 60))).error[0] == pytest.approx(
        UserPanel(Ratings(1, 5, tuple("abc"), condition, rating, user)).estimates(np.ones((1, 60))).error[0]
    )


def test_who_gave_which_rating_decides_what_the_interval_stands_on() -> None:
    ratings = panel(0.2, 20, 24, np.random.default_rng(2)).ratings
    known = estimate(ratings)
    unknown = estimate(Ratings(1, 5, ratings.names, ratings.condition, ratings.rating))
    assert (known.basis, known.users, known.theta) == (Basis.USERS, 24, unknown.theta)
    assert (unknown.basis, unknown.users) == (Basis.RATINGS, None)
    assert np.ptp(known.interval) > 1.5 * np.ptp(unknown.interval)
    assert "users resampled" in summary(known)
    assert not any("another user" in each for each in known.warnings)
    assert "as if each rating came from another user" in summary(unknown)
    assert any("add a column with the user" in each for each in unknown.warnings)
    assert unknown.as_dict()["interval_by"] == "ratings"


def test_means_and_variances_alone_have_an_interval_by_the_delta_method() -> None:
    """It is that of the ratings, up to their skewness and kurtosis."""
    drawn_study = study(0.2, 20, 24, np.random.default_rng(6))
    whole = estimate(rated(*drawn_study.ratings))
    of = moments(drawn_study.ratings)
    short = estimate(Moments(1, 5, tuple(map(str, range(20))), of.mean, of.second * 24 / 23, of.size.astype(int)))
    assert short.basis is Basis.MOMENTS
    assert short.theta == pytest.approx(whole.theta, abs=0.005)
    assert np.ptp(short.interval) == pytest.approx(np.ptp(whole.interval), rel=0.25)
    assert short.of_opinions.value == pytest.approx(whole.of_opinions.value, abs=0.005)
    assert "from means and variances" in summary(short)


def test_moments_of_a_beta_are_those_of_its_distribution() -> None:
    from scipy.stats import beta  # noqa: PLC0415 - slow, and for this test alone

    theta, mos = 0.25, np.array([1.5, 3, 4.2])
    found = beta_moments(Moments(1, 5, tuple("abc"), mos, theta * (5 - mos) * (mos - 1), np.full(3, 10**9)))
    total = (1 - theta) / theta
    for at, mean in enumerate((mos - 1) / 4):
        opinions = beta(mean * total, (1 - mean) * total, loc=1, scale=4)
        central = [opinions.expect(lambda x, p=power, m=mos[at]: (x - m) ** p) for power in (2, 3, 4)]
        assert [found.second[at], found.third[at], found.fourth[at]] == pytest.approx(central, rel=1e-6)


@pytest.mark.parametrize("theta", [0.05, 0.2, 0.45])
def test_the_theta_of_opinions_is_recovered_from_rounded_ratings(theta: float) -> None:
    shares = rating_shares(np.linspace(1.3, 4.8, 30), theta, scale_of(1, 5))
    rng = np.random.default_rng(1)
    estimated = estimate(rated(*(rng.choice(np.arange(1, 6.0), 3000, p=each / each.sum()) for each in shares)))
    assert estimated.rounded
    assert estimated.theta > theta + 0.02
    assert estimated.of_opinions.value == pytest.approx(theta, abs=0.006)
    assert estimated.of_opinions.interval[0] < estimated.of_opinions.value < estimated.of_opinions.interval[1]


@pytest.mark.parametrize(
    ("ratings", "low", "high", "rounded"),
    [
        pytest.param([1, 2, 5], 1, 5, True, id="ACR"),
        pytest.param([0, 3, 10], 0, 10, True, id="11 points"),
        pytest.param([1, 2.5, 5], 1, 5, False, id="half points"),
        pytest.param([10, 20, 90], 0, 100, False, id="a slider"),
        pytest.param([1, 2, 5], 0.5, 5, False, id="an end that is no rating"),
    ],
)
def test_whole_ratings_on_few_steps_are_rounded_opinions(
    ratings: list[float], low: float, high: float, rounded: bool
) -> None:
    assert is_rounded(rated(ratings, low=low, high=high)) is rounded
    estimated = estimate(rated(ratings, low=low, high=high))
    assert (estimated.of_opinions != estimated.of_ratings) is rounded


@pytest.mark.parametrize(
    ("ends", "good", "poor"), [((1, 5), 4, 2), ((1, 7), 5, 3), ((0, 10), 7, 3), ((0, 100), 63, 37)]
)
def test_good_and_poor_are_the_same_share_of_every_scale(ends: tuple[int, int], good: int, poor: int) -> None:
    scale = scale_of(*ends)
    assert scale is not None
    assert (scale.good, scale.poor) == (good, poor)
    assert scale_of(0.5, 5) is None


def test_more_confidence_takes_a_wider_interval_and_the_same_seed_gives_the_same() -> None:
    ratings = rated(*study(0.3, 10, 20, np.random.default_rng(1)).ratings)
    inner, outer = (estimate(ratings, confidence).interval for confidence in (0.8, 0.99))
    assert outer[0] < inner[0] < inner[1] < outer[1]
    assert estimate(ratings).interval == estimate(ratings).interval
    with pytest.raises(ValueError, match="expected 0 < confidence < 1"):
        estimate(ratings, 95)


def test_a_condition_with_one_rating_is_named_and_left_out() -> None:
    estimated = estimate(rated([1, 2, 3], [3, 4, 5], [5]))
    assert estimated.theta == estimate(rated([1, 2, 3], [3, 4, 5])).theta
    assert estimated.warnings[0] == "left out, since a single rating has no variance: c2"
    assert [each.name for each in estimated.used] == ["c0", "c1"]
    assert estimated.as_dict()["conditions"][2]["variance"] is None


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        pytest.param([[3], [4]], "no condition has two ratings", id="one each"),
        pytest.param([[5, 5, 5], [1, 1]], "all users agree on 1 or 5, where theta has no effect", id="ends"),
        pytest.param([], "no condition has two ratings", id="nothing"),
    ],
)
def test_a_study_without_a_spread_says_so(conditions: list[list[float]], error: str) -> None:
    with pytest.raises(StudyError, match=error):
        estimate(rated(*conditions))


def test_users_who_agree_have_theta_0_which_the_configuration_rejects() -> None:
    estimated = estimate(rated([3, 3, 3], [4.1, 4.1, 4.1]))
    assert (estimated.theta, estimated.interval) == (0, (0, 1))
    assert "the ratings are too few, or too alike, for an interval" in estimated.warnings
    assert yaml_fragment(estimated, "video", "video-stall").startswith("# theta is 0.000: all users agree")


def test_a_few_users_may_differ_more_than_any_crowd() -> None:
    estimated = estimate(Moments(1, 5, ("c",), np.array([3.0]), np.array([4.8]), np.array([60])))
    assert estimated.theta > 1
    assert estimated.interval[1] == 1
    assert yaml_fragment(estimated, "video", "video-stall").startswith(
        "# theta is 1.000, which many users cannot reach"
    )


def typical() -> Sos:
    conditions = study(0.3, 12, 24, np.random.default_rng(3)).ratings
    return estimate(rated(*conditions, [4]))


def test_the_fragment_is_a_configuration(tmp_path: Path) -> None:
    estimated, path = typical(), tmp_path / "qoemon.yaml"
    path.write_text(yaml_fragment(estimated, "video", "video-stall"))
    service = config.load(path).services["video"]
    assert service.theta == pytest.approx(estimated.of_opinions.value, abs=0.0005)
    assert service.theta_band == pytest.approx(estimated.of_opinions.interval, abs=0.0005)


def test_a_band_that_the_configuration_rejects_is_left_out() -> None:
    estimated = estimate(rated([3, 4, 3, 4]))
    assert estimated.interval[1] == 1 or estimated.interval[0] == 0
    assert yaml.safe_load(yaml_fragment(estimated, "on", "video-stall")) == {
        "services": {"on": {"mapping": "video-stall", "theta": round(estimated.of_opinions.value, 3)}}
    }


def test_json_keeps_its_keys() -> None:
    """A contract: scripts read these."""
    estimated = json.loads(json.dumps(typical().as_dict(), allow_nan=False))
    assert list(estimated) == [
        "theta",
        "interval",
        "confidence",
        "interval_by",
        "users",
        "rounded",
        "theta_of_opinions",
        "interval_of_opinions",
        "rmse",
        "goodness",
        "rating_model",
        "scale",
        "ratings",
        "conditions",
        "warnings",
    ]
    assert list(estimated["conditions"][0]) == ["condition", "ratings", "mos", "variance", "on_curve"]
    assert (estimated["ratings"], len(estimated["conditions"])) == (12 * 24 + 1, 13)


def test_the_table_fits_80_columns_and_has_each_condition() -> None:
    estimated, out = typical(), io.StringIO()
    Console(file=out, width=80).print(table(estimated))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith(
        f"theta of ratings  {estimated.theta:.3f} (95 % interval {estimated.interval[0]:.3f} to "
    )
    assert max(map(len, lines)) <= 80
    assert sum(line.split()[:1] == [each.name] for line in lines for each in estimated.conditions) == 13
    assert "Warning: left out, since a single rating has no variance: c12" in out.getvalue()


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'qoemon[plot]'")


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
def test_the_picture_is_written_in_the_format_of_its_name(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"sos{suffix}"
    plot.draw(typical(), path)
    assert path.read_bytes().startswith(magic)


@pytest.mark.usefixtures("matplotlib")
def test_the_picture_shows_theta_its_interval_and_its_axes(tmp_path: Path) -> None:
    path, estimated = tmp_path / "sos.svg", typical()
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context({"svg.fonttype": "none"}):  # texts as texts
        plot.draw(estimated, path)
    drawn = path.read_text()
    assert f"SOS parameter θ = {estimated.theta:.3f}" in drawn
    assert f"95 % interval: {estimated.interval[0]:.3f} to {estimated.interval[1]:.3f}" in drawn
    assert "MOS of the condition (scale points, 1 to 5)" in drawn
    assert "variance of its ratings (scale points²)" in drawn
    assert "conditions (24 ratings each)" in drawn


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("sos.doc", "found the suffix .doc, expected a file that ends in .png"),
        ("sos", "found no suffix"),
        ("no/sos.png", "cannot be written: No such file or directory"),
    ],
)
def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path, name: str, error: str) -> None:
    with pytest.raises(PlotError, match=error):
        plot.draw(typical(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"pip install 'qoemon\[plot\]'"):
        plot.draw(typical(), tmp_path / "sos.png")
