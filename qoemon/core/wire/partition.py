"""Partitioning by session: the shard of each session, and the part of a payload for each shard.

All reports of a session must reach the same shard, also after a restart, so the shard is a hash of the session id
that never changes: CRC-32, modulo the number of shards. A payload or report that cannot be decoded has no session;
it goes to one of the shards, whose codec rejects and counts it. The same holds for records of players.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.cmcd import RECORDS, lines_of, session_of
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.core.wire.payload import JSON, MALFORMED, MSGPACK, SPACE, Encoding, items_of, unmarked


class Partition(NamedTuple):
    """The part of a payload for one shard."""

    shard: int
    payload: bytes


class Divided(NamedTuple):
    """The reports of a payload, undecoded, with their sessions.

    sessions  (R,) the session of each report, by which it has its shard
    reports   (R,) each can be read by itself, and so can all of them together
    damaged   reports that are rejected, each by itself
    encoding  how they are written; None for records of players, which are lines
    """

    sessions: Sequence[str]
    reports: Sequence[bytes | msgspec.Raw]
    damaged: Sequence[bytes]
    encoding: Encoding | None

    def payload(self, reports: Sequence[bytes | msgspec.Raw]) -> bytes:
        """A payload of some of the reports."""
        return encoded(reports, self.encoding)


class _ReportSession(msgspec.Struct, gc=False):
    """The session of a report; the other fields are validated by the codec."""

    session: str = ""


_WHOLE = {each: each.decoder(_ReportSession | list[msgspec.Raw]) for each in (JSON, MSGPACK)}
_EACH = {each: each.decoder(list[_ReportSession]) for each in (JSON, MSGPACK)}
_ONE = {each: each.decoder(_ReportSession) for each in (JSON, MSGPACK)}
_ANY = {each: each.decoder(Any) for each in (JSON, MSGPACK)}

_NOT_JSON = b"\x00"
"""Before a damaged report that travels by itself, so that it is not taken for an array."""


def shard_of(session: str, shards: int) -> int:
    """The number of a session's shard, from 0."""
    return crc32(session.encode()) % shards


def encoded(reports: Sequence[bytes | msgspec.Raw], encoding: Encoding | None) -> bytes:
    """A payload of reports, as they are in Divided: an array, or lines."""
    return b"\n".join(reports) if encoding is None else encoding.encode(reports)


class Partitioner:
    """Splits payloads for a number of shards; a payload that the codec would reject as a whole is not split."""

    def __init__(self, shards: int, plan: Plan) -> None:
        self._shards, self._limits, self._codec = shards, plan.limits, Codec(plan)

    def split(self, topic: str, payload: bytes, kind: Kind = Kind.MQTT) -> Sequence[Partition]:
        """The parts of a payload, with the reports of each session in their order.

        There is one part at most per shard, and one for each damaged report.
        """
        divided = self.divide(topic, payload, kind)
        if divided is None:
            return [self.whole(payload)]
        if len(divided.reports) == 1 and not divided.damaged:
            return [Partition(shard_of(divided.sessions[0], self._shards), payload)]
        by_shard: dict[int, list[bytes | msgspec.Raw]] = {}
        for session, report in zip(divided.sessions, divided.reports, strict=True):
            by_shard.setdefault(crc32(session.encode()) % self._shards, []).append(report)
        parts = [Partition(shard, divided.payload(by_shard[shard])) for shard in sorted(by_shard)]
        return [*parts, *map(self.whole, divided.damaged)]

    def divide(self, topic: str, payload: bytes, kind: Kind = Kind.MQTT) -> Divided | None:
        """The reports of a payload; None if it is rejected as a whole, or has no report that can be told apart."""
        if len(payload) > self._limits.message_bytes or not self._codec.takes(topic, kind):
            return None
        return _lines(payload) if kind is Kind.CMCD else self._divide(*unmarked(payload))

    def _divide(self, body: bytes, encoding: Encoding) -> Divided | None:
        try:
            found = _WHOLE[encoding].decode(body)
        except MALFORMED:
            items = items_of(body, encoding)
            whole = items == [body] or len(items) > self._limits.reports_per_message
            return None if whole else _one_by_one(items, encoding)
        if isinstance(found, _ReportSession):
            return Divided((found.session,), (body.strip(SPACE) if encoding is JSON else body,), (), encoding)
        if not 0 < len(found) <= self._limits.reports_per_message:
            return None
        try:
            # To read the payload twice is faster than a call for each report.
            return Divided([each.session for each in _EACH[encoding].decode(body)], found, (), encoding)
        except MALFORMED:
            return _one_by_one(found, encoding)

    def whole(self, payload: bytes) -> Partition:
        """A payload that is not split: the shard only depends on its bytes."""
        return Partition(crc32(payload) % self._shards, payload)


def _lines(body: bytes) -> Divided | None:
    lines = lines_of(body)
    if not 0 < len(lines) <= RECORDS:
        return None
    # Records without a session are rejected, one by one, wherever they are read.
    return Divided([session_of(line) or "" for line in lines], lines, (), None)


def _one_by_one(reports: Sequence[bytes | msgspec.Raw], encoding: Encoding) -> Divided:
    sessions, good, damaged = [], [], []
    for report in reports:
        try:
            sessions.append(_session(report, encoding))
        except MALFORMED:
            damaged.append(_NOT_JSON + bytes(report))
        else:
            good.append(report)
    return Divided(sessions, good, damaged, encoding)


def _session(report: bytes | msgspec.Raw, encoding: Encoding) -> str:
    """The session of a report; of one without a valid session, some text that only depends on its bytes."""
    try:
        session: str = _ONE[encoding].decode(report).session
    except msgspec.ValidationError:
        # The first invalid value ends the decoding: what follows may be cut off, and would take others along.
        _ANY[encoding].decode(report)
        return bytes(report).decode("latin-1")
    return session
