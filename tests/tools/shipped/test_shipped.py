"""What comes with qoemon is printed and written as it is in the repository; the unit fits the installation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.config import config as configuration
from qoemon.tools.shipped import files
from tests.support.parts import ROOT, program

if TYPE_CHECKING:
    from typer.testing import Result

UNIT = (ROOT / "config/systemd/qoemon.service").read_text()


def qoemon(*arguments: str) -> Result:
    """In this process; anything but an exit is a traceback that a user would see."""
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("config", "config/qoemon.yaml"),
        ("config --minimal", "config/minimal.yaml"),
        ("player.js", "docs/examples/player.js"),
    ],
)
def test_a_file_is_printed_as_it_is(command: str, file: str) -> None:
    result = qoemon(*command.split())
    assert (result.exit_code, result.stdout) == (0, (ROOT / file).read_text())


def test_the_minimal_configuration_has_defaults_but_for_the_broker() -> None:
    minimal = configuration.load(ROOT / "config/minimal.yaml")
    assert minimal.mqtt is not None
    assert minimal.mqtt.host == "broker.example.org"
    broker = minimal.mqtt.model_copy(update={"host": "localhost"})
    assert minimal.model_copy(update={"mqtt": broker}) == configuration.load(None)


def test_the_chart_is_written_with_what_it_links(tmp_path: Path) -> None:
    chart = tmp_path / "new/chart"
    assert qoemon("helm-chart", str(chart)).exit_code == 0
    source = ROOT / "config/helm/qoemon"
    there = {file.relative_to(source): file.read_bytes() for file in source.rglob("*") if file.is_file()}
    assert {file.relative_to(chart): file.read_bytes() for file in chart.rglob("*") if file.is_file()} == there
    assert not [file for file in chart.rglob("*") if file.is_symlink()]
    (tmp_path / "file").touch()
    taken = qoemon("helm-chart", str(tmp_path / "file"))
    assert taken.exit_code == 1
    assert str(tmp_path / "file") in taken.stderr


def test_an_incomplete_installation_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "PACKAGE", tmp_path / "qoemon")
    result = qoemon("config")
    assert result.exit_code == 1
    assert "config/qoemon.yaml is missing in" in result.stderr
    assert "install the wheel again" in result.stderr


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the command of an installation with a space and a percent sign in its path."""
    command = tmp_path / "100 % qoemon/bin/qoemon"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command.with_name("python3")))
    return command


def test_the_unit_starts_this_installation_and_is_otherwise_that_of_the_repository(installed: Path) -> None:
    result = qoemon("systemd-unit")
    assert result.exit_code == 0
    path = str(installed).replace("%", "%%")
    assert f'ExecStart="{path}" run -c /etc/qoemon/qoemon.yaml\n' in result.stdout
    assert result.stdout.replace(f'"{path}"', "/opt/qoemon/bin/qoemon") == UNIT


def test_instances_of_a_template_share_nothing_but_the_program(installed: Path) -> None:
    text = qoemon("systemd-unit", "--template").stdout
    assert " run -c /etc/qoemon/%i.yaml\n" in text
    assert "\nStateDirectory=qoemon-%i\nStateDirectoryMode=0700\nWorkingDirectory=%S/qoemon-%i\n" in text
    assert "mqtt-password:/etc/qoemon/%i-mqtt-password\n" in text
    assert "\nDynamicUser=yes\n" in text
    assert "qoemon.yaml\n" not in text.replace("In qoemon.yaml:", "")


def test_the_unit_runs_as_a_user_that_is_there(installed: Path) -> None:
    for options in ((), ("--template",)):
        text = qoemon("systemd-unit", "--user", "qoemon", *options).stdout
        assert "\nUser=qoemon\nGroup=qoemon\n" in text
        assert "DynamicUser=" not in text
        assert "of its own" not in text


@pytest.mark.parametrize("options", [[], ["--template"], ["--user", "root"]], ids=" ".join)
def test_systemd_takes_the_units_without_a_word(installed: Path, options: list[str], tmp_path: Path) -> None:
    systemd_analyze = program("systemd-analyze", "Debian package systemd")
    unit = tmp_path / f"qoemon{'@' * ('--template' in options)}.service"
    unit.write_text(qoemon("systemd-unit", *options).stdout)
    command = [systemd_analyze, "verify", str(unit)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")
    installed.unlink()
    gone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is not executable" in gone.stderr


def test_an_installation_that_the_unit_could_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python3")
    missing = qoemon("systemd-unit")
    assert missing.exit_code == 1
    assert "/nowhere/bin/qoemon does not exist: install qoemon with this interpreter" in missing.stderr


def test_an_installation_in_a_home_directory_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoemon.tools.shipped.unit.HIDDEN", (f"{installed.parents[2]}/",))
    hidden = qoemon("systemd-unit")
    assert hidden.exit_code == 1
    assert (
        "which the unit hides from the daemon (ProtectHome=yes): install qoemon into /opt/qoemon" in hidden.stderr
    )
