"""Random pauses between attempts, and a filter that logs a lasting failure only now and then."""

from __future__ import annotations

import random

REPEAT_S = 60.0
"""The same failure is logged at most once in this time."""


class Repeats:
    """Remembers the last failure that was logged, so that a lasting one is not logged at every attempt."""

    def __init__(self) -> None:
        self._last = ""
        self._last_s = 0.0

    def is_news(self, text: str, now_s: float) -> bool:
        """Whether to log the text: it differs from the last one logged, or that was REPEAT_S ago."""
        if text == self._last and now_s - self._last_s < REPEAT_S:
            return False
        self._last, self._last_s = text, now_s
        return True


def backoff_s(failures: int, shortest_s: float, longest_s: float) -> float:
    """Length of a random pause whose limit doubles with each failure, so that clients do not reconnect in step.

    failures     in a row, 0 for none
    returns      s, from shortest_s to longest_s
    """
    limit_s = shortest_s * 2.0 ** min(failures, 60)
    return random.uniform(shortest_s, min(limit_s, longest_s))
