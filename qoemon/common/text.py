"""Text of unknown origin, made fit for a terminal, a log line or an error message."""

from __future__ import annotations

import unicodedata
from difflib import get_close_matches
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = 64
"""`max_length` of names in tables and of short messages, however wide the terminal is."""

_MAX_MARKS = 2
"""Combining marks shown on one letter: enough for nearly every script, too few to paint over the lines above."""


def printable(text: str, max_length: int | None = None) -> str:
    r"""The text as one line that a terminal displays and does not obey.

    Control characters, line ends, marks of direction, characters of no width, lone surrogates and each combining
    mark after the second become codes such as `\x1b`. Every other character stays as it is, backslashes too: the
    codec has escaped label values, and they are shown unchanged. docs/decisions/0019-text-escaping.md

    max_length  characters of the result; a longer one is cut, never within a code, and ends in "…"
    """
    if text.isascii() and text.isprintable():
        return text if max_length is None or len(text) <= max_length else text[: max_length - 1] + "…"
    pieces = _pieces(text if max_length is None else text[: max_length + 1])
    ends = list(accumulate(map(len, pieces)))
    if max_length is None or ends[-1] <= max_length:
        return "".join(pieces)
    return "".join(piece for piece, end in zip(pieces, ends, strict=True) if end < max_length) + "…"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Advice for a misspelt word; "" if no known word is close."""
    close = get_close_matches(word, known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def _pieces(text: str) -> list[str]:
    """Each character as it is shown: itself or its code."""
    pieces, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        shown = character.isprintable() and marks <= _MAX_MARKS
        pieces.append(character if shown else ascii(character)[1:-1])
    return pieces
