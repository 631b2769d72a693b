"""Errors of a configuration file: where, what was found, what was expected, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qoemon.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

KeyPath = tuple[str | int, ...]
"""Path of a value in the file: keys, and list positions from 0. `("mqtt", "topics", 0)`; () is the whole file."""

SHOWN_LENGTH = 80
"""Length at which keys and values are cut in messages."""


@dataclass(frozen=True)
class ConfigProblem:
    """One error in a configuration file.

    line  None where the file as a whole is meant
    key   the path in dots, "" where the file as a whole is meant
    expected  "" where the text of `found` says all
    """

    file: str
    line: int | None
    key: str
    found: str
    expected: str
    advice: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"found {self.found}" + (self.expected and f", expected {self.expected}")
        return printable(": ".join(filter(None, (place, self.key, what))) + (self.advice and f"; {self.advice}"))


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has every error found, sorted by line."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(map(str, self.problems)))


def dotted(path: KeyPath) -> str:
    """The path as text: "services.video.theta"."""
    return printable(".".join(map(str, path)), SHOWN_LENGTH)
