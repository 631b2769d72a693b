r"""Escapes text from the wire: characters that are invisible, or change how other text is shown, become codes.

Control characters (ANSI escape, line ends, NUL), marks that change the direction of writing, and characters without
width become `\x1b`, `\n`, `\u202e` and so on, as in a Python or JSON string. If the text already contains such a
code, or gets one, its backslashes are doubled. So different texts stay different, and no client can pass as another
client's group.
"""

from __future__ import annotations

import re

_LIKE_A_CODE = re.compile(r"\\[\\nrtuUx]")


def escape_label(text: str) -> str:
    """The text itself if it is printable, as nearly always; else with codes, and backslashes doubled."""
    if text.isprintable() and not _LIKE_A_CODE.search(text):
        return text
    return "".join("\\\\" if char == "\\" else escaped(char) for char in text)


def escaped(char: str) -> str:
    """The character itself if it is printable, else its code."""
    return char if char.isprintable() else ascii(char)[1:-1]
