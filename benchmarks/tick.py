"""What a tick of a million active sessions costs, beside its bare sums. `python -m benchmarks.tick`.

The floor is what any program on numpy has to do for the same answer: sum the slices of every session, judge and
count them in the bins of their groups, and multiply the counts by the kernel. It knows no open stalls, no bounds,
no quantiles, no users, nobody who leaves.
"""

from __future__ import annotations

import numpy as np

from benchmarks.bench import Row, cpu_ms, run
from benchmarks.population import Population, plan
from qoemon.core.arrays import Floats
from qoemon.core.counting.monitor import Monitor
from qoemon.core.qoe.bins import STALL_BINS, mos_levels
from qoemon.core.qoe.mapping import VIDEO_STALL
from qoemon.core.qoe.scale import ACR5

SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 9
SLICES = 6
KERNEL_COLUMNS = 81
"""Ratings, MOS, GoB, PoW, squares, the band, and the CDF to invert."""


def tick_ms(*, closing: bool) -> list[float]:
    """CPU milliseconds of ticks at which all report; closing: only those that end a rating interval."""
    population = Population(SESSIONS, GROUPS)
    monitor = Monitor(plan(SESSIONS, GROUPS))
    runs = []
    for _ in range(2 * SLICES + REPEATS):
        for batch in population.tick():
            monitor.apply(batch, batch.arrival_s[0])
        took = cpu_ms(lambda: monitor.snapshot(population.now_s), 1)
        if population.ticks > SLICES and (population.now_s % 60 == 0) == closing:
            runs += took
    return runs


class Floor:
    """The bare sums, on numbers of the same shapes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        new = rng.poisson(0.1, (SLICES, SESSIONS)).astype(np.int32)
        play = np.full((SLICES, SESSIONS), 9500, np.int32)
        self._slices = np.stack([new, new * 1000, play])
        self._group = np.arange(SESSIONS) % GROUPS
        self._kernel = rng.random((len(mos_levels(ACR5)), KERNEL_COLUMNS))

    def total(self) -> Floats:
        """(G, columns) of one window."""
        stalls, stall_ms, play_ms = self._slices.sum(axis=1, dtype=np.int64)
        n, t = stalls * 60_000 / play_ms, stall_ms * 60 / play_ms
        level = np.rint((VIDEO_STALL(n, t) - 1) / 0.005).astype(np.int64)
        self._counts(
            np.rint(np.minimum(n, 20)).astype(np.int64) * 62 + np.ceil(np.minimum(t, 61)).astype(np.int64),
            STALL_BINS.size,
        )
        return np.asarray(self._counts(level, len(self._kernel)) @ self._kernel)

    def _counts(self, bins: np.ndarray, size: int) -> np.ndarray:
        return np.bincount(self._group * size + bins, minlength=GROUPS * size).reshape(GROUPS, size)


def rows() -> list[Row]:
    """All figures."""
    floor, of = Floor(), f"{SESSIONS:,} sessions, {GROUPS:,} groups"
    floor.total()
    bare = Row.of(f"{of}: the bare sums", "ms CPU", cpu_ms(floor.total, REPEATS))
    tick = Row.of(f"{of}: tick", "ms CPU", tick_ms(closing=False), bar=150)
    closing = Row.of(f"{of}: tick that ends an interval", "ms CPU", tick_ms(closing=True), bar=150)
    ratio = tick.middle / bare.middle
    return [bare, tick, closing, Row.of("tick over the bare sums", "times", [ratio], bar=1.3)]


def main() -> None:
    """Print the table."""
    run("A tick, evaluation alone", rows)


if __name__ == "__main__":
    main()
