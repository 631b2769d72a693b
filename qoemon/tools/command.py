"""What every command does: load the configuration, write messages to standard error, end with an exit code."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from qoemon.config.yaml.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from qoemon.config.config import Config
    from qoemon.config.sections.mqtt import Mqtt

USAGE, FAILED, INTERRUPTED = 2, 1, 130

Errors = tuple[type[Exception], ...]


def load(path: Path | None, overrides: Sequence[str] | None = None) -> Config:
    """The configuration in that file, or the defaults, with --set KEY=VALUE; ConfigError if anything is wrong."""
    from qoemon.config import config  # noqa: PLC0415 - pydantic and numpy, not for --help

    return config.load(path, overrides=overrides or ())


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


def ending(examples: Sequence[str], codes: Mapping[int, str]) -> str:
    """The end of a command's help: examples, and the exit codes that have a meaning."""
    lines = [f"  {example}" for example in examples]
    meanings = [f"  {code}  {meaning}" for code, meaning in codes.items() if meaning]
    title = "Example:" if len(examples) == 1 else "Examples:"
    # typer keeps the lines of a paragraph after a backspace as they are
    return "\n".join(["\b", title, *lines, "", "\b", "Exit codes:", *meanings])


def required_broker(config: Config) -> Mqtt:
    """The section `mqtt`; without a broker the command ends."""
    if config.mqtt is None:
        fail(USAGE, "mqtt is null: this command needs a broker; add a section mqtt, with its host and port")
    return config.mqtt


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
