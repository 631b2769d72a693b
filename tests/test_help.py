"""The help of every command: -h, an example that parses, the exit codes, and the default of every option."""

from __future__ import annotations

import re
import shlex

import click
import pytest
import typer.main
from typer.testing import CliRunner

from qoemon import cli

APP = typer.main.get_command(cli.app)
COMMANDS: dict[str, click.Command] = {}
"""Commands, and those of their groups, such as `state show`."""
for _name, _command in sorted(APP.commands.items()):  # type: ignore[attr-defined]
    COMMANDS[_name] = _command
    COMMANDS |= {f"{_name} {name}": each for name, each in getattr(_command, "commands", {}).items()}


def help_of(command: str) -> str:
    result = CliRunner().invoke(cli.app, [*command.split(), "-h"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_h_is_help(command: str) -> None:
    text = help_of(command)
    assert re.search(r"^  -h, --help +Show this message and exit\.$", text, re.MULTILINE)
    assert text == CliRunner().invoke(cli.app, [*command.split(), "--help"], env={"COLUMNS": "80"}).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_its_default_or_is_required(command: str) -> None:
    """But flags without a value, which are off."""
    blocks = re.split(r"\n(?=  \S)", help_of(command).partition("Options:\n")[2].partition("\n\n")[0])
    valued = [block for block in blocks if re.match(r" *(-\w, )?--[\w-]+ (<|[A-Z])", block)]
    options = [option for option in _options(command) if not getattr(option, "is_flag", False)]
    assert len(valued) == len(options)
    for block in valued:
        assert re.search(r"[\[;]\s*(env\s+var:\s+\w+;\s+)?(default:|required\])", block), block


def _options(command: str) -> list[object]:
    return [param for param in COMMANDS[command].params if param.param_type_name == "option"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_parse_and_with_exit_codes(command: str) -> None:
    _, _, end = help_of(command).rpartition("  -h, --help")
    examples, _, codes = end.partition("Exit codes:\n")
    lines = [line.strip() for line in examples.splitlines() if line.startswith("    qoemon ")]
    assert lines
    for line in lines:
        words = shlex.split(line.partition(">")[0] if "'" not in line else line)
        path = command.split()
        assert words[: len(path) + 1] == ["qoemon", *path]
        COMMANDS[command].make_context(command, words[len(path) + 1 :]).close()
    found = re.findall(r"^    (\d)  \S", codes, re.MULTILINE)
    assert found in (["0", "1", "2"], ["0", "2"])
