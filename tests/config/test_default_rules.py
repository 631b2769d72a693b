"""What nobody wrote refuses no configuration: default alerts and regimes that a service cannot reach are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.config import config
from qoemon.config.plan import alert_rules, new_evaluation
from qoemon.config.yaml.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = """
services:
  tv: {mapping: iqx, inputs: [loss], theta: 0.1, parameters: {scale: 1.0, floor: 3.9}}
  web: {mapping: web-iqx, theta: 0.25}
"""
"""A service whose PoW is at most 1.5 %, as a study may well find, beside one that can reach everything."""

RULE = "alerts: [{name: Poor, threshold: 0.25, recovery: 0.1}]\n"
REGIME = "regimes: {bad: {threshold: 0.3, recovery: 0.2}, min_sessions: 10}\n"


def written(path: Path, text: str) -> Path:
    file = path / "qoemon.yaml"
    file.write_text(text)
    return file


def test_a_default_rule_is_off_for_the_service_that_cannot_reach_it(tmp_path: Path) -> None:
    found = config.load(written(tmp_path, CONTENT))
    rules = {(rule.name, rule.service) for rule in alert_rules(found)}
    assert ("ManyPoorRatings", "web") in rules
    assert ("ManyPoorRatings", "tv") not in rules
    assert {("ReportsAbsent", "tv"), ("SessionsDropped", "tv")} <= rules
    assert new_evaluation(found)


def test_a_rule_of_the_file_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.0\.threshold.*the worst that tv can reach"):
        config.load(written(tmp_path, CONTENT + RULE))


def test_a_regime_of_the_file_is_refused_and_one_that_is_not_in_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the worst that tv can reach") as error:
        config.load(written(tmp_path, CONTENT + REGIME))
    assert len(error.value.problems) == 1, "of `bad`, which the file has, and not of `degraded`"


def test_check_says_what_is_off(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["check", "-c", str(written(tmp_path, CONTENT))])
    assert result.exit_code == 0
    assert (
        "default alert ManyPoorRatings is off for tv: its threshold is 0.25, and would have to be at"
        in result.stdout
    )
    assert (
        "default regime bad never begins for tv: its threshold is 0.3, and would have to be at most"
        in result.stdout
    )
    assert "off for web" not in result.stdout


def test_nothing_is_off_by_default() -> None:
    assert not config.load(None).alerts_off
    assert "default alert" not in CliRunner().invoke(cli.app, ["check"]).stdout
