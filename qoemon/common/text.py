"""Text of others on its way to a terminal or into a log: one line, no orders to the terminal, of bounded length."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from qoemon.core.wire.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence


def printable(text: str, most: int | None = None) -> str:
    r"""The text as one line that a terminal can't take for an order.

    Control characters, marks of direction and lone surrogates are shown as their codes, `\x1b`; a backslash stays
    as it is, since this is for people to read.

    most  characters of the text that are shown; None is all
    """
    cut = text if most is None or len(text) <= most else text[: most - 1] + "…"
    return cut if cut.isprintable() else "".join(map(escaped, cut))


_LONGEST = 64
"""No value from the wire takes more characters than this, however wide the terminal is."""


_MARKS_AT_MOST = 2
"""Combining marks on one letter: enough for any script, too few to paint over the lines above."""


def plain(text: str) -> str:
    """Text from the wire as one line that a terminal cannot take for an order.

    Whatever is not printed as itself (control characters, ANSI's escape, line ends, marks that turn the direction
    of writing) is shown as a replacement character: left out, it would let two values look the same.
    """
    shown, marks = [], 0
    for character in unicodedata.normalize("NFC", text[:_LONGEST]):
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if marks <= _MARKS_AT_MOST:
            shown.append(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}")
    return "".join(shown) + "…" * (len(text) > _LONGEST)


def shortened(text: str, most: int = 80) -> str:
    """The text, or what fits of it."""
    return text if len(text) <= most else text[: most - 1] + "…"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Advice for a misspelt word; empty if nothing known is close."""
    close = get_close_matches(word, known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""
