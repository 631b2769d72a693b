"""Explains how the daemon would read one payload: what it accepts of each report, or why it rejects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qoemon.common.text import SHORT, did_you_mean, printable
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.wire.cmcd import RECORDS, fields_of, lines_of
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.opinion import LARGEST_SCORE
from qoemon.core.wire.payload import MALFORMED, MSGPACK_BYTES, items_of, unmarked
from qoemon.core.wire.player import PlayerState
from qoemon.core.wire.report import ABSENT_INT, Route
from qoemon.core.wire.unused import KNOWN, is_empty, rated_fields, unknown_fields

_NEEDED = {
    "sn": "the number of the record",
    "ts": "milliseconds since the epoch",
    "sta": "the state of the player, such as p: without it no stalls count",
}
"""The keys of a record without which it says little."""


@dataclass(frozen=True)
class _Message:
    topic: str
    payload: bytes
    kind: Kind
    arrival_s: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """Lines for a person, and the numbers of accepted and rejected reports."""

    lines: tuple[str, ...]
    accepted: int
    rejected: int


def posted(body: bytes) -> Kind:
    """The kind of a body in a file, where no content type says it: reports, or else records of a player."""
    is_json = unmarked(body)[0].lstrip()[:1] in {b"[", b"{"}
    return Kind.HTTP if is_json or (body and body[0] in MSGPACK_BYTES) else Kind.CMCD


def explain(topic: str, payload: bytes, plan: Plan, kind: Kind = Kind.MQTT) -> Explanation:
    """What a daemon with this plan makes of a message with this topic, or path."""
    codec = Codec(plan)
    decoded = codec.decode([_Message(topic, payload, kind)])
    accepted, rejected = len(decoded.batch) + len(decoded.players), decoded.rejected.total()
    if not payload:
        clears = " it clears a retained message, and" if kind is Kind.MQTT else " it"
        return Explanation((f"the payload is empty:{clears} reports nothing",), 0, 0)
    of_player = kind is Kind.CMCD
    items = lines_of(payload) if of_player else items_of(*unmarked(payload))
    too_large = len(payload) > plan.limits.message_bytes
    too_many = len(items) > (RECORDS if of_player else plan.limits.reports_per_message)
    if not codec.takes(topic, kind) or too_large or too_many or accepted + rejected == 0:
        nothing = "a body without records" if of_player else "an array without reports"
        return Explanation(tuple(_rejections(decoded)) or (nothing,), accepted, rejected)
    lines: list[str] = []
    for number, item in enumerate(items, 1):
        alone = codec.decode([_Message(topic, item, kind)])
        doubts = _doubts_of_record(item, alone) if of_player else _doubts(item, alone, plan)
        about = f"{'record' if of_player else 'report'} {number}: "
        lines += [about + line for line in (*_accepted(alone, plan), *_rejections(alone), *doubts)]
    return Explanation(tuple(lines), accepted, rejected)


def _accepted(decoded: Decoded, plan: Plan) -> Iterator[str]:
    batch, players = decoded.batch, decoded.players
    for route in batch.route:
        yield _accepted_as(batch.routes[route], batch.session[0], plan)
    for route, state in zip(players.route, players.state, strict=True):
        said = f", {PlayerState(state).name.lower()}" if state else ""
        yield _accepted_as(players.routes[route], players.session[0], plan) + said


def _accepted_as(route: Route, session: str, plan: Plan) -> str:
    named = zip(plan.labels, route.labels, strict=True)
    group = ", ".join(f"{name}={value or '(none)'}" for name, value in named)
    return f"accepted: service {route.service}, {group}, session '{printable(session, SHORT)}'"


def _rejections(decoded: Decoded) -> Iterator[str]:
    for reason, sample in decoded.sample.items():
        yield f"rejected, {reason}: {printable(sample, 4 * SHORT)}"


def _doubts_of_record(line: bytes, decoded: Decoded) -> Iterator[str]:
    """What an accepted record lacks for its player's state to be known and placed."""
    players = decoded.players
    if not len(players):
        return
    found = fields_of(line, _NEEDED)
    absent = (
        players.seq[0] == ABSENT_INT,
        players.ts_ms[0] == ABSENT_INT,
        players.state[0] == PlayerState.UNTOLD,
    )
    for name, lacks in zip(_NEEDED, absent, strict=True):
        if lacks:
            what = f"its {name} is {printable(str(found[name]), SHORT)}" if name in found else f"it has no {name}"
            yield f"{what}, expected {_NEEDED[name]}"


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
    yield from _doubts_of_opinion(document, service, plan)
    if is_empty(document, service):
        yield f"it has nothing that the service {service.name} rates: {', '.join(rated_fields(service))}"


def _doubts_of_opinion(document: Mapping[Any, Any], service: Service, plan: Plan) -> Iterator[str]:
    """What of an opinion is not used."""
    rating, scale, taken = document.get("rating"), service.scale, plan.feedback.scores
    if rating is not None and not scale.low <= rating <= scale.high:
        yield f"its rating is {rating:g}, expected {scale.low} to {scale.high}: it is not counted"
    for name, score in (document.get("scores") or {}).items():
        shown = printable(str(name), SHORT)
        if name not in taken:
            yield f"its score '{shown}' is dropped: feedback.scores of the configuration does not name it"
        elif score is not None and not abs(score) <= LARGEST_SCORE:
            most = f"-{LARGEST_SCORE:g} to {LARGEST_SCORE:g}"
            yield f"its score '{shown}' is {score:g}, expected {most}: it is dropped"
