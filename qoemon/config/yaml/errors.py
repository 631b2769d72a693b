"""What is wrong in a configuration, said so that one reading is enough to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qoemon.common.text import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

KeyPath = tuple[str | int, ...]
"""The way to a value: keys and list positions (from 0), from the top."""


@dataclass(frozen=True)
class ConfigProblem:
    """One thing to mend. `line` is None and `key` empty where the file as a whole is meant."""

    file: str
    line: int | None
    key: str
    found: str
    expected: str
    advice: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"found {self.found}, expected {self.expected}"
        return printable(": ".join(filter(None, (place, self.key, what))) + (self.advice and f"; {self.advice}"))


class ConfigError(Exception):
    """The configuration cannot be used; `mistakes` are all that was found, in the order of the lines."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda mistake: mistake.line or 0))
        super().__init__("\n".join(map(str, self.problems)))


def dotted(where: KeyPath) -> str:
    """`services.video.theta`."""
    return shortened(".".join(map(str, where)))
