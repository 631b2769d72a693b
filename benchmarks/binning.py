"""Error of rating sessions by (n, t) bins and by MOS levels: docs/decisions/0002. `make binning`."""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.counting.window import histogram
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import STALL_BINS, mos_level, stall_bin
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.qoe.mapping import VIDEO_STALL

SESSIONS = 20_000
SHAPES = {
    "all with 60 s of media": (0.5, 2.0, 60.0, 60.0),
    "all with 40 s of media": (0.5, 2.0, 40.0, 40.0),
    "all with 55 s of media": (0.5, 2.0, 55.0, 55.0),
    "heavy stalls, 20 to 50 s of media": (3.0, 7.0, 20.0, 50.0),
    "many short stalls": (25.0, 0.1, 50.0, 60.0),
}
"""Mean number of stalls, their mean length in s, least and most seconds of media."""


def errors(service: Service, n: Floats, t: Floats) -> list[tuple[float, float]]:
    """MOS and GoB by bins, then by levels, minus those of the exact rating of each session."""
    one = np.zeros(len(n), np.int64)
    mos = service.mapping(n, t)
    distinct, times = np.unique(mos, return_counts=True)
    exact = service.kernel((), distinct).distribution(times[None])
    binned = service.kernel((), service.mapping(*STALL_BINS.conditions)).distribution(
        histogram(one, stall_bin(n, t), 1, STALL_BINS.size)
    )
    level = mos_level(mos, service.scale)
    levels = service.kernel().distribution(histogram(one, level, 1, len(service.rated_at)))
    return [_error(rated, exact) for rated in (binned, levels)]


def _error(rated: Distribution, exact: Distribution) -> tuple[float, float]:
    return float(rated.mos[0] - exact.mos[0]), float(rated.gob[0] - exact.gob[0])


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(1)
    service = Service("video", VIDEO_STALL, 0.3)
    print(f"{SESSIONS:,} sessions a row, theta 0.3     (n, t) bins: MOS, GoB     levels: MOS, GoB")
    for name, (rate, length_s, least_s, most_s) in SHAPES.items():
        stalls = rng.poisson(rate, SESSIONS)
        stall_ms = np.rint(rng.gamma(np.maximum(stalls, 1), length_s) * 1000 * (stalls > 0)).astype(np.int64)
        play_ms = np.rint(rng.uniform(least_s, most_s, SESSIONS) * 1000).astype(np.int64)
        bins, levels = errors(service, *stall_condition(stalls, stall_ms, play_ms))
        print(f"{name:<36} {bins[0]:+13.4f} {bins[1]:+10.4f} {levels[0]:+13.5f} {levels[1]:+10.5f}")


if __name__ == "__main__":
    main()
