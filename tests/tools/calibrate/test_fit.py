"""The constants of a mapping are recovered within their standard errors, or a warning says why not."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from rich.console import Console

from qoemon.config import config
from qoemon.config.plan import core_plan
from qoemon.config.studies.study import Study, StudyError, read_study
from qoemon.core.qoe.mapping import (
    IQX,
    LINEAR,
    LOGISTIC,
    MAPPINGS,
    POWER,
    VIDEO_STALL,
    VOICE_G107,
    WEB_G1030,
    WEB_IQX,
    Qos,
    QosMapping,
)
from qoemon.tools.calibrate.fit import Fit, fit, media_stall, on_scale
from qoemon.tools.calibrate.fit_text import table, yaml_fragment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qoemon.core.arrays import Floats

STALLS = tuple((n, n * each_s, 30) for n in range(5) for each_s in (1, 3) if n or each_s == 1)
WAITS_S = tuple((x,) for x in (0.2, 0.5, 1, 2, 4, 8, 16))
LENGTHS = ((0, 0.0), (1, 2.0), (1, 6.0), (2, 3.0), (4, 2.0))
"""Stalls, and seconds of each."""
SCORES = tuple((audio, video) for audio in range(1, 6) for video in range(1, 6))


def header(mapping: QosMapping) -> str:
    return "stall_count,stall_s,play_s" if mapping.name == VIDEO_STALL.name else ",".join(mapping.inputs)


def csv(head: str, rows: Sequence[Sequence[float]]) -> io.StringIO:
    return io.StringIO("\n".join([head, *(",".join(map(repr, row)) for row in rows), ""]), newline="")


def mos_of(mapping: QosMapping, rows: Sequence[Sequence[float]]) -> list[float]:
    columns = np.array(rows, np.float64).T
    if mapping.name == VIDEO_STALL.name:
        columns = columns[:2] * 60 / columns[2]
    return [float(each) for each in mapping.formula(*columns, **mapping.parameters)]


def means(mapping: QosMapping, rows: Sequence[Sequence[float]]) -> Study:
    """A study whose MOS are exactly those of the mapping, read for the same form with its default constants."""
    rated = [(*row, mos) for row, mos in zip(rows, mos_of(mapping, rows), strict=True)]
    return read_study(csv(f"{header(mapping)},mos", rated), MAPPINGS[mapping.name])


def crowd(
    mapping: QosMapping, rows: Sequence[Sequence[float]], raters: int, seed: int, base: QosMapping | None = None
) -> Study:
    """Binomial ratings around the mapping's MOS, which are on average the MOS."""
    rng = np.random.default_rng(seed)
    rated = [
        (*row, int(rating))
        for row, mos in zip(rows, mos_of(mapping, rows), strict=True)
        for rating in 1 + rng.binomial(4, (mos - 1) / 4, raters)
    ]
    return read_study(csv(f"{header(mapping)},rating", rated), base or MAPPINGS[mapping.name])


def spread_over(low: float, high: float, count: int = 9) -> tuple[tuple[float], ...]:
    return tuple((float(x),) for x in np.linspace(low, high, count))


def values(found: Fit) -> dict[str, float]:
    return {each.name: each.value for each in found.constants}


