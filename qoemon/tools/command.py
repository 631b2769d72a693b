"""What every command does: load the configuration, write messages to standard error, end with an exit code."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from qoemon.config.yaml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qoemon.config.config import Config

USAGE, FAILED, INTERRUPTED = 2, 1, 130

Errors = tuple[type[Exception], ...]


def load(path: Path | None) -> Config:
    """The configuration in that file, or the defaults; ConfigError if the file has errors."""
    from qoemon.config import config  # noqa: PLC0415 - pydantic and numpy, not for --help

    return config.Config() if path is None else config.load(path)


@contextmanager
def exit_on_errors(*, usage: Errors = (), failed: Errors = ()) -> Iterator[None]:
    """Turn expected errors into messages and an exit code; any other error is a bug and keeps its traceback.

    usage   errors that end the command with USAGE, as ConfigError always does
    failed  errors that end it with FAILED
    """
    code, lines = 0, []
    try:
        yield
    except* ConfigError as group:
        code, lines = USAGE, [line for error in _flat(group) for line in (str(error), _count(error))]
    except* usage as group:
        code, lines = USAGE, [str(error) for error in _flat(group)]
    except* failed as group:
        code, lines = FAILED, [str(error) for error in _flat(group)]
    except* KeyboardInterrupt:
        code = INTERRUPTED
    if code:
        fail(code, *lines)


def fail(code: int, *lines: str) -> NoReturn:
    """End the command with these lines on standard error."""
    for line in lines:
        sys.stderr.write(f"qoemon: {line}\n" if "\n" not in line else f"{line}\n")
    raise typer.Exit(code)


def info(text: str) -> None:
    """Write a line to standard error."""
    typer.echo(text, err=True)


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error


def _count(error: BaseException) -> str:
    count = len(error.problems) if isinstance(error, ConfigError) else 1
    return f"{count} error{'s' * (count > 1)}"
