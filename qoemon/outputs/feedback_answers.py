"""The answers of a service's users by day and condition, as JSON: what a refit of its constants needs.

There is no session id and no time of day in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from qoemon.core.arrays import Counts, Flags
from qoemon.core.feedback.conditions import NO_RATING, AnswersOfDay, GivenAnswers
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import RESPONSE, Qos
from qoemon.core.snapshot.snapshot import Snapshot

STALL_AXES = ("stalls_per_min", "stall_s_per_min")
"""Both per minute of media, as the mapping takes them."""

EPOCH = date(1970, 1, 1)

_encode = msgspec.json.encode


def answers_json(snapshot: Snapshot, name: str) -> Iterator[bytes]:
    """The answers of the service of this name, in pieces; KeyError if the snapshot has no such service."""
    service = next((each.service for each in snapshot.services if each.service.name == name), None)
    if service is None:
        raise KeyError(name)
    given = snapshot.answers[name]
    axes = _axes(service, given)
    yield _encode({"time_s": snapshot.time_s} | _model(service) | {"axes": axes})[:-1] + b',"days":['
    for number, (day, answers) in enumerate(given.days.items()):
        yield b"," * (number > 0) + _encode(_day(day, answers, given, service, axes))
    yield b"]}"


def _axes(service: Service, given: GivenAnswers) -> tuple[str, ...]:
    """Names of the numbers that a condition is; none if only the predicted MOS of a session is kept."""
    if not given.axes:
        return ()
    return STALL_AXES if service.mapping.qos is Qos.STALLS else (RESPONSE,)


def _model(service: Service) -> dict[str, Any]:
    """The service and what its ratings are predicted from, in the words of the configuration."""
    scale = service.scale
    return {
        "service": service.name,
        "mapping": service.mapping.name,
        "inputs": service.mapping.inputs,
        "parameters": dict(service.mapping.parameters),
        "ratings": str(service.model),
        "theta": service.theta,
        "theta_band": service.theta_band,
        "scale": {"low": scale.low, "high": scale.high, "good": scale.good, "poor": scale.poor},
    }


def _day(
    day: int, answers: AnswersOfDay, given: GivenAnswers, service: Service, names: tuple[str, ...]
) -> dict[str, Any]:
    """The answers of a day by condition; names: of its axes."""
    # Below 0 is what was taken back from a day that is not kept any more.
    counted = answers.counts > 0
    (of, asked, rating, thumb), counts = answers.cells[counted].T, answers.counts[counted]
    conditions, row = np.unique(of, return_inverse=True)

    def sessions(some: Flags) -> Counts:
        """(C,) sessions in each condition, of those with such an answer."""
        return np.bincount(row[some], counts[some], len(conditions)).astype(np.int64)

    rated = rating != NO_RATING
    every = [sessions(rating == each) for each in service.scale.ratings.tolist()]
    columns = (
        zip(*(axis[conditions].tolist() for axis in given.axes), strict=True) if names else repeat(()),
        given.mos[conditions].tolist(),
        sessions(np.ones_like(rated)).tolist(),
        sessions((asked > 0) | rated | (thumb != 0)).tolist(),
        np.transpose(every).tolist(),
        sessions(thumb > 0).tolist(),
        sessions(thumb < 0).tolist(),
    )
    labels = [str(each) for each in service.scale.ratings.tolist()]
    return {
        "day": (EPOCH + timedelta(days=day)).isoformat(),
        "answers": [
            {
                "condition": dict(zip(names, values, strict=True)),
                "mos": mos,
                "sessions": number,
                "asked_sessions": of_asked,
                "ratings": {label: users for label, users in zip(labels, ratings, strict=True) if users},
                "thumbs": {"up": up, "down": down},
            }
            for values, mos, number, of_asked, ratings, up, down in zip(*columns, strict=False)
        ],
    }
