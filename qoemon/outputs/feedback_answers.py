"""The answers of a service's users by day and condition, as JSON: what a refit of its constants needs.

There is no session id and no time of day in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import msgspec

from qoemon.core.feedback.conditions import NO_RATING, AnswersOfDay, GivenAnswers
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import RESPONSE, Qos
from qoemon.core.snapshot.snapshot import Snapshot

STALL_AXES = ("stalls_per_min", "stall_s_per_min")
"""Both per minute of media, as the mapping takes them."""

EPOCH = date(1970, 1, 1)

_THUMBS = {1: "up", -1: "down", 0: None}

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
        yield b"," * (number > 0) + _encode(_day(day, answers, given, axes))
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


def _day(day: int, answers: AnswersOfDay, given: GivenAnswers, names: tuple[str, ...]) -> dict[str, Any]:
    condition = answers.cells[:, 0]
    columns = (
        zip(*(axis[condition].tolist() for axis in given.axes), strict=True) if names else [()] * len(condition),
        given.mos[condition].tolist(),
        answers.cells[:, 1:].tolist(),
        answers.counts.tolist(),
    )
    return {
        "day": (EPOCH + timedelta(days=day)).isoformat(),
        "answers": [
            {
                "condition": dict(zip(names, values, strict=True)),
                "mos": mos,
                "asked": bool(asked),
                "rating": None if rating == NO_RATING else rating,
                "thumb": _THUMBS[thumb],
                "sessions": sessions,
            }
            for values, mos, (asked, rating, thumb), sessions in zip(*columns, strict=True)
            # As in AnswersOfDay.repeated(): below 0 is what was taken back from a day that is not kept any more.
            if sessions > 0
        ],
    }
