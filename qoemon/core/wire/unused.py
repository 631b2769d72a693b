"""What of an accepted report is not used: unknown fields, or all of it, if its service rates none of its fields.

Fields with other names are ignored, so a misspelt one takes its users out of every figure without an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from qoemon.core.arrays import Flags
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.message import Arrived, Kind
from qoemon.core.wire.opinion import OPINION_FIELDS
from qoemon.core.wire.payload import MALFORMED, items_of, unmarked
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, RejectedError, Report
from qoemon.core.wire.routes import Routes

KNOWN = Report.__struct_fields__
"""Names of the fields of a report."""

_RATED = {
    Qos.STALLS: ("stall_count", "stall_s", "play_s", "stalled"),
    Qos.RESPONSES: ("response_s",),
    Qos.MEASURES: (),
}
"""The fields of which a service uses something besides `measures` and `end`, by what its mapping rates."""


class Unused(NamedTuple):
    """A report without any field that its service rates.

    address  its topic or path, and which of the two it is: "topic 'qoe/v1/video/eu'"
    unknown  names of its fields that no report has
    rated    names of those that the service rates
    """

    address: str
    unknown: tuple[str, ...]
    rated: tuple[str, ...]


def rated_fields(service: Service) -> tuple[str, ...]:
    """The fields of a report of which the service uses something."""
    measures = ("measures",) if service.mapping.measures else ()
    return (*_RATED[service.mapping.qos], *measures, "end")


def empty(batch: Batch, service: Service) -> Flags:
    """(R,) whether a report, all of this service, has nothing that the service rates."""
    used = batch.end.copy()
    match service.mapping.qos:
        case Qos.STALLS:
            used |= batch.stalled
            for counter in (batch.stalls, batch.stall_ms, batch.play_ms):
                used |= counter != ABSENT_INT
        case Qos.RESPONSES:
            used[batch.response_of] = True
        case Qos.MEASURES:
            pass
    for name in service.mapping.measures:
        used |= batch.measures[name] != ABSENT_FLOAT
    return np.logical_not(used)


def unknown_fields(document: Mapping[Any, Any]) -> tuple[str, ...]:
    """Names of the fields that no report has."""
    return tuple(str(name) for name in document if name not in KNOWN)


def is_empty(document: Mapping[Any, Any], service: Service) -> bool:
    """Whether a decoded report has no field that the service rates, and no opinion of its user."""
    used = (*rated_fields(service), *OPINION_FIELDS)
    return all(document.get(name) is None or document[name] is False for name in used)


def first_empty(messages: Iterable[Arrived], plan: Plan) -> Unused | None:
    """The first report in the messages that has nothing its service rates; None if each has something."""
    services, routes = {service.name: service for service in plan.services}, Routes(plan)
    for message in messages:
        if message.kind is Kind.CMCD:  # Records of players have no fields that a service rates.
            continue
        try:
            service = services[routes.of(message.topic, message.kind).service]
        except RejectedError:
            continue
        body, encoding = unmarked(message.payload)
        decoder = encoding.decoder(Any)
        for item in items_of(body, encoding):
            try:
                document = decoder.decode(item)
            except MALFORMED:
                continue
            if isinstance(document, Mapping) and is_empty(document, service):
                address = f"{message.kind.address} {message.topic!r}"
                return Unused(address, unknown_fields(document), rated_fields(service))
    return None
