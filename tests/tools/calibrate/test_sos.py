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

from benchmarks.theta_coverage import LOW, study
from qoemon.config import config
from qoemon.config.studies.ratings import Ratings
from qoemon.config.studies.study import StudyError
from qoemon.tools.calibrate import plot
from qoemon.tools.calibrate.sos import (
    Moments,
    Sos,
    bootstrap_t,
    estimate,
    moments,
    slope,
    standard_error,
    table,
    yaml_fragment,
)
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
def test_theta_is_recovered_exactly_from_variances_on_the_parabola(theta: float, low: float, high: float) -> None:
    estimated = estimate(rated(*crowd(theta, low, high), low=low, high=high))
    assert estimated.theta == pytest.approx(theta, rel=1e-12)
    assert estimated.rmse == pytest.approx(0, abs=1e-11 * (high - low) ** 2)
    assert estimated.interval[0] < theta < estimated.interval[1]


def test_theta_is_the_slope_through_the_origin() -> None:
    """By hand: means 2 and 4, variances 1 and 2, parabola 3 at both; then a mean of 3, where it is 4."""
    assert estimate(rated([1, 2, 3], [3, 4, 5], [2, 4])).theta == pytest.approx((3 + 3 + 4 * 2) / (9 + 9 + 16))


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
    found = Moments(*np.array([moments(each) for each in studies]).swapaxes(0, 1))
    thetas = slope(found, 1, 5)
    # 1,500 studies tell a standard deviation to 1.8 %.
    assert np.mean(standard_error(found, thetas, 1, 5)) == pytest.approx(thetas.std(), rel=0.07)


@pytest.mark.parametrize("theta", [0.1, 0.3])
def test_the_interval_covers_the_truth(theta: float) -> None:
    """A row of benchmarks/theta_coverage.py with fewer resamples; there, percentiles come to 86 % for theta .1."""
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(500):
        ratings, truth = study(theta, 20, 15, rng)
        lower, upper = bootstrap_t(ratings, LOW, 5, 0.95, rng, 400)
        covered += lower <= truth <= upper
    assert 0.92 * 500 <= covered <= 0.98 * 500


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


def test_two_users_may_differ_more_than_any_crowd() -> None:
    estimated = estimate(rated([1, 5]))
    assert (estimated.theta, estimated.interval) == (2, (0, 1))
    assert yaml_fragment(estimated, "video", "video-stall").startswith(
        "# theta is 2.000, which many users cannot reach"
    )


def typical() -> Sos:
    conditions = study(0.3, 12, 24, np.random.default_rng(3)).ratings
    return estimate(rated(*conditions, [4]))


def test_the_fragment_is_a_configuration(tmp_path: Path) -> None:
    estimated, path = typical(), tmp_path / "qoemon.yaml"
    path.write_text(yaml_fragment(estimated, "video", "video-stall"))
    service = config.load(path).services["video"]
    assert service.theta == pytest.approx(estimated.theta, abs=0.0005)
    assert service.theta_band == pytest.approx(estimated.interval, abs=0.0005)


def test_a_band_that_the_configuration_rejects_is_left_out() -> None:
    estimated = estimate(rated([3, 4, 3, 4]))
    assert estimated.interval[1] == 1 or estimated.interval[0] == 0
    assert yaml.safe_load(yaml_fragment(estimated, "on", "video-stall")) == {
        "services": {"on": {"mapping": "video-stall", "theta": round(estimated.theta, 3)}}
    }


def test_json_keeps_its_keys() -> None:
    """A contract: scripts read these."""
    estimated = json.loads(json.dumps(typical().as_dict(), allow_nan=False))
    assert list(estimated) == [
        "theta",
        "interval",
        "confidence",
        "rmse",
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
    assert lines[0].startswith(f"theta {estimated.theta:.3f} (95 % interval {estimated.interval[0]:.3f} to ")
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
