"""Explains how the daemon would read one payload: what it accepts of each report, or why it rejects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qoemon.common.text import SHORT, did_you_mean, printable
from qoemon.core.plan.plan import Plan
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.payload import MALFORMED, items_of, unmarked
from qoemon.core.wire.unused import KNOWN, RATED, is_empty, unknown_fields


@dataclass(frozen=True)
class _Message:
    topic: str
    payload: bytes
    arrival_s: float = 0.0
    kind: Kind = Kind.MQTT


@dataclass(frozen=True)
class Explanation:
    """Lines for a person, and the numbers of accepted and rejected reports."""

    lines: tuple[str, ...]
    accepted: int
    rejected: int


def explain(topic: str, payload: bytes, plan: Plan) -> Explanation:
    """What a daemon with this plan makes of a message."""
    codec = Codec(plan)
    decoded = codec.decode([_Message(topic, payload)])
    accepted, rejected = len(decoded.batch), decoded.rejected.total()
    if not payload:
        return Explanation(("the payload is empty: it clears a retained message, and reports nothing",), 0, 0)
    items = items_of(*unmarked(payload))
    if not codec.takes(topic) or len(items) > plan.limits.reports_per_message or accepted + rejected == 0:
        return Explanation(tuple(_rejections(decoded)) or ("an array without reports",), accepted, rejected)
    lines = []
    for number, item in enumerate(items, 1):
        alone = codec.decode([_Message(topic, item)])
        lines += [f"report {number}: {line}" for line in (*_accepted(alone, plan), *_rejections(alone))]
        lines += [f"report {number}: {line}" for line in _doubts(item, alone, plan)]
    return Explanation(tuple(lines), accepted, rejected)


def _accepted(decoded: Decoded, plan: Plan) -> Iterator[str]:
    for route in decoded.batch.route:
        service, labels = decoded.batch.routes[route]
        group = ", ".join(f"{name}={value or '(none)'}" for name, value in zip(plan.labels, labels, strict=True))
        session = printable(decoded.batch.session[0], SHORT)
        yield f"accepted: service {service}, {group}, session '{session}'"


def _rejections(decoded: Decoded) -> Iterator[str]:
    for reason, sample in decoded.sample.items():
        yield f"rejected, {reason}: {printable(sample, 4 * SHORT)}"


def _doubts(item: bytes, decoded: Decoded, plan: Plan) -> Iterator[str]:
    """What is accepted, but not used: unknown fields, and a report without anything that the service rates."""
    try:
        document = unmarked(item)[1].decoder(Any).decode(item)
    except MALFORMED:
        return
    if not len(decoded.batch) or not isinstance(document, Mapping):
        return
    for name in unknown_fields(document):
        hint = did_you_mean(name, KNOWN)
        yield f"the field '{printable(name, SHORT)}' is unknown and ignored{hint and f': {hint}'}"
    route = decoded.batch.routes[decoded.batch.route[0]]
    service = next(service for service in plan.services if service.name == route.service)
    if is_empty(document, service):
        yield f"it has nothing that the service {service.name} rates: {', '.join(RATED[service.mapping.qos])}"
