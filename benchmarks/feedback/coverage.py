"""How often the interval of the bias contains the truth, if days differ, and how wide it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.feedback.simulated import BETWEEN_DAYS, PREDICTED, SERVICES, history, levels_of
from qoemon.core.feedback.day import floating
from qoemon.core.feedback.figures import bias

RUNS, RATINGS = 600, 400
DAYS = (7, 14, 30)
BAR = (91.0, 97.0)
NAIVE = 60.0
FEW_RUNS = 100
WIDEST = {(30, 7): 0.3, (30, 30): 0.12, (100, 7): 0.24, (100, 30): 0.1, (200, 7): 0.22, (200, 30): 0.09}
"""Half of the interval of the bias at most, scale points, by ratings a day and days."""


def rows() -> Iterator[Row]:
    """Coverage by number of days; that of an interval that counts ratings has no bar."""
    for service, (mapping, draw) in SERVICES.items():
        rng = np.random.default_rng(1)
        mos = mapping(*draw(20_000, rng))
        shifts = rng.normal(0, BETWEEN_DAYS, 500)
        mean = PREDICTED.mean
        truth = float(
            np.mean([mean[levels_of(mos + each)].mean() for each in shifts]) - mean[levels_of(mos)].mean()
        )
        days = history(service, RUNS, [0] * DAYS[-1], RATINGS, rng)
        for length in DAYS:
            found = [bias(days.day(np.s_[:length, run])) for run in range(RUNS)]
            held = float(np.mean([each.lower <= truth <= each.upper for each in found]))
            yield Row(
                f"{service}: coverage of the bias, {length} days of {RATINGS} ratings", 100 * held, *BAR, " %"
            )
        total = days.day(np.s_[:]).total()
        count = total.answered.sum(axis=-1)
        value = floating(total.residuals).sum(axis=-1) / count
        half = 1.96 * np.sqrt(floating(total.squares).sum(axis=-1) / count / count)
        naive = 100 * float(np.mean(np.abs(value - truth) <= half))
        yield Row(
            f"{service}: the same, of an interval from the number of ratings, {DAYS[-1]} days",
            naive,
            most=NAIVE,
            unit=" %",
        )
        sizes = {each: history(service, FEW_RUNS, [0] * DAYS[-1], each, rng) for each, _ in WIDEST}
        for (ratings, length), widest in WIDEST.items():
            some = [bias(sizes[ratings].day(np.s_[:length, run])) for run in range(FEW_RUNS)]
            half = float(np.mean([each.upper - each.lower for each in some])) / 2
            yield Row(
                f"{service}, {ratings} ratings a day: the bias is known after {length} days to ±",
                half,
                most=widest,
                unit=" MOS",
            )
