"""The page's cards of services: ratings of users beside the predictions for their sessions.

A card has only what the ratings tell: with too few of them it has counts, and without any just the sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from qoemon.core.arrays import Floats, Ints
from qoemon.core.feedback.day import class_ends, floating
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.scale import Scale
from qoemon.core.snapshot.feedback import PERIOD_DAYS, Feedback, Figures
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.feedback_document import null
from qoemon.outputs.feedback_sentence import Known, day_text, known, sentence

MOST_BARS = 11
"""A scale with more ratings is pooled: a bar for several of them."""


def feedback_cards(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The cards of all services, in their order."""
    return [
        feedback_card(snapshot.feedback[service.service.name], service.service, snapshot.confidence)
        for service in snapshot.services
        if service.service.name in snapshot.feedback
    ]


def feedback_card(said: Feedback, service: Service, confidence: float) -> dict[str, Any]:
    """The card of one service; if its model is off, the charts are of the days since then, as the sentence is."""
    scale, what, off = service.scale, known(said), said.deviation
    shown = said if off is None else off
    return {
        "service": service.name,
        "known": str(what),
        "state": str(said.check.state),
        "text": sentence(said, service, confidence),
        "period": f"last {PERIOD_DAYS} days" if said.check.since is None else f"since {day_text(said.check.since)}",
        "days": shown.days,
        "rated": shown.ratings,
        "scale": {"low": scale.low, "high": scale.high, "good": scale.good, "poor": scale.poor},
        "bars": None if what is Known.NOTHING else _bars(shown, scale),
        "classes": None if what is Known.NOTHING else _classes(shown, scale),
    }


def _bars(said: Figures, scale: Scale) -> dict[str, Any]:
    """The number of each rating, or of each pool of them, and the expected one."""
    starts = pools(scale)
    expected = np.add.reduceat(floating(said.total.shares).sum(axis=0), starts)
    return {
        "labels": _labels(scale, starts),
        "ratings": np.add.reduceat(said.total.histogram.sum(axis=0), starts).tolist(),
        "expected": np.round(expected, 2).tolist(),
    }


def pools(scale: Scale) -> Ints:
    """(P,) the position of the first rating of each pool, at most MOST_BARS of them: round numbers of ratings.

    The last pool has the upper end of the scale, too, which would else be alone.
    """
    steps = scale.high - scale.low
    if steps < MOST_BARS:
        return np.arange(steps + 1)
    size = next(size for size in _round_numbers() if steps / size < MOST_BARS)
    return np.arange(0, steps, size)


def _round_numbers() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50 and so on."""
    for power in count():
        yield from (10**power, 2 * 10**power, 5 * 10**power)


def _labels(scale: Scale, starts: Ints) -> list[str]:
    lasts = [*(starts[1:] - 1).tolist(), scale.high - scale.low]
    ends = zip(starts.tolist(), lasts, strict=True)
    return [str(scale.low + a) if a == b else f"{scale.low + a}–{scale.low + b}" for a, b in ends]


def _classes(said: Figures, scale: Scale) -> list[dict[str, Any]]:
    """How much higher users rate than predicted, by class of predicted MOS; null with too few ratings."""
    ends, points, bias = class_ends(scale), said.reliability, said.bias_by_class
    return [
        {
            "label": f"{ends[place]:g}–{ends[place + 1]:g}",
            "rated": int(points.ratings[place]),
            "asked": int(said.total.asked[place]),
            **{
                name: _rounded(column, place)
                for name, column in {
                    "mean": points.mean,
                    "expected": points.expected_mean,
                    "bias": bias.value,
                    "lower": bias.lower,
                    "upper": bias.upper,
                }.items()
            },
        }
        for place in range(len(ends) - 1)
    ]


def _rounded(column: Floats, place: int) -> float | None:
    return null(np.round(column[place], 4))
