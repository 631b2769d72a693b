"""Decodes payloads to a Batch of columns, and counts rejected reports.

Only this module iterates over single reports. A payload is first decoded as a whole, in one call. If that fails,
it is split and its reports are decoded one by one, leniently, so that a bad report does not affect the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.batch import Batch, batch_of, fault, floats, ints, joined
from qoemon.core.wire.cmcd import PlayerCodec, lines_of
from qoemon.core.wire.lenient import lenient_report
from qoemon.core.wire.message import Arrived, Kind
from qoemon.core.wire.opinion import Opinion, opinion_of
from qoemon.core.wire.payload import JSON, MALFORMED, MSGPACK, MSGPACK_BYTES, Encoding, held, items_of, unmarked
from qoemon.core.wire.player import PlayerBatch, PlayerGather
from qoemon.core.wire.report import Reject, RejectedError, Report, Route, Said, encodable, said
from qoemon.core.wire.routes import Routes

AT_ONCE = 4096
"""Reports converted to columns together: few enough for the processor's cache, enough for efficient columns."""
SHOWN = 100
"""Bytes of a rejected payload that are quoted in its sample."""

_ONE = {each: each.decoder(Report, said) for each in (JSON, MSGPACK)}
_ANY = {each: each.decoder(Any) for each in (JSON, MSGPACK)}


class Decoded(NamedTuple):
    """The reports and records of a batch of messages; sample: one rejected one per reason, as text."""

    batch: Batch
    players: PlayerBatch
    rejected: Counter[Reject]
    sample: dict[Reject, str]


