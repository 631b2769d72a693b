"""Every qoemon command in the documentation is one: the subcommand and all its options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
import typer

from qoemon.cli import app
from tests.support.parts import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"`([^`\n]+)`|^ {4}(.+)$|^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """The page and the text of each command."""
    for page in PAGES:
        for found in CODE.finditer(page.read_text()):
            for line in re.sub(r"\\\n\s*", " ", found[1] or found[2] or found[3]).splitlines():
                command = re.sub(r"^\s*(\$ |# )?", "", line).split(" #")[0].split("  #")[0]
                if command.startswith("qoemon "):
                    yield page.name, re.split(r" (?:\||>|&&|2>) ?", command)[0].rstrip(" &;")


COMMANDS = sorted(set(commands()))


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 100


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_the_documentation_exists(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"[\[\]]|\.\.\.", "", command))[1:]
    context = click.Context(typer.main.get_command(app), info_name="qoemon")
    try:
        while isinstance(context.command, click.Group):
            if not words or words[0].startswith("-"):
                context.command.make_parser(context).parse_args(words)
                return
            if words[0].isupper():
                return  # COMMAND stands for any of them.
            found = context.command.get_command(context, words[0])
            assert found is not None, f"{page}: qoemon has no command {words[0]}"
            context = click.Context(found, parent=context, info_name=words[0])
            words = words[1:]
        context.command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        pytest.fail(f"{page}: {command}: {error.format_message()}")
