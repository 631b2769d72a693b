"""Payload bytes to a Batch of columns, and a count of what was rejected.

The only place that walks over reports one by one. A payload is first taken for what it ought to be, in one call;
only when that fails are its reports looked at singly, so that a bad one does not cost the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from qoemon.core.plan.plan import Plan
from qoemon.core.plan.topic import SERVICE
from qoemon.core.qoe.mapping import Qos
from qoemon.core.wire.batch import Batch, batch_of, floats, ints, joined
from qoemon.core.wire.escape import escape_label
from qoemon.core.wire.report import Reject, Report, Route

TOPICS_REMEMBERED = 65_536
AT_ONCE = 4096
"""Reports that become columns together: while they are in the processor's cache, and enough to work on columns."""
SHOWN = 100
"""Bytes of a rejected payload that a sample shows."""

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Arrived(Protocol):
    """A message as the codec needs it."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def arrival_s(self) -> float: ...


class Decoded(NamedTuple):
    """What a batch of messages held. sample: for each reason, what one of the rejected looked like."""

    batch: Batch
    rejected: Counter[Reject]
    sample: dict[Reject, str]


@dataclass(frozen=True)
class _Encoding:
    """Decoders of one encoding. list_opens: the first bytes with which an array begins."""

    whole: Any
    pieces: Any
    one: Any
    list_opens: bytes


def _encoding(decoder: Any, list_opens: bytes) -> _Encoding:
    return _Encoding(decoder(Report | list[Report]), decoder(list[msgspec.Raw]), decoder(Report), list_opens)


_JSON = _encoding(msgspec.json.Decoder, b"[")
_MSGPACK = _encoding(msgspec.msgpack.Decoder, bytes([*range(0x90, 0xA0), 0xDC, 0xDD]))


class _RejectedError(Exception):
    def __init__(self, reason: Reject, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Codec:
    """Decodes messages as a plan says. It keeps nothing but a bounded memory of topics."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._limits = plan, plan.limits
        self._services = {service.name for service in plan.services}
        self._measures = {s.name: s.mapping.inputs for s in plan.services if s.mapping.qos is Qos.MEASURES}
        self._known: dict[str, Route] = {}

    def decode(self, messages: Iterable[Arrived]) -> Decoded:
        """The reports of the messages, in order, and how many could not be taken, by reason."""
        gather = _Gather(sorted({name for names in self._measures.values() for name in names}))
        for message in messages:
            gather.topic = message.topic
            try:
                route = self._known.get(message.topic) or self._route(message.topic)
                reports = self._reports(message.payload, gather)
            except _RejectedError as rejected:
                gather.reject(rejected.reason, str(rejected))
            else:
                self._add(reports, route, message.arrival_s, gather)
        return gather.decoded()

    def takes(self, topic: str) -> bool:
        """Whether reports can come under this topic; a message under any other is rejected as a whole."""
        try:
            return bool(self._known.get(topic) or self._route(topic))
        except _RejectedError:
            return False

    def _route(self, topic: str) -> Route:
        found = next((m for template in self._plan.topics if (m := template.match(topic))), {})
        service = found.get(SERVICE)
        if service not in self._services:
            known = ", ".join(sorted(self._services))
            raise _RejectedError(Reject.UNKNOWN_SERVICE, f"names none of the services {known}")
        route = Route(service, tuple(self._label(found.get(name, "")) for name in self._plan.labels))
        if len(self._known) >= TOPICS_REMEMBERED:
            self._known.clear()
        return self._known.setdefault(topic, route)

    def _label(self, value: str) -> str:
        """A label value as it is known from here on: the one door for names from the wire."""
        length, limit = len(value), self._limits.label_length
        if length > limit:
            raise _RejectedError(Reject.TOO_LARGE, f"a label has {length} characters, at most {limit} are taken")
        return escape_label(value)

    def _reports(self, payload: bytes, gather: _Gather) -> list[Report]:
        if len(payload) > self._limits.message_bytes:
            limit = self._limits.message_bytes
            raise _RejectedError(Reject.TOO_LARGE, f"{len(payload)} bytes, at most {limit} are taken")
        # A MessagePack map or array begins with a byte above 0x7f, JSON never does.
        encoding = _MSGPACK if payload[:1] > b"\x7f" else _JSON
        try:
            found = encoding.whole.decode(payload)
        except _MALFORMED:
            found = self._singly(payload, encoding, gather)
        reports = found if isinstance(found, list) else [found]
        self._check_number(len(reports))
        return reports

    def _singly(self, payload: bytes, encoding: _Encoding, gather: _Gather) -> list[Report]:
        """The good reports of a payload that is not wholly good."""
        pieces = [payload]
        if payload.lstrip(b" \t\r\n")[:1] in {bytes([b]) for b in encoding.list_opens}:
            try:
                pieces = encoding.pieces.decode(payload)
            except _MALFORMED as error:
                raise _RejectedError(Reject.UNPARSEABLE, f"{error}: {payload[:SHOWN]!r}") from None
        self._check_number(len(pieces))
        reports = []
        for piece in pieces:
            try:
                reports.append(encoding.one.decode(piece))
            except _MALFORMED as error:
                gather.reject(_reason(error), f"{error}: {bytes(piece)[:SHOWN]!r}")
        return reports

    def _check_number(self, reports: int) -> None:
        limit = self._limits.reports_per_message
        if reports > limit:
            raise _RejectedError(Reject.TOO_LARGE, f"{reports} reports in a message, at most {limit} are taken")

    def _add(self, reports: list[Report], route: Route, arrival_s: float, gather: _Gather) -> None:
        index = gather.route(route)
        for report in reports:  # any() of a generator takes twice as long
            if report.labels or report.measures:
                break
        else:
            gather.add(reports, index, arrival_s)
            return
        needed = self._measures.get(route.service, ())
        for report in reports:
            try:
                self._check_measures(report, needed)
                own = gather.route(self._with_labels(route, report.labels)) if report.labels else index
                gather.add([report], own, arrival_s)
            except _RejectedError as rejected:
                gather.reject(rejected.reason, str(rejected))

    def _check_measures(self, report: Report, needed: tuple[str, ...]) -> None:
        """A condition needs all its inputs: judged by some, it would be another."""
        lacking = [name for name in needed if report.measures and name not in report.measures]
        if lacking:
            raise _RejectedError(Reject.SCHEMA, f"measures lack {', '.join(lacking)}")

    def _with_labels(self, route: Route, more: dict[str, str]) -> Route:
        """Labels of the payload fill what the topic leaves empty; they do not overrule it."""
        named = zip(self._plan.labels, route.labels, strict=True)
        return Route(route.service, tuple(value or self._label(more.get(name, "")) for name, value in named))