class Codec:
    """Decodes messages according to a plan. Its only state are bounded caches."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._limits = plan, plan.limits
        self._measures = {service.name: service.mapping.measures for service in plan.services}
        self._routes = Routes(plan)
        self._players = PlayerCodec(plan, self._routes)
        self._found = _Found()
        self._json, self._msgpack = (each.decoder(Report | list[Report], self._found) for each in (JSON, MSGPACK))

    def decode(self, messages: Iterable[Arrived]) -> Decoded:
        """The reports of the messages, in order, and the number of rejected ones by reason."""
        measures = sorted({name for names in self._measures.values() for name in names})
        gather = _Gather(measures, self._plan.feedback.scores)
        for message in messages:
            if not message.payload:  # It clears a retained message, and reports nothing.
                continue
            gather.topic, gather.kind = message.topic, message.kind
            self._found.any = False
            try:
                route = self._routes.of(message.topic, message.kind)
                if message.kind is Kind.CMCD:
                    self._players.read(message.payload, route, message.arrival_s, gather.players, gather.reject)
                    continue
                reports = self._reports(message.payload, gather)
            except RejectedError as rejected:
                gather.reject(rejected.reason, str(rejected), rejected.reports or _held(message))
            else:
                self._add(reports, route, message.arrival_s, gather)
        return gather.decoded()

    def takes(self, topic: str, kind: Kind = Kind.MQTT) -> bool:
        """Whether the topic belongs to a service; messages with other topics are rejected as a whole."""
        try:
            return bool(self._routes.of(topic, kind))
        except RejectedError:
            return False

    def _reports(self, payload: bytes, gather: _Gather) -> list[Report]:
        if len(payload) > self._limits.message_bytes:
            limit = self._limits.message_bytes
            raise RejectedError(Reject.TOO_LARGE, f"{len(payload)} bytes, at most {limit} are accepted")
        try:
            found = (self._msgpack if payload[0] in MSGPACK_BYTES else self._json).decode(payload)
        except MALFORMED:
            found = self._decode_each(payload, gather)
        reports = found if isinstance(found, list) else [found]
        self._check_number(len(reports))
        return reports

    def _decode_each(self, payload: bytes, gather: _Gather) -> list[Report]:
        """The valid reports of a payload that is not valid as a whole."""
        self._found.any = True
        payload, encoding = unmarked(payload)
        items = items_of(payload, encoding)
        self._check_number(len(items))
        reports = []
        for item in items:
            try:
                reports.append(self._decode_one(item, encoding))
            except MALFORMED as error:
                reason = _reason(error)
                # What cannot be parsed may hold several reports.
                number = held(item) if reason is Reject.UNPARSEABLE else 1
                gather.reject(reason, f"{error}: {item[:SHOWN]!r}", number)
        return reports

    def _decode_one(self, item: bytes, encoding: Encoding) -> Report:
        try:
            report: Report = _ONE[encoding].decode(item)
        except msgspec.ValidationError as error:
            found = _ANY[encoding].decode(item)
            if _reason(error) is Reject.OUT_OF_RANGE:
                raise
            return lenient_report(found, self._plan.labels)
        return report

    def _check_number(self, reports: int) -> None:
        limit = self._limits.reports_per_message
        if reports > limit:
            detail = f"{reports} reports in a message, at most {limit} are accepted"
            raise RejectedError(Reject.TOO_LARGE, detail, reports)

    def _add(self, reports: list[Report], route: Route, arrival_s: float, gather: _Gather) -> None:
        index = gather.route(route)
        for report in reports:  # any() with a generator takes twice as long
            if report.labels or report.measures:
                break
        else:
            if not self._found.any:
                gather.add(reports, index, arrival_s)
                return
        needed = self._measures.get(route.service, ())
        for report in reports:
            try:
                self._check_measures(report, needed)
                own = gather.route(self._routes.with_labels(route, report.labels)) if report.labels else index
                if self._found.any and (opinion := opinion_of(report, self._plan.feedback.scores)):
                    gather.note_opinion(opinion)
                gather.add([report], own, arrival_s)
            except msgspec.ValidationError as error:
                gather.reject(
                    _reason(error), f"{error}: {msgspec.json.encode(report, enc_hook=encodable)[:SHOWN]!r}"
                )
            except RejectedError as rejected:
                gather.reject(rejected.reason, str(rejected))

    def _check_measures(self, report: Report, needed: tuple[str, ...]) -> None:
        """Reject a report with some of the needed measures: a condition needs all its inputs."""
        lacking = [name for name in needed if report.measures and name not in report.measures]
        if lacking:
            raise RejectedError(Reject.SCHEMA, f"measures lack {', '.join(lacking)}")


def _held(message: Arrived) -> int:
    """How many reports or records an undecoded message seems to hold, at least 1."""
    return max(1, len(lines_of(message.payload))) if message.kind is Kind.CMCD else held(message.payload)


def _reason(error: Exception) -> Reject:
    if not isinstance(error, msgspec.ValidationError):
        return Reject.UNPARSEABLE
    return Reject.OUT_OF_RANGE if "out of range" in str(error) else Reject.SCHEMA


class _Found:
    """Remembers whether a payload has opinions, as the dec_hook of its decoder."""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, of: type[Said], value: Any) -> Said:
        self.any = True
        return said(of, value)


class _Gather:
    """Collects the decoded reports of a batch with route and arrival, and converts them to columns in chunks."""

    def __init__(self, measures: list[str], scores: tuple[str, ...]) -> None:
        self._measures, self._scores = measures, scores
        self.players = PlayerGather()
        self.topic, self.kind = "", Kind.MQTT
        """Topic or path of the message being decoded, and its kind."""
        self._reports: list[Report] = []
        self._opinions: list[tuple[int, Opinion]] = []
        """Opinions among them, each with the position of its report."""
        self._runs: list[int] = []
        """Lengths of runs of reports with the same route and arrival, which are in the next three lists."""
        self._route_of: list[int] = []
        self._arrival_s: list[float] = []
        self._places: list[tuple[Kind, str]] = []
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
        self._places.append((self.kind, self.topic))
        if len(self._reports) >= AT_ONCE:
            self._make_columns()

    def note_opinion(self, opinion: Opinion) -> None:
        """Collect the opinion of the report that is added next."""
        self._opinions.append((len(self._reports), opinion))

    def reject(self, reason: Reject, detail: str, reports: int = 1) -> None:
        self._rejected[reason] += reports
        self._sample.setdefault(reason, f"{self.kind.address} {self.topic!r}: {detail}")

    def decoded(self) -> Decoded:
        self._make_columns()
        if self._out_of_range:
            self._sample[Reject.OUT_OF_RANGE] = self._out_of_range
        batch = joined(self._parts, list(self._routes))
        return Decoded(batch, self.players.batch(), self._rejected, self._sample)

    def _make_columns(self) -> None:
        """Convert the collected reports to columns."""
        routes = list(self._routes)
        route_of = np.repeat(ints(self._route_of), ints(self._runs))
        arrival_s = np.repeat(floats(self._arrival_s), ints(self._runs))
        batch, bad = batch_of(
            self._reports, route_of, arrival_s, routes, self._measures, self._opinions, self._scores
        )
        self._parts.append(batch)
        if len(bad):
            self._rejected[Reject.OUT_OF_RANGE] += len(bad)
            if not self._out_of_range:
                report = self._reports[bad[0]]
                kind, topic = self._places[np.searchsorted(np.cumsum(self._runs), bad[0], side="right")]
                text = msgspec.json.encode(report, enc_hook=encodable).decode()
                self._out_of_range = f"{kind.address} {topic!r}: {fault(report)}: {text}"
        self._reports, self._runs, self._route_of, self._arrival_s, self._places = [], [], [], [], []
        self._opinions = []
