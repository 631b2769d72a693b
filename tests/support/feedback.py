"""Feedback of simulated sessions, for tests of the core and for benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.feedback.answers import Answers, sums_of
from qoemon.core.feedback.check import CheckRules
from qoemon.core.feedback.day import DaySums
from qoemon.core.feedback.prediction import Predicted, predicted
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.scale import ACR5, Scale
from qoemon.core.snapshot.feedback import Feedback, FeedbackReader
from tests.support.core import VIDEO


def drawn(shares: Floats, rng: np.random.Generator, scale: Scale = ACR5) -> Floats:
    """(N,) a rating for each row of probabilities, (N, K)."""
    chance = rng.random((len(shares), 1)) * shares.sum(axis=1, keepdims=True)
    return scale.low + (chance > np.cumsum(shares, axis=1)[:, :-1]).sum(axis=1).astype(np.float64)


def day_of(
    rating: Floats,
    at: Predicted,
    *,
    scores: Floats | None = None,
    names: Sequence[str] = (),
    scale: Scale = ACR5,
) -> DaySums:
    """The sums of sessions that were asked, with these ratings, NaN for those who did not answer."""
    of_scores = np.zeros((len(rating), 0)) if scores is None else scores
    asked, thumb = np.ones(len(rating), np.bool_), np.zeros(len(rating), np.int64)
    return sums_of(Answers(asked, rating, thumb, of_scores), at, scale, names)


FIRST_DAY = 20_000
"""UTC day since the epoch, 2024-10-04: the first one of days_of()."""


def days_of(
    ratings: Sequence[int],
    *,
    service: Service = VIDEO,
    theta: float | None = None,
    shift: float | Sequence[float] = 0.0,
    asked: int = 3,
) -> dict[int, DaySums]:
    """The sums of days with so many ratings, from FIRST_DAY on.

    theta  of the users; None: as the service has it
    shift  how much higher they rate, as if the scale were 1 to 5, on each day
    asked  sessions to which the question was shown, for each one that answered
    """
    scale, rng, days = service.scale, np.random.default_rng(1), {}
    points = (scale.high - scale.low) / 4
    shifts = np.broadcast_to(shift, len(ratings))
    for day, (answers, up) in enumerate(zip(ratings, shifts, strict=True), FIRST_DAY):
        mos = scale.low + points * rng.choice([0.8, 2.0, 2.2, 3.0, 3.6], answers * asked)
        moved = np.clip(mos + points * up, scale.low, scale.high)
        ours, true = predicted(mos, service.theta, scale), predicted(moved, theta or service.theta, scale)
        rating = np.where(np.arange(len(mos)) < answers, drawn(true.shares, rng, scale), np.nan)
        days[day] = day_of(rating, ours, scale=scale)
    return days


def feedback_of(ratings: Sequence[int], *, service: Service = VIDEO, **more: Any) -> Feedback:
    """What the snapshot says at the end of the last of the days_of(), with all of them checked."""
    days = days_of(ratings, service=service, **more)
    today = max(days, default=FIRST_DAY)
    return FeedbackReader(service, (), CheckRules(), 0.95).read(days, today, today + 1)
