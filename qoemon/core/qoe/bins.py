"""Bins for QoS conditions.

Each session is counted in two histograms. The first, from which ratings are predicted, has levels of MOS: the MOS
of the exact condition is rounded to levels so narrow that the loss is negligible. The second has bins of the
condition itself, coarse enough to be read by people: it shows what happened to the sessions. There, stalls are
counted per minute in which a session played or stalled, so a session that stands still has one, not 60.
Counts are integers, so removing a count is exact: an emptied window equals a new one bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.qoe.mapping import MEDIA_S, Qos
from qoemon.core.qoe.scale import Scale

STALL_COUNTS = 21
"""Bins for n = 0, 1, ... 19, and 20 or more."""
STALL_SLOTS = 62
"""Bins for t = 0 exactly, for (0, 1], (1, 2], ... (59, 60] s, and above 60 s."""

MOS_STEP = 0.005
"""Width of a MOS level, scale points. Rounding to its middle changes a MOS by .0025 at most, and GoB by .001."""

RESPONSE_FROM_S, RESPONSE_TO_S = 0.001, 300.0
RESPONSE_BINS_A_DECADE = 120
"""Each bin is 1.94 % wide. Edges lie at powers of ten, and nearly at 2 and 5 times those, so Prometheus buckets can
be exact."""


@dataclass(frozen=True)
class Axis:
    """One dimension of a condition.

    values  (A,) value that represents each bin
    upper   (A,) upper edge of each bin, the last is infinity
    """

    name: str
    unit: str
    values: Floats
    upper: Floats


@dataclass(frozen=True)
class Bins:
    """The bins of a service's conditions: the product of its axes, in C order (the last axis varies fastest)."""

    axes: tuple[Axis, ...]

    @cached_property
    def size(self) -> int:
        """Number of bins, B."""
        return int(np.prod([len(axis.values) for axis in self.axes]))

    @cached_property
    def conditions(self) -> tuple[Floats, ...]:
        """One (B,) array per axis: the condition that represents each bin."""
        grid = np.meshgrid(*(axis.values for axis in self.axes), indexing="ij")
        return tuple(values.ravel() for values in grid)

    def marginals(self, counts: Counts) -> tuple[Counts, ...]:
        """Marginal histograms of (G, B) counts: one (G, A) array per axis."""
        cube = counts.reshape(len(counts), *(len(axis.values) for axis in self.axes))
        dims = range(1, cube.ndim)
        return tuple(cube.sum(axis=tuple(d for d in dims if d != axis)) for axis in dims)


def bins_of(qos: Qos) -> Bins:
    """The bins in which conditions of this kind are shown; measures have none, as their number and ranges vary."""
    return {Qos.STALLS: STALL_BINS, Qos.RESPONSES: RESPONSE_BINS, Qos.MEASURES: NO_BINS}[qos]


def _stall_axes() -> tuple[Axis, Axis]:
    n = np.arange(STALL_COUNTS, dtype=np.float64)
    slot_ends = np.arange(STALL_SLOTS - 1, dtype=np.float64)
    t = np.concatenate([[0.0], slot_ends + 0.5])
    return (
        Axis("n", "stalls/min", n, np.append(n[:-1], np.inf)),
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
    """(N,) bin of each condition: n stalls a minute, t stall seconds per minute of media, maybe infinite."""
    n_bin = np.rint(np.minimum(n, STALL_COUNTS - 1)).astype(np.int64)
    t_bin = np.ceil(np.minimum(t, STALL_SLOTS - 1)).astype(np.int64)
    return n_bin * STALL_SLOTS + t_bin


def mapped_stalls(n: Floats, t: Floats) -> tuple[Floats, Floats]:
    """The condition for a mapping, n and t per minute of media, of a condition as it is shown.

    t seconds of stalling belong to a minute of media, so that minute has taken MEDIA_S + t seconds.
    """
    return n * (MEDIA_S + t) / MEDIA_S, t


def response_bin(response_s: Floats) -> Ints:
    """(N,) bin of each response time, (N,) seconds; times out of range fall in the first or last bin."""
    return np.searchsorted(RESPONSE_BINS.axes[0].upper[:-1], response_s)


def mos_levels(scale: Scale) -> Floats:
    """(M,) MOS of each level, scale points; the ends of the scale and its integer ratings are levels."""
    steps = round((scale.high - scale.low) / MOS_STEP)
    return np.linspace(scale.low, scale.high, steps + 1)


def mos_level(mos: Floats, scale: Scale) -> Ints:
    """(N,) nearest level of each MOS, (N,) scale points."""
    return np.rint((mos - scale.low) / MOS_STEP).astype(np.int64)
