"""Alarms of the model's check: false ones in 30 days, and days until a deviation is reported."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.feedback.simulated import SERVICES, history
from qoemon.core.feedback.check import CheckRules, follow, of_bias, of_spread
from qoemon.core.qoe.scale import ACR5

RULES = CheckRules()
DAYS, RATINGS = 30, 200
CALM_RUNS, RUNS = 2000, 300
SETTLED, WATCHED = 15, 40
SHIFT, OTHER_THETA = -0.3, 0.1


def rows() -> Iterator[Row]:
    """False alarms of each deviation and service, and delays."""
    for seed, service in enumerate(SERVICES):
        rng = np.random.default_rng(seed)
        calm = history(service, CALM_RUNS, [0] * DAYS, RATINGS, rng)
        biased = follow(of_bias(calm, ACR5, RULES), RULES.tolerance, RULES).off
        spread = follow(of_spread(calm, RULES), RULES.spread_tolerance, RULES).off
        for name, off in (("bias", biased), ("spread", spread)):
            yield Row(f"{service}: share of services with a false alarm of the {name}", _any(off), most=0.008)
        shifted = history(service, RUNS, [0] * SETTLED + [SHIFT] * WATCHED, RATINGS, rng)
        off = follow(of_bias(shifted, ACR5, RULES), RULES.tolerance, RULES).off[SETTLED:, :, 1]
        yield Row(f"{service}: days until a shift of {-SHIFT} MOS is reported, median", _delay(off), 4, 9)
        yield Row(f"{service}: share of such shifts that are reported", float(off.any(axis=0).mean()), 0.99)
        narrow = history(service, RUNS, [0] * 15, RATINGS, rng, theta=OTHER_THETA)
        off = follow(of_spread(narrow, RULES), RULES.spread_tolerance, RULES).off[..., 1]
        yield Row(f"{service}: days until theta {OTHER_THETA} for .3 is reported, median", _delay(off), 2, 4)


def _any(off: np.ndarray) -> float:
    """Share of the runs in which there is an alarm on any day, of either direction."""
    return float(off.any(axis=(0, 2)).mean())


def _delay(off: np.ndarray) -> float:
    """Median number of days (D, runs) until the first alarm."""
    return float(np.median(np.where(off.any(axis=0), off.argmax(axis=0) + 1, np.inf)))
