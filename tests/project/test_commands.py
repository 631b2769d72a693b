"""Every qoemon command in the documentation is one: the subcommand and all its options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from qoemon.cli import app
from tests.support.parts import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
USAGE_ERROR = typer.BadParameter.__bases__[0]


def code(text: str) -> Iterator[str]:
    """The lines of code of a page, and what is code within its sentences."""
    fenced = False
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def commands() -> Iterator[tuple[str, str]]:
    """The page and the text of each command."""
    for page in PAGES:
        for line in code(page.read_text()):
            command = re.split(r"\s+#|[|>;]|&&| 2>", line.strip().removeprefix("$ "))[0].strip()
            if command.startswith("qoemon ") and not command.endswith(":"):
                yield page.name, command


COMMANDS = sorted(set(commands()))


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 100


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_the_documentation_exists(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"[\[\]]|\.\.\.", "", command))[1:]
    found: Any = typer.main.get_command(app)
    while isinstance(found, TyperGroup) and words and not words[0].startswith("-"):
        name, *words = words
        if name.isupper():
            return  # COMMAND stands for any of them.
        assert name in found.commands, f"{page}: {command}: there is no {name}"
        found = found.commands[name]
    if words and words[-1].startswith("--") and "=" not in words[-1]:
        words.append("VALUE")  # A page may name an option alone; a flag takes it as an argument.
    try:
        found.make_parser(typer.Context(found)).parse_args(words)
    except USAGE_ERROR as error:
        pytest.fail(f"{page}: {command}: {error}")