def _reason(error: Exception) -> Reject:
    if not isinstance(error, msgspec.ValidationError):
        return Reject.UNPARSEABLE
    return Reject.OUT_OF_RANGE if "out of range" in str(error) else Reject.SCHEMA


class _Gather:
    """The reports of a batch as they are found, each with its route and arrival; columns as they pile up."""

    def __init__(self, measures: list[str]) -> None:
        self._measures = measures
        self.topic = ""
        """Of the message that is looked at."""
        self._reports: list[Report] = []
        self._runs: list[int] = []
        """How many reports in a row have the same route and arrival, which are:"""
        self._route_of: list[int] = []
        self._arrival_s: list[float] = []
        self._parts: list[Batch] = []
        self._routes: dict[Route, int] = {}
        self._rejected: Counter[Reject] = Counter()
        self._sample: dict[Reject, str] = {}
        self._out_of_range = ""

    def route(self, route: Route) -> int:
        return self._routes.setdefault(route, len(self._routes))

    def add(self, reports: list[Report], route: int, arrival_s: float) -> None:
        self._reports += reports
        self._runs.append(len(reports))
        self._route_of.append(route)
        self._arrival_s.append(arrival_s)
        if len(self._reports) >= AT_ONCE:
            self._make_columns()

    def reject(self, reason: Reject, detail: str) -> None:
        self._rejected[reason] += 1
        self._sample.setdefault(reason, f"topic {self.topic!r}: {detail}")

    def decoded(self) -> Decoded:
        self._make_columns()
        if self._out_of_range:
            self._sample[Reject.OUT_OF_RANGE] = self._out_of_range
        return Decoded(joined(self._parts, list(self._routes)), self._rejected, self._sample)

    def _make_columns(self) -> None:
        """Of the reports that wait."""
        routes = list(self._routes)
        route_of = np.repeat(ints(self._route_of), ints(self._runs))
        arrival_s = np.repeat(floats(self._arrival_s), ints(self._runs))
        batch, bad = batch_of(self._reports, route_of, arrival_s, routes, self._measures)
        self._parts.append(batch)
        if len(bad):
            self._rejected[Reject.OUT_OF_RANGE] += len(bad)
            # Its topic is no longer known; its route is.
            route, report = routes[route_of[bad[0]]], self._reports[bad[0]]
            sample = f"of {'/'.join((route.service, *route.labels))!r}: {msgspec.json.encode(report).decode()}"
            self._out_of_range = self._out_of_range or sample
        self._reports, self._runs, self._route_of, self._arrival_s = [], [], [], []
