"""Whether the wall clock was set while we ran, as opposed to time having passed."""

from __future__ import annotations

import time
from collections.abc import Callable


def since_boot() -> float:
    """Seconds since the machine was started, those in which it slept included; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Steps:
    """Compares the wall clock with one that nobody can set, from one look to the next.

    Slow corrections, as by NTP, are time; only what is at least `least_s` between two looks is a step.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float], least_s: float) -> None:
        self._wall, self._steady, self._least_s = wall, steady, least_s
        self._offset_s = wall() - steady()

    def seen(self) -> float:
        """By how many seconds the wall clock was set since the last look: negative is back, 0 not at all."""
        offset_s = self._wall() - self._steady()
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        return step_s if abs(step_s) >= self._least_s else 0.0