@pytest.mark.parametrize(
    ("mapping", "truth", "rows"),
    [
        (VIDEO_STALL, {"scale": 3, "time": 6, "count": 3, "floor": 1.4}, STALLS),
        (VIDEO_STALL, {"scale": 2, "time": 0.4, "count": 40, "floor": 2}, STALLS),
        (WEB_IQX, {"scale": 3.5, "beta": 0.6, "floor": 1.2}, WAITS_S),
        (WEB_G1030, {"best_s": 0.3, "worst_s": 25}, WAITS_S),
        (IQX.with_inputs(["latency_ms"]), {"scale": 3.5, "beta": 0.004, "floor": 1.2}, spread_over(10, 900)),
        (IQX.with_inputs(["loss"]), {"scale": 2.5, "beta": 60, "floor": 1.7}, spread_over(0, 0.1)),
        (
            LOGISTIC.with_inputs(["kbps"]),
            {"scale": 3.5, "slope": 0.002, "middle": 2500, "floor": 1.2},
            spread_over(100, 6000),
        ),
        (
            LOGISTIC.with_inputs(["delay_ms"]),
            {"scale": 3.5, "slope": -0.02, "middle": 250, "floor": 1.2},
            spread_over(10, 600),
        ),
        (POWER.with_inputs(["mbps"]), {"scale": 1.5, "exponent": 0.3, "offset": 0.4}, spread_over(1, 40)),
        (POWER.with_inputs(["delay_ms"]), {"scale": -0.05, "exponent": 0.7, "offset": 4.8}, spread_over(1, 400)),
        (LINEAR.with_inputs(["audio", "video"]), {"intercept": -0.2, "audio": 0.35, "video": 0.64}, SCORES[1:-1]),
    ],
    ids=lambda value: value.name if isinstance(value, QosMapping) else "",
)
def test_constants_are_recovered_from_studies_without_noise(
    mapping: QosMapping, truth: Mapping[str, float], rows: Sequence[Sequence[float]]
) -> None:
    """Far from the mapping's own constants, in any units, and with the signs that its form has."""
    found = fit(means(mapping.with_parameters(truth), rows))
    assert values(found) == pytest.approx(truth, rel=1e-6)
    assert found.accuracy.rmse == pytest.approx(0, abs=1e-9)
    assert found.cross_validated is not None
    assert found.cross_validated.rmse == pytest.approx(0, abs=1e-6)
    assert found.accuracy.near == found.cross_validated.near == 1


@pytest.mark.parametrize(
    ("mapping", "truth", "rows"),
    [
        (VIDEO_STALL, {"scale": 3, "time": 6, "count": 3, "floor": 1.4}, STALLS),
        (WEB_IQX, {"scale": 3.5, "beta": 0.6, "floor": 1.2}, WAITS_S),
        (LINEAR.with_inputs(["audio", "video"]), {"intercept": 0.3, "audio": 0.3, "video": 0.55}, SCORES),
    ],
    ids=lambda value: value.name if isinstance(value, QosMapping) else "",
)
def test_noisy_constants_are_as_far_off_as_their_standard_errors_say(
    mapping: QosMapping, truth: Mapping[str, float], rows: Sequence[Sequence[float]]
) -> None:
    """Deviations in standard errors: Student's t with at least 4 degrees of freedom, so 99.5 % are within 5.6."""
    off = []
    for seed in range(8):
        found = fit(crowd(mapping.with_parameters(truth), rows, 30, seed), folds=2)
        off.append([(each.value - truth[each.name]) / each.error for each in found.constants])
    assert np.abs(off).max() < 8
    assert 0.4 < np.median(np.abs(off)) < 1.2, "about half of them within .7"


def test_standard_errors_are_those_of_linear_regression() -> None:
    """By the textbook: variance of the residuals times the inverse of X'X."""
    rng = np.random.default_rng(4)
    audio, video = rng.uniform(1, 5, (2, 12))
    mos = np.clip(0.4 + 0.3 * audio + 0.5 * video + rng.normal(0, 0.2, 12), 1, 5)
    rows = np.column_stack([audio, video, mos]).tolist()
    found = fit(read_study(csv("audio,video,mos", rows), LINEAR))
    design = np.column_stack([np.ones(12), audio, video])
    best, squares, _, _ = np.linalg.lstsq(design, mos)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares[0] / 9)
    assert [each.value for each in found.constants] == pytest.approx(best.tolist(), rel=1e-6)
    assert [each.error for each in found.constants] == pytest.approx(errors.tolist(), rel=1e-5)


