"""Who is asked by condition does not matter; who answers by opinion does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.feedback.simulated import PREDICTED, SERVICES, levels_of
from qoemon.core.feedback.day import stacked
from qoemon.core.feedback.figures import bias
from tests.support.feedback import day_of, drawn

SESSIONS, DAYS = 100_000, 10
OFTEN = 4
"""How much more often users are asked where the predicted MOS is below 3.5."""
UNHAPPY = 3
"""How much more often those answer who rate 1 or 2."""


def rows() -> Iterator[Row]:
    """The bias of a model that holds, with both ways to choose who rates."""
    for service, (mapping, draw) in SERVICES.items():
        rng = np.random.default_rng(2)
        level = levels_of(mapping(*draw(SESSIONS * DAYS, rng)))
        rating = drawn(PREDICTED.shares[level], rng)
        by_condition = np.where(PREDICTED.mos[level] < 3.5, OFTEN, 1) / (4 * OFTEN)
        asked = rng.random(len(level)) < by_condition
        raw = float(rating[asked].mean() - rating.mean())
        yield Row(
            f"{service}: the mean rating moves by, asked {OFTEN} times as often where it is bad", raw, most=-0.2
        )
        yield Row(
            f"{service}: the bias moves by, asked {OFTEN} times as often where it is bad",
            _bias(rating, level, asked),
            -0.02,
            0.02,
        )
        answers = rng.random(len(level)) < np.where(rating <= 2, UNHAPPY, 1) / (4 * UNHAPPY)
        yield Row(
            f"{service}: the bias moves by, the unhappy answer {UNHAPPY} times as often",
            _bias(rating, level, answers),
            most=-0.1,
        )


def _bias(rating: np.ndarray, level: np.ndarray, who: np.ndarray) -> float:
    days = [
        day_of(rating[part][who[part]], PREDICTED.at(level[part][who[part]]))
        for part in np.array_split(np.arange(len(level)), DAYS)
    ]
    return float(bias(stacked(days)).value)
