"""What a command imports before it runs: a library that it does not need would be paid for at every start.

`python -m benchmarks.start` measures what the start costs; these tests need no clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from qoemon import cli
from tests.support.parts import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

SCIPY = {"scipy.interpolate", "scipy.linalg", "scipy.optimize", "scipy.special", "scipy.stats"}
"""Packages: of scipy.special the core loads the compiled module alone, see qoemon/core/qoe/special.py."""
NETWORK = {"aiohttp", "aiomqtt", "asyncio", "paho", "prometheus_client", "ssl", "websockets", "yarl"}
DRAWING = {"matplotlib", "numpy.f2py", "plotly", "rich"}
FOR_NO_HELP = {"msgspec", "numpy", "pydantic", "scipy", "sqlite3", "threadpoolctl", "yaml"} | NETWORK | DRAWING

OF_THE_COMMAND_LINE = {
    "qoemon",
    "qoemon.cli",
    "qoemon.common",
    "qoemon.common.duration",
    "qoemon.common.text",
    "qoemon.config",
    "qoemon.config.yaml",
    "qoemon.config.yaml.errors",
    "qoemon.engine",
    "qoemon.engine.interpreter",
    "qoemon.tools",
    "qoemon.tools.accesslogs",
    "qoemon.tools.accesslogs.commands",
    "qoemon.tools.analyze",
    "qoemon.tools.analyze.commands",
    "qoemon.tools.bridge",
    "qoemon.tools.bridge.commands",
    "qoemon.tools.calibrate",
    "qoemon.tools.calibrate.commands",
    "qoemon.tools.cluster",
    "qoemon.tools.cluster.commands",
    "qoemon.tools.command",
    "qoemon.tools.dashboards",
    "qoemon.tools.dashboards.commands",
    "qoemon.tools.demo",
    "qoemon.tools.demo.commands",
    "qoemon.tools.feedback",
    "qoemon.tools.feedback.commands",
    "qoemon.tools.options",
    "qoemon.tools.study_options",
    "qoemon.tools.paper",
    "qoemon.tools.paper.commands",
    "qoemon.tools.players",
    "qoemon.tools.players.commands",
    "qoemon.tools.report",
    "qoemon.tools.report.commands",
    "qoemon.tools.rescale",
    "qoemon.tools.rescale.commands",
    "qoemon.tools.rules",
    "qoemon.tools.rules.commands",
    "qoemon.tools.shipped",
    "qoemon.tools.shipped.commands",
    "qoemon.tools.simulate",
    "qoemon.tools.simulate.commands",
    "qoemon.tools.state",
    "qoemon.tools.state.commands",
    "qoemon.tools.top",
    "qoemon.tools.top.commands",
    "qoemon.tools.top.options",
}


def python(*command: str, env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def imported(*command: str, status: int = 0) -> set[str]:
    """Every module that a Python process imports, from its start to its end."""
    done = python("-X", "importtime", *command)
    assert done.returncode == status, done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_the_command_line_imports_these_modules_of_qoemon() -> None:
    """A new one belongs into the command that needs it, unless options are made of it."""
    modules = imported("-c", "import qoemon.cli")
    assert {name for name in modules if name.partition(".")[0] == "qoemon"} == OF_THE_COMMAND_LINE
    assert not modules & FOR_NO_HELP


@pytest.mark.parametrize(("arguments", "status"), [("--version", 0), ("--help", 0), ("", 2)])
def test_version_and_help_import_no_library_but_typer(arguments: str, status: int) -> None:
    modules = imported("-m", "qoemon", *arguments.split(), status=status)
    assert "typer" in modules
    assert not modules & FOR_NO_HELP


COMMANDS = [*typer.main.get_command(cli.app).commands, "feedback fit", "feedback test"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_no_library_but_typer_and_its_pydantic(command: str) -> None:
    assert not imported("-m", "qoemon", *command.split(), "--help") & (FOR_NO_HELP - {"pydantic"})


@pytest.mark.parametrize("file", [(), ("-c", "config/qoemon.yaml")], ids=["defaults", "sample"])
def test_check_imports_what_reads_and_rates_but_nothing_that_serves_or_draws(file: tuple[str, ...]) -> None:
    modules = imported("-m", "qoemon", "check", *file)
    assert {"numpy", "pydantic"} <= modules
    assert not modules & (SCIPY | DRAWING | {"aiohttp", "aiomqtt", "asyncio", "paho", "prometheus_client"})
    assert not {name for name in modules if name.startswith(("qoemon.daemon", "qoemon.net", "qoemon.outputs"))}


def test_the_daemon_imports_no_more_of_scipy_than_a_compiled_module_and_nothing_that_draws() -> None:
    modules = imported("-c", "import qoemon.daemon.run, qoemon.daemon.daemon, qoemon.engine.local")
    assert not modules & (SCIPY | DRAWING)
    assert not {name for name in modules if name.startswith("qoemon.tools")}


def test_scipy_is_whole_after_the_core_has_loaded_a_part_of_it() -> None:
    """Both see the same functions, and scipy's own error handling works."""
    script = """
import numpy as np
from qoemon.core.qoe import special as ours
import sys
assert "scipy.special" not in sys.modules
import scipy.special, scipy.stats, scipy.interpolate, scipy.optimize
for name in ours.__all__:
    assert getattr(ours, name) is getattr(scipy.special._ufuncs, name), name
with scipy.special.errstate(all="raise"):
    try:
        ours.ndtri(-1.0)
    except scipy.special.SpecialFunctionError:
        pass
    else:
        raise AssertionError("no error")
assert ours.betainc(2.0, 3.0, 0.3) == scipy.special.betainc(2.0, 3.0, 0.3)
assert abs(scipy.stats.beta(2, 3).cdf(0.3) - ours.betainc(2.0, 3.0, 0.3)) < 1e-12
"""
    done = python("-W", "error", "-c", script)
    assert done.returncode == 0, done.stderr


def test_the_core_takes_scipy_special_that_is_loaded_already() -> None:
    script = "import scipy.special as s, qoemon.core.qoe.special as o; assert o.betainc is s.betainc"
    done = python("-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_made_by_the_command_line_alone(shell: str) -> None:
    variables = {"_QOEMON_COMPLETE": f"complete_{shell}", "COMP_WORDS": "qoemon re", "COMP_CWORD": "1"}
    variables |= {"_TYPER_COMPLETE_ARGS": "qoemon re", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    script = "import sys; sys.argv = ['qoemon']; from qoemon.cli import app; app(prog_name='qoemon')"
    done = python("-c", script, env=os.environ | variables)
    assert all(name in done.stdout for name in ("record", "replay", "report")), done.stderr
    assert "simulate" not in done.stdout


def test_help_in_a_pipe_is_plain_text() -> None:
    done = python("-m", "qoemon", "--help")
    assert done.returncode == 0
    assert "Run the daemon: read QoS reports, serve estimated ratings." in done.stdout
    assert "\x1b" not in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2], "the first sentence of a command fits its line"