def test_ratings_weigh_as_their_means_with_their_number() -> None:
    rows = [(1, 4), (1, 5), (1, 3), (2, 3), (4, 2), (4, 3), (8, 1)]
    by_rating = fit(read_study(csv("response_s,rating", rows), WEB_IQX))
    by_mean = fit(read_study(csv("response_s,mos,n", [(1, 4, 3), (2, 3, 1), (4, 2.5, 2), (8, 1, 1)]), WEB_IQX))
    assert values(by_rating) == pytest.approx(values(by_mean), rel=1e-6)


def test_cross_validation_is_leaving_out_one_by_one_where_conditions_are_few() -> None:
    """The brute-force twin: four straight lines through three points each."""
    x, mos = np.array([1, 2, 3, 4.0]), np.array([1.2, 2.5, 2.6, 4.4])
    found = fit(read_study(csv("x,mos", np.column_stack([x, mos]).tolist()), LINEAR))
    left_out = [
        np.polyval(np.polyfit(np.delete(x, at), np.delete(mos, at), 1), x[at]) - mos[at] for at in range(len(x))
    ]
    assert found.folds == 4
    assert found.cross_validated is not None
    assert found.cross_validated.rmse == pytest.approx(np.sqrt(np.mean(np.square(left_out))), rel=1e-6)
    assert found.cross_validated.near == np.mean(np.abs(left_out) <= 0.5)
    assert found.cross_validated.rmse > found.accuracy.rmse


def test_an_overfitted_mapping_does_worse_on_left_out_conditions() -> None:
    """Four constants, six conditions of pure noise: in sample it looks good, cross-validated it does not."""
    rng = np.random.default_rng(8)
    rows = [(x, mos) for (x,), mos in zip(spread_over(1, 6, 6), rng.uniform(1, 5, 6).tolist(), strict=True)]
    found = fit(read_study(csv("x,mos", rows), LOGISTIC))
    assert found.cross_validated is not None
    assert found.cross_validated.rmse > 1.2 * found.accuracy.rmse


def test_theta_comes_from_the_same_ratings() -> None:
    study = crowd(WEB_IQX, WAITS_S, 60, 3)
    found = fit(study)
    assert found.spread is not None
    assert found.theta == pytest.approx(0.25, abs=0.05), "binomial ratings have theta .25"
    assert len(found.warnings) == 1
    assert "add a column with the user of each rating" in found.warnings[0]
    rated = fit(means(WEB_IQX, WAITS_S))
    assert rated.theta == WEB_IQX.theta
    assert rated.warnings == ("the study does not determine theta: 0.25 is the default of web-iqx",)


def test_constants_that_the_study_does_not_determine_are_named() -> None:
    """All stalls last 2 s: what their number and their time cost cannot be separated."""
    rows = [(n, 2 * n, 30) for n in range(7)]
    found = fit(means(VIDEO_STALL, rows))
    assert found.accuracy.rmse == pytest.approx(0, abs=1e-6)
    assert found.warnings[0].startswith(
        "this study does not determine all constants: others fit as well with count 5.7, as before"
    )
    rated = {each.name: np.isfinite(each.error) for each in found.constants}
    assert rated == {"scale": True, "time": True, "count": False, "floor": True}
    fragment = yaml.safe_load(yaml_fragment(found, "video"))["services"]["video"]
    assert set(fragment["parameters"]) == {"scale", "time", "floor"}, "the daemon keeps its own count"
    assert found.mapping.parameters["count"] == VIDEO_STALL.parameters["count"]
    out = io.StringIO()
    Console(file=out, width=80).print(table(found))
    assert re.search(r"count +as before +- +5.7", out.getvalue())


def test_constants_of_a_study_of_too_few_conditions_are_not_in_the_fragment() -> None:
    found = fit(means(WEB_IQX, WAITS_S[:2]))
    assert "parameters" not in yaml_fragment(found, "web")
    assert "none is in the fragment" in found.warnings[0]


