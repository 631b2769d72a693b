"""Manual pages of all commands, made from their help, and scripts for completion.

The wheel has them in share/, where `man` looks if the command of its environment is in PATH.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.completion import get_completion_script

import qoemon
from qoemon import cli

NAME = "qoemon"
COMPLETIONS = {
    "bash": "bash-completion/completions/qoemon",
    "zsh": "zsh/site-functions/_qoemon",
    "fish": "fish/vendor_completions.d/qoemon.fish",
}
"""Below share/: where each shell looks."""

_HEADINGS = {"Example:": "EXAMPLES", "Examples:": "EXAMPLES", "Exit codes:": "EXIT STATUS"}


def pages() -> dict[str, str]:
    """Text of each manual page in roff, by file name: qoemon.1, and qoemon-COMMAND.1 for each command."""
    root = typer.main.get_command(cli.app)
    with root.make_context(NAME, [], resilient_parsing=True) as context:
        return dict(_pages(root, context))


def completions() -> dict[str, str]:
    """Script of each shell, by its path below share/. They start `qoemon`, which prints what fits."""
    scripts = {
        path: get_completion_script(prog_name=NAME, complete_var="_QOEMON_COMPLETE", shell=shell) + "\n"
        for shell, path in COMPLETIONS.items()
    }
    # zsh loads the file when it completes for the first time: without a call, that time would find nothing.
    scripts[COMPLETIONS["zsh"]] += '_qoemon_completion "$@"\n'
    return scripts


def files() -> dict[str, str]:
    """Text of every page and script, by its path below share/."""
    return {f"man/man1/{name}": text for name, text in pages().items()} | completions()


def _pages(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """The page of a command, and those of its subcommands. `command` and `context` are those of typer."""
    yield f"{_name(context)}.1", _page(command, context)
    for name, one in getattr(command, "commands", {}).items():
        yield from _pages(one, one.context_class(one, info_name=name, parent=context))


def _name(context: Any) -> str:
    """Of a page, without its section."""
    return str(context.command_path).replace(" ", "-")


def _page(command: Any, context: Any) -> str:
    name = _name(context)
    summary, _, more = inspect.cleandoc(command.help or "").partition("\n\n")
    others = [_name(context.parent)] if context.parent else [f"{NAME}-run", f"{NAME}-check"]
    lines = [
        f'.TH "{name.upper()}" "1" "" "{NAME} {qoemon.__version__}" "User Commands"',
        ".nh",  # names are to be found and copied whole
        ".SH NAME",
        rf"{_text(name)} \- {_text(' '.join(summary.rstrip('.').split()))}",
        ".SH SYNOPSIS",
        rf"\fB{_text(context.command_path)}\fR {_text(' '.join(command.collect_usage_pieces(context)))}",
        ".SH DESCRIPTION",
        *_paragraphs(summary),
        *_paragraphs(more),
        *_parameters(command, context),
        *_subcommands(command, name),
        *_ending(command.epilog or ""),
        ".SH SEE ALSO",
        ", ".join(rf"\fB{_text(other)}\fR(1)" for other in others),
    ]
    return "\n".join(lines) + "\n"


def _subcommands(command: Any, name: str) -> Iterator[str]:
    commands: dict[str, Any] = getattr(command, "commands", {})
    if commands:
        yield ".SH COMMANDS"
    for of_one, one in commands.items():
        first = inspect.cleandoc(one.help or "").partition("\n")[0]
        yield from (".TP", rf"\fB{_text(f'{name}-{of_one}')}\fR(1)", *_paragraphs(first)[1:])


def _parameters(command: Any, context: Any) -> Iterator[str]:
    for title, kind in (("ARGUMENTS", "argument"), ("OPTIONS", "option")):
        of_kind = [one for one in command.get_params(context) if one.param_type_name == kind]
        records = [record for one in of_kind if (record := one.get_help_record(context)) is not None]
        if records:
            yield f".SH {title}"
        for names, meaning in records:
            yield from (".TP", rf"\fB{_text(names)}\fR", *_paragraphs(meaning or "\u00a0")[1:])


def _ending(epilog: str) -> Iterator[str]:
    """Examples and exit codes, each on a line of its own, see qoemon.tools.command.ending()."""
    for block in filter(None, epilog.split("\n\n")):
        title, *lines = block.removeprefix("\b\n").splitlines()
        yield f".SH {_HEADINGS[title]}"
        yield from (".nf", *map(_text, lines), ".fi")


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a help text, each begun by a request and on one line: roff fills lines."""
    found = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return [line for part in found for line in (".PP", _text(part))]


def _text(text: str) -> str:
    """A text in which roff sees no request: a hyphen that can be copied, no escape, no control line."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    escaped = escaped.replace("^", r"\(ha").replace("~", r"\(ti")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped
