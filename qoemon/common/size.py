"""Sizes with a unit, "64MiB", "256KiB": binary units only, so that their meaning is clear."""

from __future__ import annotations

import re

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

PATTERN = rf"^([0-9]{{1,12}})({'|'.join(_UNITS)})$"


def byte_count(text: str) -> int:
    """Bytes of a size such as "64MiB"; ValueError if the text is no size."""
    match = re.fullmatch(PATTERN, text)
    if not match:
        raise ValueError(f'{text!r} is no size such as "64MiB"')
    return int(match[1]) * _UNITS[match[2]]