def test_some_constants_can_be_held() -> None:
    rows = [(n, 2 * n, 30) for n in range(7)]
    found = fit(means(VIDEO_STALL.with_parameters({"time": 6}), rows), ["time", "floor"])
    assert values(found) == pytest.approx({"time": 6, "floor": 1.5}, rel=1e-6)
    assert found.mapping.parameters["count"] == VIDEO_STALL.parameters["count"]


def test_fewer_conditions_than_constants_are_warned_of() -> None:
    found = fit(means(WEB_IQX, WAITS_S[:2]))
    assert found.warnings[0].startswith(
        "3 constants cannot be determined from 2 conditions: measure more conditions"
    )
    assert all(np.isnan(each.error) for each in found.constants)
    assert found.cross_validated is None
    assert found.as_dict()["cross_validated"] is None


def test_too_few_conditions_for_folds_are_warned_of() -> None:
    found = fit(means(WEB_IQX, WAITS_S[:4]))
    assert found.cross_validated is not None, "three conditions determine three constants"
    assert fit(means(WEB_IQX, WAITS_S[:4]), folds=2).cross_validated is None


def test_a_constant_at_its_bound_is_named() -> None:
    """Users who like waiting: no rate of decay above 0 describes them."""
    rows = [(x, 2 + 0.1 * x) for (x,) in WAITS_S]
    found = fit(read_study(csv("response_s,mos", rows), WEB_IQX))
    assert any(warning.startswith("at the lower bound 0: ") for warning in found.warnings)
    assert min(values(found).values()) == 0


def test_the_fitted_mos_stays_on_the_scale() -> None:
    rows = [(1, 1), (2, 1), (3, 3), (4, 5), (5, 5.0)]
    found = fit(read_study(csv("x,mos", rows), LINEAR))
    assert found.fitted.min() == 1
    assert found.fitted.max() == 5


@pytest.mark.parametrize(
    ("mapping", "only", "error"),
    [
        (WEB_IQX, ["rate"], "web-iqx has no constant rate; it has scale, beta, floor"),
        (MAPPINGS["table"], [], "table has no constants to fit"),
    ],
    ids=["unknown", "none"],
)
def test_what_cannot_be_fitted_is_refused(mapping: QosMapping, only: list[str], error: str) -> None:
    study = read_study(csv("response_s,mos", [(1, 3), (2, 2)]), mapping)
    with pytest.raises(StudyError, match=error):
        fit(study, only)


def test_constants_of_voice_can_be_fitted_to_another_codec() -> None:
    rows = [(delay, loss) for delay in (0, 150, 300, 400) for loss in (0, 0.02, 0.05, 0.1)]
    truth = VOICE_G107.with_parameters({"ie": 11.0, "bpl": 19.0})
    found = fit(means(truth, rows), ["ie", "bpl"])
    assert values(found) == pytest.approx({"ie": 11, "bpl": 19}, rel=1e-6)


@pytest.mark.parametrize("mapping", [VIDEO_STALL, WEB_IQX, WEB_G1030], ids=lambda mapping: mapping.name)
def test_the_fragment_is_a_configuration_with_the_mos_of_the_fit(mapping: QosMapping, tmp_path: Path) -> None:
    rows = STALLS if mapping is VIDEO_STALL else WAITS_S
    study, path = (
        crowd(VIDEO_STALL if mapping is VIDEO_STALL else WEB_IQX, rows, 24, 1, mapping),
        tmp_path / "q.yaml",
    )
    found = fit(study)
    path.write_text(yaml_fragment(found, "mine"))
    service = config.load(path).services["mine"]
    assert (service.mapping, service.theta) == (mapping.name, pytest.approx(found.theta_of_opinions, abs=0.0005))
    estimated: Floats = mapping.with_parameters(service.parameters)(*study.axes)
    assert estimated == pytest.approx(found.fitted, abs=0.03), "rounding is small against the standard errors"


