"""Conditions as bins, and windows as sums of their counts.

Sessions are counted twice over. By the MOS of their exact condition, in levels so narrow that nothing is lost, for
what users answer. And by the condition itself, in bins that people can read, for what happened to them.
Counts are integers, so what was added is forgotten exactly: an emptied window equals a fresh one bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.qoe.mapping import Qos
from qoemon.core.qoe.scale import Scale

STALL_COUNTS = 21
"""n = 0, 1, ... 19, and 20 or more."""
STALL_SLOTS = 62
"""t = 0 exactly, slots of 1 s with their upper end up to 60 s, and above."""

MOS_STEP = 0.005
"""Width of a MOS level, scale points. Rated at its middle it is off by .0025 at most, and GoB by .001."""

RESPONSE_FROM_S, RESPONSE_TO_S = 0.001, 300.0
RESPONSE_BINS_A_DECADE = 120
"""Bins 1.94 % wide. Powers of ten are edges, and nearly 2 and 5 times them, so Prometheus' buckets can be exact."""


@dataclass(frozen=True)
class Axis:
    """One dimension of a condition.

    values  (A,) what each bin is judged at
    upper   (A,) where each bin ends, the last at infinity
    """

    name: str
    unit: str
    values: Floats
    upper: Floats


@dataclass(frozen=True)
class Bins:
    """The bins of a service's conditions: the product of its axes, the last axis running fastest."""

    axes: tuple[Axis, ...]

    @cached_property
    def size(self) -> int:
        return int(np.prod([len(axis.values) for axis in self.axes]))

    @cached_property
    def conditions(self) -> tuple[Floats, ...]:
        """One (B,) array an axis: the condition at which each bin is judged."""
        grid = np.meshgrid(*(axis.values for axis in self.axes), indexing="ij")
        return tuple(values.ravel() for values in grid)

    def marginals(self, counts: Counts) -> tuple[Counts, ...]:
        """(G, B) counts to one (G, A) array an axis."""
        cube = counts.reshape(len(counts), *(len(axis.values) for axis in self.axes))
        dims = range(1, cube.ndim)
        return tuple(cube.sum(axis=tuple(d for d in dims if d != axis)) for axis in dims)


def bins_of(qos: Qos) -> Bins:
    """The bins in which conditions of this kind are shown; measures are of too many kinds to have any."""
    return {Qos.STALLS: STALL_BINS, Qos.RESPONSES: RESPONSE_BINS, Qos.MEASURES: NO_BINS}[qos]


def _stall_axes() -> tuple[Axis, Axis]:
    n = np.arange(STALL_COUNTS, dtype=np.float64)
    slot_ends = np.arange(STALL_SLOTS - 1, dtype=np.float64)
    t = np.concatenate([[0.0], slot_ends + 0.5])
    return (
        Axis("n", "stalls/min of media", n, np.append(n[:-1], np.inf)),
        Axis("t", "s/min of media", t, np.append(slot_ends, np.inf)),
    )


def _response_axis() -> Axis:
    size = int(np.ceil(np.log10(RESPONSE_TO_S / RESPONSE_FROM_S) * RESPONSE_BINS_A_DECADE))
    edges = RESPONSE_FROM_S * 10 ** (np.arange(size + 1) / RESPONSE_BINS_A_DECADE)
    return Axis("x", "s", np.sqrt(edges[:-1] * edges[1:]), np.append(edges[1:-1], np.inf))


STALL_BINS = Bins(_stall_axes())
RESPONSE_BINS = Bins((_response_axis(),))
NO_BINS = Bins(())


def stall_bin(n: Floats, t: Floats) -> Ints:
    """The bin of each condition, n stalls and t stall seconds per minute of media, (N,) each, infinite too."""
    n_bin = np.rint(np.minimum(n, STALL_COUNTS - 1)).astype(np.int64)
    t_bin = np.ceil(np.minimum(t, STALL_SLOTS - 1)).astype(np.int64)
    return n_bin * STALL_SLOTS + t_bin


def response_bin(response_s: Floats) -> Ints:
    """The bin of each response time, (N,) seconds; shorter and longer ones fall in the first and last."""
    return np.searchsorted(RESPONSE_BINS.axes[0].upper[:-1], response_s)


def mos_levels(scale: Scale) -> Floats:
    """(M,) the MOS of each level, scale points: the ends of the scale and its ratings are exact."""
    steps = round((scale.high - scale.low) / MOS_STEP)
    return np.linspace(scale.low, scale.high, steps + 1)


def mos_level(mos: Floats, scale: Scale) -> Ints:
    """The level nearest to each MOS, (N,) scale points."""
    return np.rint((mos - scale.low) / MOS_STEP).astype(np.int64)
