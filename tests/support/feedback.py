"""Feedback of simulated sessions, for tests of the core and for benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.feedback.answers import Answers, sums_of
from qoemon.core.feedback.day import DaySums
from qoemon.core.feedback.prediction import Predicted
from qoemon.core.qoe.scale import ACR5, Scale


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
