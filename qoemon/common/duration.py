"""Durations with a unit, "10s", "5m", "1h30m", exact to the millisecond."""

from __future__ import annotations

import re

_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

PATTERN = r"^(?=[0-9])" + "".join(rf"([0-9]{{1,9}}{unit})?" for unit in _UNITS_MS) + "$"
"""Regular expression of a duration: each unit at most once, the longest first."""

EXAMPLES = '"10s", "5m" or "1h30m"'


def seconds(text: str) -> float:
    """Seconds of a duration such as "500ms", "10s", "1h30m" or "1d"; ValueError if the text is no duration."""
    match = re.fullmatch(PATTERN, text)
    if not match:
        raise ValueError(f"{text!r} is no duration such as {EXAMPLES}")
    amounts = (int(part.rstrip("dhms")) if part else 0 for part in match.groups())
    return sum(amount * unit_ms for amount, unit_ms in zip(amounts, _UNITS_MS.values(), strict=True)) / 1000


def text(duration_s: float) -> str:
    """The canonical text of a duration, the longest units first: "5m" for 300, "1h30m" for 5400.

    Used as the label value of windows: equal durations give one value, however the configuration writes them.
    """
    rest_ms = round(duration_s * 1000)
    parts = []
    for unit, unit_ms in _UNITS_MS.items():
        amount, rest_ms = divmod(rest_ms, unit_ms)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"
