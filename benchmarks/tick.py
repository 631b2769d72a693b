"""CPU of a tick with a million active sessions, compared with its bare sums. `python -m benchmarks.tick`.

The floor is what any program on numpy has to do for the same result: sum the slices of every session, rate the
sessions, count them in the bins of their groups, and multiply the counts by the kernel. It has no open stalls, no
confidence bounds, no quantiles, no unique sessions and no timeouts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np

from benchmarks.bench import cpu_ms, run
from benchmarks.population import Population, plan
from benchmarks.row import Row
from benchmarks.shard import Shard
from qoemon.core.arrays import Floats
from qoemon.core.qoe.bins import STALL_BINS, mos_levels
from qoemon.core.qoe.mapping import VIDEO_STALL
from qoemon.core.qoe.scale import ACR5

SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 9
SLICES = 6
KERNEL_COLUMNS = 81
"""Ratings, MOS, GoB, PoW, squares, the band, and the CDF to invert."""


class Floor:
    """The bare sums, on arrays of the same shapes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        new = rng.poisson(0.1, (SLICES, SESSIONS)).astype(np.int32)
        play = np.full((SLICES, SESSIONS), 9500, np.int32)
        self._slices = np.stack([new, new * 1000, play])
        self._group = np.arange(SESSIONS) % GROUPS
        self._kernel = rng.random((len(mos_levels(ACR5)), KERNEL_COLUMNS))

    def total(self) -> Floats:
        """(G, columns) of one window: the counts by MOS level times the kernel."""
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


@dataclass
class Runs:
    """CPU milliseconds of some ticks, and of the bare sums right after each."""

    ticks_ms: list[float] = field(default_factory=list)
    sums_ms: list[float] = field(default_factory=list)


def measure() -> tuple[Runs, Runs]:
    """Ticks in which all sessions report: those within a rating interval, and those that end one."""
    population, shard, floor = Population(SESSIONS, GROUPS), Shard(plan(SESSIONS, GROUPS)), Floor()
    within, ending = Runs(), Runs()
    floor.total()
    for _ in range(2 * SLICES + REPEATS):
        for batch in population.tick():
            shard.apply(batch, batch.arrival_s[0])
        took_ms = cpu_ms(lambda: shard.tick(population.now_s), 1)
        if population.ticks > SLICES:
            runs = ending if population.now_s % 60 == 0 else within
            runs.ticks_ms += took_ms
            runs.sums_ms += cpu_ms(floor.total, 1)
    return within, ending


def rows() -> list[Row]:
    """All figures."""
    within, ending = measure()
    of = f"{SESSIONS:,} sessions, {GROUPS:,} groups"
    return [
        Row.of(f"{of}: bare sums", "ms CPU", within.sums_ms + ending.sums_ms),
        Row.of(f"{of}: tick", "ms CPU", within.ticks_ms),
        Row.of(f"{of}: tick that ends an interval", "ms CPU", ending.ticks_ms),
        Row.ratio("tick / bare sums", within.ticks_ms, within.sums_ms, at_most=1.3),
        Row.ratio("tick that ends an interval / bare sums", ending.ticks_ms, ending.sums_ms, at_most=1.8),
    ]


if __name__ == "__main__":
    sys.exit(run("A tick, evaluation alone", rows))
