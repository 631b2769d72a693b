"""Alarms of the model's check: false ones in 30 days, and days until a deviation is reported."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.feedback.simulated import SERVICES, history
from qoemon.core.feedback.check import CheckRules, follow, of_bias, of_spread
from qoemon.core.feedback.day import DaySums
from qoemon.core.qoe.scale import ACR5

RULES = CheckRules()
DAYS, RATINGS = 30, 200
CALM_RUNS, ROUGH_RUNS, RUNS = 2000, 400, 200
SETTLED, WATCHED = 15, 40
SHIFT, OTHER_THETA = -0.3, 0.1
FEW = (100, 30)
"""Other numbers of ratings a day."""
ALIKE, ROUGH = 0.5, 0.3
"""Correlation of successive days, and a standard deviation between days: more than the rules are made for."""


def rows() -> Iterator[Row]:
    """False alarms of each deviation and service, and delays."""
    for seed, service in enumerate(SERVICES):
        rng = np.random.default_rng(seed)
        calm = history(service, CALM_RUNS, [0] * DAYS, RATINGS, rng)
        yield Row(f"{service}: services with a false alarm of the bias", _any(bias_off(calm)), most=0.8, unit=" %")
        yield Row(
            f"{service}: services with a false alarm of the spread", _any(spread_off(calm)), most=0.8, unit=" %"
        )
        for ratings, most in zip((RATINGS, *FEW), (9, 10, 20), strict=True):
            shifted = history(service, RUNS, [0] * SETTLED + [SHIFT] * WATCHED, ratings, rng)
            off = bias_off(shifted)[SETTLED:, :, 1]
            name = f"{service}, {ratings} ratings a day: "
            yield Row(f"{name}days until a shift of {-SHIFT} MOS is reported, median", _delay(off), 4, most)
            if ratings == RATINGS:
                yield Row(
                    f"{name}such shifts that are reported in {WATCHED} days", 100 * _share(off), 99, unit=" %"
                )
                for day, missed in ((5, 80), (10, 20)):
                    yield Row(
                        f"{name}such shifts that are not reported after {day} days",
                        100 - 100 * _share(off[:day]),
                        most=missed,
                        unit=" %",
                    )
            if ratings >= FEW[0]:
                narrow = history(service, RUNS, [0] * 15, ratings, rng, theta=OTHER_THETA)
                yield Row(
                    f"{name}days until theta {OTHER_THETA} for .3 is reported, median",
                    _delay(spread_off(narrow)[..., 1]),
                    1,
                    4,
                )
        alike = history(service, ROUGH_RUNS, [0] * DAYS, RATINGS, rng, alike=ALIKE)
        yield Row(
            f"{service}: a false alarm of the bias, days with a correlation of {ALIKE}",
            _any(bias_off(alike)),
            most=10,
            unit=" %",
        )
        rough = history(service, ROUGH_RUNS, [0] * DAYS, RATINGS, rng, between=ROUGH)
        yield Row(
            f"{service}: a false alarm of the bias, days that differ by {ROUGH} MOS",
            _any(bias_off(rough)),
            most=30,
            unit=" %",
        )


def bias_off(days: DaySums) -> np.ndarray:
    """(D, runs, 2) whether an alarm of the bias is on after each day."""
    return follow(of_bias(days, ACR5, RULES), RULES).off


def spread_off(days: DaySums) -> np.ndarray:
    """The same of the spread."""
    return follow(of_spread(days, RULES), RULES).off


def _any(off: np.ndarray) -> float:
    """Percentage of the runs in which there is an alarm on any day, of either direction."""
    return 100 * float(off.any(axis=(0, 2)).mean())


def _share(off: np.ndarray) -> float:
    return float(off.any(axis=0).mean())


def _delay(off: np.ndarray) -> float:
    """Median number of days (D, runs) until the first alarm."""
    return float(np.median(np.where(off.any(axis=0), off.argmax(axis=0) + 1, np.inf)))
