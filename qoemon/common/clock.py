"""Detects that the wall clock was set, as opposed to time having passed."""

from __future__ import annotations

import time
from collections.abc import Callable


def since_boot() -> float:
    """Seconds since the machine was booted, suspended time included. This clock cannot be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Steps:
    """Detects steps of the wall clock by comparing it with one that cannot be set.

    least_s  smaller differences between two calls, such as slow corrections by NTP, are not steps
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float], least_s: float) -> None:
        self._wall, self._steady, self._least_s = wall, steady, least_s
        self._offset_s = wall() - steady()

    def seen(self) -> float:
        """Seconds by which the wall clock was set since the last call: negative is back, 0 is not set."""
        offset_s = self._wall() - self._steady()
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        return step_s if abs(step_s) >= self._least_s else 0.0
