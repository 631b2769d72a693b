"""Simulated services whose users rate, and the sums of their days."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.feedback.day import DaySums, stacked
from qoemon.core.feedback.prediction import predicted
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX
from tests.support.feedback import day_of, drawn

THETA = 0.3
BETWEEN_DAYS = 0.15
"""Standard deviation of the common shift of all opinions of a day, scale points."""

LEVELS = np.linspace(1, 5, 801)
PREDICTED = predicted(LEVELS, THETA)

Draw = Callable[[int, np.random.Generator], tuple[Floats, ...]]


def video(sessions: int, rng: np.random.Generator) -> tuple[Floats, ...]:
    """Stalls and stall seconds a minute; 6 of 10 sessions have none."""
    n = np.where(rng.random(sessions) < 0.6, 0, rng.geometric(0.5, sessions)).astype(np.float64)
    return n, n * rng.exponential(2, sessions)


def web(sessions: int, rng: np.random.Generator) -> tuple[Floats, ...]:
    """Response times, s."""
    return (rng.lognormal(0, 1, sessions),)


SERVICES = {"video": (VIDEO_STALL, video), "web": (WEB_IQX, web)}


def levels_of(mos: Floats) -> np.ndarray:
    """The index in LEVELS of each MOS; what is off the scale is at its end."""
    return np.rint((np.clip(mos, 1, 5) - 1) * 200).astype(np.int64)


def history(
    service: str,
    runs: int,
    shifts: Sequence[float],
    ratings: int,
    rng: np.random.Generator,
    *,
    theta: float = THETA,
    between: float = BETWEEN_DAYS,
    alike: float = 0.0,
) -> DaySums:
    """Days of so many ratings for each shift, (D, runs): opinions of users with this theta, days and shift.

    They are compared with what the mapping of the service and THETA predict.

    between  standard deviation of the common shift of all opinions of a day, scale points
    alike    correlation of the shifts of two successive days
    """
    mapping, draw = SERVICES[service]
    truth = PREDICTED if theta == THETA else predicted(LEVELS, theta)
    days = []
    of_day = rng.normal(0, between, (runs, 1))
    for shift in shifts:
        mos = mapping(*draw(runs * ratings, rng)).reshape(runs, ratings)
        true = levels_of(mos + shift + of_day)
        of_day = alike * of_day + np.sqrt(1 - alike**2) * rng.normal(0, between, (runs, 1))
        rating = drawn(truth.shares[true.ravel()], rng).reshape(runs, ratings)
        ours = levels_of(mos)
        days.append(stacked([day_of(*each) for each in zip(rating, map(PREDICTED.at, ours), strict=True)]))
    return stacked(days)
