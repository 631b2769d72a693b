"""Pauses between attempts, and which failures are worth a line of the log."""

from __future__ import annotations

import random

REPEAT_S = 60.0
"""The same failure is logged at most once in this time."""


class Repeats:
    """What was logged last, so that a failure that lasts is not logged at every attempt."""

    def __init__(self) -> None:
        self._last = ""
        self._last_s = 0.0

    def is_news(self, text: str, now_s: float) -> bool:
        """Whether the text differs from the last, or that was REPEAT_S ago."""
        if text == self._last and now_s - self._last_s < REPEAT_S:
            return False
        self._last, self._last_s = text, now_s
        return True


def backoff_s(failures: int, shortest_s: float, longest_s: float) -> float:
    """A random pause whose ceiling doubles with each failure in a row, so that clients do not return in step.

    failures     in a row, 0 for none
    returns      s, from shortest_s to longest_s
    """
    ceiling_s = shortest_s * 2.0 ** min(failures, 60)
    return random.uniform(shortest_s, min(ceiling_s, longest_s))
