"""`qoemon dashboards` writes boards for the configuration of an installed user, who has no checkout."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from qoemon import cli
from tests.support.parts import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

BOARDS = {file.name: file.read_text() for file in (ROOT / "dashboards").glob("*.json")}

OWN = """\
mqtt: {topics: ["q/{service}/{site}"]}
services:
  video: {mapping: video-stall, theta: 0.3}
"""


def qoemon(*arguments: str) -> Result:
    """In this process; anything but an exit is a traceback that a user would see."""
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def written(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (folder / "dashboards").iterdir()}


@pytest.fixture
def own(tmp_path: Path) -> str:
    """Path of a configuration with a label of its own, and without objectives."""
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    return str(file)


def test_boards_and_provisioning_are_written_as_grafana_expects_them(tmp_path: Path) -> None:
    folder = tmp_path / "new/folder"
    result = qoemon("dashboards", str(folder))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"{len(BOARDS)} boards in ")
    assert written(folder) == BOARDS
    (source,) = yaml.safe_load((folder / "provisioning/datasources/qoemon.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert (folder / "provisioning/dashboards/qoemon.yml").is_file()


def test_boards_are_made_for_the_labels_of_a_configuration(tmp_path: Path, own: str) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="needs Grafana's SDK: pip install 'qoemon[dashboards]'")
    folder = tmp_path / "grafana"
    assert qoemon("dashboards", str(folder)).exit_code == 0  # with a board slo, which must not stay
    result = qoemon("dashboards", str(folder), "-c", own)
    assert result.exit_code == 0
    assert "no board slo: no service has an objective" in result.stderr
    assert written(folder).keys() == BOARDS.keys() - {"qoemon-slo.json"}
    overview = written(folder)["qoemon-overview.json"]
    assert 'site=~\\"$site\\"' in overview
    assert "$region" not in overview
    printed = qoemon("dashboards", "--print", "overview", "-c", own)
    assert (printed.exit_code, printed.stdout) == (0, overview)
    without = qoemon("dashboards", "--print", "slo", "-c", own)
    assert without.exit_code == 2
    assert "no service has an objective (slo); there are daemon, group-detail, overview, players" in without.stderr
    objective = qoemon("dashboards", "--print", "slo", "-c", own, "--set", "services.video.slo=0.9")
    assert json.loads(objective.stdout)["uid"] == "qoemon-slo"


def test_boards_of_the_sample_are_the_same_with_and_without_the_sdk(tmp_path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="needs Grafana's SDK: pip install 'qoemon[dashboards]'")
    assert qoemon("dashboards", str(tmp_path), "-c", str(ROOT / "config/qoemon.yaml")).exit_code == 0
    assert written(tmp_path) == BOARDS


def test_without_the_sdk_it_says_what_to_install(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("qoemon.tools.dashboards.")]:
        if not name.endswith(".commands"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)
    for name in [each for each in sys.modules if each.startswith("grafana_foundation_sdk.")]:
        monkeypatch.delitem(sys.modules, name)
    result = qoemon("dashboards", str(tmp_path / "grafana"), "-c", own)
    assert result.exit_code == 1
    assert result.stderr == (
        "qoemon: boards for a configuration need Grafana's SDK: "
        f"{sys.executable} -m pip install 'qoemon[dashboards]'\n"
    )
    assert not (tmp_path / "grafana").exists()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_printed_as_it_is(name: str) -> None:
    result = qoemon("dashboards", "--print", name.removeprefix("qoemon-").removesuffix(".json"))
    assert (result.exit_code, result.stdout) == (0, BOARDS[name])


def test_boards_that_cannot_be_written_or_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    taken = qoemon("dashboards", str(tmp_path / "file"))
    assert taken.exit_code == 1
    assert str(tmp_path / "file") in taken.stderr
    unknown = qoemon("dashboards", "--print", "users")
    assert unknown.exit_code == 2
    assert "no board 'users'; there are daemon, group-detail, overview, players, slo" in unknown.stderr
    assert qoemon("dashboards").exit_code == qoemon("dashboards", str(tmp_path), "--print", "slo").exit_code == 2
    wrong = qoemon("dashboards", str(tmp_path), "-c", str(tmp_path / "nothing.yaml"))
    assert wrong.exit_code == 2
    assert "nothing.yaml" in wrong.stderr
