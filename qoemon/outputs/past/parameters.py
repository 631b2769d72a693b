"""Parameters of requests about the past, and errors in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from qoemon.common import duration
from qoemon.core.plan.plan import Service
from qoemon.core.snapshot.past import PastQuery
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.page.query import QueryError

Parameters = Mapping[str, Sequence[str]]
"""All values of each parameter."""

ALL = "*"
"""Value of `by`: all labels."""

AUTO = "auto"
FORMATS = ("json", "csv")

_OF_RATINGS = ("service", "from", "to", "step", "by", "format")
_OF_ALERTS = ("service", "from", "to")

_EXPECTED = "seconds since the epoch, or a time such as 2026-11-28T21:00:00Z or 2026-11-28T22:00:00+01:00"
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)([Zz]|[+ -]\d\d:\d\d)")
_MOST_S = 2**33


class AlertsQuery(NamedTuple):
    """Alerts that fired at some time from from_s to to_s, seconds since the epoch; of all services if None."""

    from_s: int
    to_s: int
    service: str | None


def ratings_query(parameters: Parameters, snapshot: Snapshot) -> PastQuery:
    """The question of these URL parameters; QueryError if one is invalid.

    snapshot  the newest one: it has the services and the names of the labels
    """
    _check_names(parameters, (*_OF_RATINGS, *snapshot.labels))
    service = _service(_one(parameters, "service"), snapshot)
    from_s, to_s = _range(parameters)
    return PastQuery(
        service=service.name,
        scale=service.scale,
        from_s=from_s,
        to_s=to_s,
        step_s=_step(_one(parameters, "step") or AUTO),
        by=_by(parameters.get("by", ()), snapshot.labels),
        only={
            name: frozenset(parameters[name])
            for name in snapshot.labels
            if name in parameters and name not in _OF_RATINGS
        },
    )


def alerts_query(parameters: Parameters, snapshot: Snapshot) -> AlertsQuery:
    """The question of these URL parameters; QueryError if one is invalid."""
    _check_names(parameters, _OF_ALERTS)
    name = _one(parameters, "service")
    from_s, to_s = _range(parameters)
    return AlertsQuery(
        from_s=from_s or 0,
        to_s=snapshot.time_s if to_s is None else to_s,
        service=None if name is None else _service(name, snapshot).name,
    )


def format_of(parameters: Parameters) -> str:
    """The requested format, json by default."""
    wanted = _one(parameters, "format") or FORMATS[0]
    if wanted not in FORMATS:
        raise QueryError(f"format is {wanted!r}, expected one of {', '.join(FORMATS)}")
    return wanted


def _check_names(parameters: Parameters, known: Sequence[str]) -> None:
    for name in parameters:
        if name not in known:
            raise QueryError(f"there is no parameter {name!r}, expected some of {', '.join(known)}")


def _one(parameters: Parameters, name: str) -> str | None:
    values = parameters.get(name, ())
    if len(values) > 1:
        raise QueryError(f"{name} is given {len(values)} times, expected once")
    return values[0] if values else None


def _service(name: str | None, snapshot: Snapshot) -> Service:
    services = {service.service.name: service.service for service in snapshot.services}
    if name not in services:
        given = "service is missing" if name is None else f"service is {name!r}"
        raise QueryError(f"{given}, expected one of {', '.join(services)}")
    return services[name]


def _range(parameters: Parameters) -> tuple[int | None, int | None]:
    from_s, to_s = (_time(name, _one(parameters, name)) for name in ("from", "to"))
    if from_s is not None and to_s is not None and from_s >= to_s:
        raise QueryError(f"from is {_one(parameters, 'from')}, expected a time before to={_one(parameters, 'to')}")
    return from_s, to_s


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        time_s = _seconds(text)
    except (ValueError, OverflowError):
        time_s = None
    if time_s is None or not 0 <= time_s < _MOST_S:
        raise QueryError(f"{name} is {text!r}, expected {_EXPECTED}")
    return int(time_s)


def _seconds(text: str) -> float | None:
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return float(text)
    if not (match := _RFC3339.fullmatch(text)):
        return None
    day, time, zone = match.groups()
    # A + in a query string is a blank, unless it is written as %2B.
    return datetime.fromisoformat(f"{day}T{time}{zone.upper().replace(' ', '+')}").timestamp()


def _step(text: str) -> int | None:
    """Seconds of a step; None: automatic."""
    if text == AUTO:
        return None
    try:
        length_s = float(text) if re.fullmatch("[0-9]{1,9}", text) else duration.seconds(text)
    except ValueError:
        length_s = 0.0
    if length_s <= 0 or length_s != int(length_s):
        raise QueryError(f"step is {text!r}, expected auto, or a duration of whole seconds such as 1m or 1h")
    return int(length_s)


def _by(values: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    names = [name for value in values for name in value.split(",") if name]
    if ALL in names:
        return tuple(labels)
    for name in names:
        if name not in labels:
            raise QueryError(f"by is {name!r}, expected some of {', '.join(labels)}, or {ALL} for all of them")
    return tuple(dict.fromkeys(names))
