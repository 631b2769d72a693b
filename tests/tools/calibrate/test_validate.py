"""`qoemon validate`: what a configuration says beside what people said, and what to do about the difference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from qoemon import cli
from qoemon.core.qoe.mapping import WEB_IQX
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.opinions import rating_shares

WAITS_S = np.array([0.2, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12])


def study(path: Path, *, theta: float = 0.25, beta: float = 0.25, raters: int = 60) -> str:
    """Ratings of people for whom web-iqx is true, with this theta of opinions and this beta."""
    rng = np.random.default_rng(3)
    shares = rating_shares(WEB_IQX.with_parameters({"beta": beta})(WAITS_S), theta, ACR5)
    lines = [
        f"{wait},{rating}"
        for wait, each in zip(WAITS_S, shares, strict=True)
        for rating in rng.choice(np.arange(1, 6), raters, p=each / each.sum())
    ]
    file = path / "study.csv"
    file.write_text("\n".join(["response_s,rating", *lines, ""]))
    return str(file)


def validate(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["validate", *arguments, "--service", "web"], env={"COLUMNS": "80"})


def found(*arguments: str) -> dict:
    result = validate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_configuration_that_is_true_agrees_within_the_noise(tmp_path: Path) -> None:
    document = found(study(tmp_path))
    for figure in ("mos", "gob", "pow"):
        assert document[figure]["mean_absolute_error"] < 1.5 * document[figure]["noise_floor"]
    assert document["advice"].startswith("The configuration agrees with this study")


def test_constants_that_are_wrong_are_to_be_fitted(tmp_path: Path) -> None:
    document = found(study(tmp_path, beta=0.6))
    assert document["mos"]["bias"] > 0.3
    assert document["advice"].startswith("The predicted MOS is mostly higher than what people said, by ")
    assert "qoemon fit --mapping web-iqx" in document["advice"]


def test_a_theta_that_is_wrong_is_to_be_set(tmp_path: Path) -> None:
    document = found(study(tmp_path, theta=0.06, raters=200))
    assert document["advice"].startswith("The MOS agrees, but GoB and PoW do not: set theta to 0.0")
    assert document["study_theta_of_opinions"] == pytest.approx(0.06, abs=0.02)


def test_the_figures_are_those_of_analyze_for_each_condition(tmp_path: Path) -> None:
    document = found(study(tmp_path))
    rows = tmp_path / "one.csv"
    for condition in document["conditions"][:3]:
        rows.write_text(f"response_s\n{condition['condition'].removeprefix('response_s ')}\n")
        analysis = json.loads(
            CliRunner().invoke(cli.app, ["analyze", str(rows), "--service", "web", "--exact", "--json"]).stdout
        )
        for name in ("mos", "gob", "pow"):
            assert condition[f"predicted_{name}"] == pytest.approx(analysis[name], abs=1e-9)


def test_means_alone_have_an_error_of_the_mos(tmp_path: Path) -> None:
    file = tmp_path / "means.csv"
    file.write_text("response_s,mos,n\n0.5,4.5,24\n2,3.4,24\n8,1.6,24\n")
    document = found(str(file))
    assert (document["gob"], document["conditions"][0]["gob"]) == (None, None)
    assert document["mos"]["noise_floor"] == pytest.approx(0.1, abs=0.05)
    assert document["advice"].startswith("The predicted MOS agrees with the study.")
    result = validate(str(file), "--fail-if", "gob > .1")
    assert (result.exit_code, "the study has means, and no ratings" in result.output) == (2, True)


def test_fail_if_is_about_the_mean_absolute_error(tmp_path: Path) -> None:
    file = study(tmp_path, beta=0.6)
    assert validate(file, "--fail-if", "gob > .9").exit_code == 0
    result = validate(file, "--fail-if", "mos > .2")
    assert result.exit_code == 1
    assert "mean error of web: mos is 0." in result.output


def test_the_table_fits_80_columns_and_has_every_condition(tmp_path: Path) -> None:
    result = validate(study(tmp_path))
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert sum(line.strip().startswith("response_s ") for line in result.stdout.splitlines()) == len(WAITS_S)
    assert "Noise floor" in result.stdout


def test_the_plot_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'qoemon[plot]'")
    path = tmp_path / "seen.svg"
    assert validate(study(tmp_path), "--plot", str(path)).exit_code == 0
    assert path.read_bytes().startswith(b"<?xml")


def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["validate", study(tmp_path), "--service", "vidoe"])
    assert (result.exit_code, "it has video, web" in result.output) == (2, True)


def test_ratings_beyond_the_scale_name_the_scale_of_the_service() -> None:
    """The command has no option for it: the service has the scale."""
    result = CliRunner().invoke(
        cli.app, ["validate", "-", "--service", "web"], input="response_s,rating\n1,9\n2,3\n"
    )
    assert result.exit_code == 1
    assert "--low" not in result.stderr
    assert "set the scale of service web: {low: 1, high: 9}" in result.stderr