def test_a_linear_mapping_runs_live_as_it_was_fitted(tmp_path: Path) -> None:
    """Digits beyond a twentieth of the standard error are left out."""
    found, path = (
        fit(crowd(LINEAR.with_inputs(["audio", "video"]), SCORES, 24, 1)),
        tmp_path / "qoemon.yaml",
    )
    path.write_text(yaml_fragment(found, "call"))
    (live,) = (each for each in core_plan(config.load(path)).services if each.name == "call")
    assert live.mapping.inputs == ("audio", "video")
    assert live.mapping(*found.study.axes) == pytest.approx(found.fitted, abs=0.03)
    for each in found.constants:
        rounded = live.mapping.parameters[each.name]
        assert rounded == pytest.approx(each.value, abs=each.error / 20)
        assert len(str(rounded).replace("-", "").replace(".", "").lstrip("0")) <= 3


def test_a_column_that_the_configuration_cannot_name_is_warned_of() -> None:
    rows = [(x, x) for x in (1, 2, 3, 4, 5)]
    assert not any("not accept" in warning for warning in fit(read_study(csv("audio,mos", rows), LINEAR)).warnings)
    found = fit(read_study(csv("audio MOS,mos", rows), LINEAR))
    assert "the configuration does not accept the input 'audio MOS': rename the column" in found.warnings[-1]


