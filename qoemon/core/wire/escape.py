r"""Text from the wire made visible: what would not be seen, or would move other text, is written as its code.

Control characters (ANSI's escape, line ends, NUL), marks that turn the direction of writing, and characters of no
width become `\x1b`, `\n`, `\u202e` and so on, as in a Python or JSON string. Where that could be mistaken for what
was there from the beginning, backslashes are doubled: no two texts become one, so that no client can pass for
another's group.
"""

from __future__ import annotations

import re

_LIKE_A_CODE = re.compile(r"\\[\\nrtuUx]")


def escape_label(text: str) -> str:
    """The text itself if it is printed as itself, as nearly all are; else with codes, backslashes doubled."""
    if text.isprintable() and not _LIKE_A_CODE.search(text):
        return text
    return "".join("\\\\" if char == "\\" else escaped(char) for char in text)


def escaped(char: str) -> str:
    """One character: itself if it is printed as itself, else its code."""
    return char if char.isprintable() else ascii(char)[1:-1]
