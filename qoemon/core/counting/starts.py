"""Startup times and failed starts of the players of a service, by group: counts of the rating interval so far."""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, grow_rows

STARTUP_BOUNDS_S = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30)
"""Upper bounds of the histogram's bins, seconds; one bin follows without a bound."""
STARTUP_BINS = len(STARTUP_BOUNDS_S) + 1
STARTUP_MS, FAILURES = STARTUP_BINS, STARTUP_BINS + 1
"""Columns after the bins: the sum of startup times in milliseconds, and the number of starts that failed."""
COLUMNS = STARTUP_BINS + 2


def no_starts(groups: int) -> Counts:
    """(groups, COLUMNS) zeros."""
    return np.zeros((groups, COLUMNS), np.int64)


class Starts:
    """Counts (G, COLUMNS) since the last drain()."""

    def __init__(self) -> None:
        self.counts = no_starts(0)

    def add(self, group: int, startup_ms: int | None) -> None:
        """Count a start; None: it failed."""
        self.counts = grow_rows(self.counts, group + 1)
        if startup_ms is None:
            self.counts[group, FAILURES] += 1
            return
        self.counts[group, np.searchsorted(STARTUP_BOUNDS_S, startup_ms / 1000)] += 1
        self.counts[group, STARTUP_MS] += startup_ms

    def drain(self, groups: int) -> Counts:
        """The counts of at least so many groups; they begin at 0 again."""
        drained, self.counts = grow_rows(self.counts, groups), no_starts(0)
        return drained