def test_the_example_in_the_documentation_is_what_it_gives() -> None:
    page = (Path(__file__).parents[3] / "docs/calibration.md").read_text()
    (study,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (fragment,) = re.findall(r"```yaml\n([^`]*web-iqx[^`]*)```", page)
    found = fit(read_study(io.StringIO(study, newline=""), WEB_IQX))
    assert yaml_fragment(found, "web") == fragment
    assert f"(here {found.accuracy.rmse:.3f})" in page
    assert found.cross_validated is not None
    assert f"(here {found.cross_validated.rmse:.3f})" in page


def test_the_same_seed_gives_the_same() -> None:
    study = crowd(WEB_IQX, WAITS_S, 24, 1)
    assert fit(study, seed=5).as_dict() == fit(study, seed=5).as_dict()


def test_json_keeps_its_keys() -> None:
    """A contract: scripts read these."""
    plain = json.loads(json.dumps(fit(crowd(WEB_IQX, WAITS_S, 24, 1)).as_dict(), allow_nan=False))
    assert list(plain)[:5] == ["mapping", "inputs", "parameters", "rmse", "within_half"]
    assert list(plain)[5:] == [
        "cross_validated",
        "theta",
        "theta_interval",
        "theta_of_opinions",
        "theta_of_opinions_interval",
        "theta_interval_by",
        "goodness",
        "rating_model",
        "conditions",
        "warnings",
    ]
    assert list(plain["parameters"]["beta"]) == ["value", "standard_error", "before", "determined"]
    assert list(plain["cross_validated"]) == ["folds", "rmse", "within_half"]
    assert list(plain["conditions"][0]) == ["condition", "weight", "mos", "fitted"]


def test_the_table_fits_80_columns() -> None:
    found, out = fit(crowd(VIDEO_STALL, STALLS, 24, 1)), io.StringIO()
    Console(file=out, width=80).print(table(found))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    words = " ".join(out.getvalue().split())
    assert f"fitted to 9 conditions: RMSE {found.accuracy.rmse:.3f}, 100 % within 0.5 of the" in words
    assert "On conditions left out of the fit (5 folds): RMSE" in words
    assert f"theta of ratings {found.theta:.3f} (" in words
    assert "stall_count 4, stall_s 12, play_s 30" in words


MEDIA = QosMapping(
    name="media",
    qos=Qos.STALLS,
    inputs=("n", "t", "vmaf"),
    formula=lambda n, t, vmaf, *, floor, time, count, scale, slope, middle: (
        floor + scale / (1 + np.exp(-slope * (vmaf - middle))) * np.exp(-time * t / 60 - count * n / 60)
    ),
    parameters={"floor": 1.5, "time": 4.5, "count": 5.7, "scale": 3.4, "slope": 0.08, "middle": 55.0},
    source="stalls around a logistic quality",
    fitted_on="this test",
)
"""Stalls and a measure at once: outer constants of the stalls, inner ones of the measure."""


def media_study(mapping: QosMapping) -> Study:
    n, t, vmaf = (
        each.ravel() for each in np.meshgrid([0.0, 2, 6], [0.0, 4, 12], [20.0, 40, 60, 75, 90], indexing="ij")
    )
    mos = mapping.formula(n, t, vmaf, **mapping.parameters)
    names = tuple(map(str, range(len(n))))
    return Study(MEDIA, ("vmaf",), names, (n, t, vmaf), mos, np.full(len(n), 24.0), None)


def test_outer_and_inner_constants_are_fitted_together() -> None:
    """A mapping needs no more than one flat set of constants, and its conditions as arguments."""
    truth = MEDIA.with_parameters(
        {"floor": 1.2, "time": 3.0, "count": 8.0, "scale": 3.6, "slope": 0.05, "middle": 48}
    )
    found = fit(media_study(truth))
    assert values(found) == pytest.approx(dict(truth.parameters), rel=1e-5)


def test_stalls_never_raise_the_mos_of_a_mapping_with_measures() -> None:
    truth = MEDIA.with_parameters({"count": -3.0})
    found = fit(media_study(truth))
    assert values(found)["count"] == 0
    assert any(each.startswith("at the lower bound 0: ") and "count" in each for each in found.warnings)


def sliders(raters: int = 30) -> str:
    """Ratings from 0 to 100 around a logistic curve of a measure."""
    rng = np.random.default_rng(2)
    rows = []
    for vmaf in range(10, 100, 10):
        mean = 0.95 / (1 + np.exp(-0.08 * (vmaf - 50)))
        rows += [f"{vmaf},{100 * each:.1f}" for each in rng.beta(5 * mean, 5 * (1 - mean), raters)]
    return "\n".join(["vmaf,rating", *rows, ""])


def test_ratings_from_0_to_100_give_a_service_with_that_scale(tmp_path: Path) -> None:
    found = fit(read_study(io.StringIO(sliders(), newline=""), on_scale(LOGISTIC, 0, 100)))
    path = tmp_path / "qoemon.yaml"
    path.write_text(yaml_fragment(found, "tv"))
    (live,) = core_plan(config.load(path)).services
    assert (live.scale.low, live.scale.high, live.scale.good, live.scale.poor) == (0, 100, 63, 37)
    assert live.mapping(*found.study.axes) == pytest.approx(found.fitted, abs=1)
    assert found.accuracy.rmse < 5
    assert found.spread is not None
    assert found.spread.of_opinions == found.spread.of_ratings, "sliders are not rounded"
    out = io.StringIO()
    Console(file=out, width=80).print(table(found))
    assert "63 and above is good, 37 and below poor" in " ".join(out.getvalue().split())
    counts = live.kernel().distribution(np.eye(len(live.rated_at), dtype=np.int64)[[0, -1]])
    assert counts.gob.tolist() == pytest.approx([0, 1], abs=0.1)


@pytest.mark.parametrize(
    ("mapping", "ends", "error"),
    [
        (
            WEB_IQX,
            (0, 100),
            "web-iqx is for ratings from 1 to 5; for others, fit a form .* iqx --inputs response_s",
        ),
        (VIDEO_STALL, (0, 100), "fit a form that has no scale: linear, logistic"),
        (LINEAR, (0.5, 5), "expected two whole numbers from 0 to 100"),
        (LINEAR, (5, 1), "the lower first"),
        (LINEAR, (0, 1000), "from 0 to 100"),
    ],
)
def test_a_scale_that_the_daemon_cannot_have_is_refused(
    mapping: QosMapping, ends: tuple[float, float], error: str
) -> None:
    with pytest.raises(StudyError, match=error):
        on_scale(mapping, *ends)


def test_a_fragment_that_the_daemon_refuses_is_a_comment_with_the_reason() -> None:
    rows = [(x, x) for x in (1, 2, 3, 4, 5)]
    text = yaml_fragment(fit(read_study(csv("audio MOS,mos", rows), LINEAR)), "call")
    assert text.startswith("# The daemon refuses this as it is:\n# this fragment: services.call.inputs")
    assert all(line.startswith("#") for line in text.splitlines())


def test_quality_and_stalls_are_fitted_at_once_and_run_live(tmp_path: Path) -> None:
    true = media_stall("logistic", ("vmaf",)).with_parameters(
        {"time": 5, "count": 6, "floor": 1.4, "quality_slope": 0.07, "quality_middle": 50}
    )
    rows = [(n, n * each_s, 30.0, vmaf) for vmaf in (20.0, 40.0, 60.0, 80.0, 95.0) for n, each_s in LENGTHS]
    condition = [np.array([row[at] for row in rows]) for at in range(4)]
    mos = true(condition[0] * 2, condition[1] * 2, condition[3])
    study = csv(
        "stall_count,stall_s,play_s,vmaf,mos",
        [(int(n), *rest, float(mean)) for (n, *rest), mean in zip(rows, mos, strict=True)],
    )
    found = fit(read_study(study, media_stall("logistic", ("vmaf",))))
    assert found.accuracy.rmse < 0.02
    assert values(found)["time"] == pytest.approx(5, rel=0.05)
    (path := tmp_path / "qoemon.yaml").write_text(yaml_fragment(found, "video"))
    service = core_plan(config.load(path)).services[0]
    assert service.mapping(*found.study.axes) == pytest.approx(found.fitted, abs=0.03)


@pytest.mark.parametrize(
    ("quality", "inputs", "fault"),
    [
        ("", ("vmaf",), "found no --quality, expected a mapping of what is shown"),
        ("video-stall", (), "found video-stall, expected a mapping of what is shown"),
        ("logistic", (), "logistic takes one input, got 0: none; name the columns of what was shown"),
    ],
)
def test_a_mapping_of_quality_that_cannot_be_used_is_named(
    quality: str, inputs: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(StudyError, match=re.escape(fault)):
        media_stall(quality, inputs)


def test_a_fit_says_how_well_it_predicts_gob_and_pow() -> None:
    found = fit(crowd(WEB_IQX, WAITS_S, 60, 3))
    assert found.goodness is not None
    assert found.goodness.gob.mean < 2 * found.goodness.gob.floor
    assert found.as_dict()["goodness"]["gob"]["mean_absolute_error"] == found.goodness.gob.mean
    assert fit(means(WEB_IQX, WAITS_S)).goodness is None


def test_constants_that_leave_no_poor_ratings_give_a_valid_configuration(tmp_path: Path) -> None:
    """The default alert begins at 25 % poor ratings, and nobody wrote it."""
    rows = [(x, float(4.1 + 0.7 * np.exp(-x))) for (x,) in WAITS_S]
    found = fit(read_study(csv("response_s,mos", rows), WEB_IQX))
    path = tmp_path / "qoemon.yaml"
    path.write_text(yaml_fragment(found, "web"))
    assert not path.read_text().startswith("#")
    assert ("ManyPoorRatings", "web") in config.load(path).alerts_off


def test_starts_that_overflow_say_nothing(tmp_path: Path) -> None:
    """LAPACK writes to standard output by itself where a number is infinite, and not before the process ends."""
    rows = ("288,1.4577,260", "384,2.399,208", "480,3.0275,364", "720,3.951,286", "1080,4.3533,702")
    study = tmp_path / "study.csv"
    study.write_text("\n".join(["height,mos,n", *rows]))
    command = [sys.executable, "-m", "qoemon", "fit", str(study), "--mapping", "power", "--inputs", "height"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rmse"] < 0.1
    assert not done.stderr
