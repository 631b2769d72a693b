"""A recording of some days on which users rate their sessions, made at once with times of its own."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.feedback.prediction import predicted
from qoemon.core.qoe.mapping import Qos
from qoemon.tools.recordings.recording import Header, Recorded, Writer
from tests.support.feedback import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from qoemon.core.arrays import Floats
    from qoemon.core.plan.plan import Service

MIDNIGHT_S = 1_700_006_400
"""2023-11-15 00:00 UTC, a multiple of any rating interval of whole minutes."""

EVENING_S = 20 * 3600
MINUTES = 5
"""Length of an evening. Each session is one of its minutes: with ticks of a minute, that is its rating interval."""


def record_days(
    path: Path, truth: Service, days: int, *, sessions: int = 60, answer: float = 0.8, seed: int = 1
) -> None:
    """Record some evenings of users who rate by this model, whatever the configuration predicts.

    sessions  in an evening; all users are asked
    answer    share of the users who answer
    """
    rng = np.random.default_rng(seed)
    with Writer(path, Header(started_s=float(MIDNIGHT_S), source="simulated")) as file:
        for day in range(days):
            evening_s = MIDNIGHT_S + day * DAY_S + EVENING_S
            counters, mos = (_viewers if truth.mapping.qos is Qos.STALLS else _readers)(truth, sessions, rng)
            shares = predicted(mos, truth.theta, truth.scale, truth.model).shares
            ratings, answers = drawn(shares, rng, truth.scale), rng.random(sessions) < answer
            messages = defaultdict(list)
            for number, (counted, rating, answered) in enumerate(zip(counters, ratings, answers, strict=True)):
                start_s, session = evening_s + 60 * (number % MINUTES), {"session": f"{day}-{number}"}
                said = {"asked": True, **({"rating": int(rating)} if answered else {})}
                messages[start_s + 0.5].append({**session, "play_s": 0.5})
                messages[start_s + 59.5].append({**session, **counted, **said, "end": True})
            file.write(
                Recorded(f"qoe/v1/{truth.name}/eu/a", json.dumps(reports).encode(), at_s)
                for at_s, reports in sorted(messages.items())
            )
        file.silence(MIDNIGHT_S + days * DAY_S + 3600)


def _viewers(truth: Service, sessions: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], Floats]:
    """What they have counted after a minute, and the MOS of it; half of them have no stall."""
    stalls = np.where(rng.random(sessions) < 0.5, 0, rng.integers(1, 5, sessions))
    stall_ms = stalls * rng.integers(1000, 6000, sessions)
    play_ms = 59_500 - stall_ms
    counters = [
        {"stall_count": count, "stall_s": stalled / 1000, "play_s": played / 1000}
        for count, stalled, played in zip(stalls.tolist(), stall_ms.tolist(), play_ms.tolist(), strict=True)
    ]
    return counters, truth.mapping(*stall_condition(stalls, stall_ms, play_ms))


def _readers(truth: Service, sessions: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], Floats]:
    """The page that each has loaded, and the MOS of it."""
    response_s = np.round(rng.lognormal(0.5, 1, sessions), 3)
    return [{"response_s": [each]} for each in response_s.tolist()], truth.mapping(response_s)
