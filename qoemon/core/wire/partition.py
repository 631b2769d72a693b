"""Partitioning by session: the shard of each session, and the part of a payload for each shard.

All reports of a session must reach the same shard, also after a restart, so the shard is a hash of the session id
that never changes: CRC-32, modulo the number of shards. A payload or report that cannot be decoded has no session;
it goes to one of the shards, whose codec rejects and counts it. The same holds for records of players.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.cmcd import RECORDS, lines_of, session_of
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.core.wire.payload import JSON, MALFORMED, MSGPACK, Encoding, items_of, unmarked


class Partition(NamedTuple):
    """The part of a payload for one shard."""

    shard: int
    payload: bytes


class _ReportSession(msgspec.Struct, gc=False):
    """The session of a report; the other fields are validated by the codec."""

    session: str = ""


_WHOLE = {each: each.decoder(_ReportSession | list[msgspec.Raw]) for each in (JSON, MSGPACK)}
_ONE = {each: each.decoder(_ReportSession) for each in (JSON, MSGPACK)}

_NOT_JSON = b"\x00"
"""Before a damaged report that travels by itself, so that it is not taken for an array."""


def shard_of(session: str, shards: int) -> int:
    """The number of a session's shard, from 0."""
    return crc32(session.encode()) % shards


class Partitioner:
    """Splits payloads for a number of shards; a payload that the codec would reject as a whole is not split."""

    def __init__(self, shards: int, plan: Plan) -> None:
        self._shards, self._limits, self._codec = shards, plan.limits, Codec(plan)

    def split(self, topic: str, payload: bytes, kind: Kind = Kind.MQTT) -> Sequence[Partition]:
        """The parts of a payload, with the reports of each session in their order.

        There is one part at most per shard, and one for each damaged report.
        """
        if len(payload) > self._limits.message_bytes or not self._codec.takes(topic, kind):
            return [self._whole(payload)]
        if kind is Kind.CMCD:
            return self._by_line(payload)
        body, encoding = unmarked(payload)
        try:
            found = _WHOLE[encoding].decode(body)
        except MALFORMED:
            found = items_of(body, encoding)
            if found == [body]:
                return [self._whole(payload)]
        if isinstance(found, _ReportSession):
            return [Partition(shard_of(found.session, self._shards), payload)]
        if not 0 < len(found) <= self._limits.reports_per_message:
            return [self._whole(payload)]
        return self._parts(found, encoding)

    def _by_line(self, body: bytes) -> list[Partition]:
        lines = lines_of(body)
        if not 0 < len(lines) <= RECORDS:
            return [self._whole(body)]
        by_shard: dict[int, list[bytes]] = {}
        for line in lines:
            # Records without a session are rejected, one by one, wherever they are read.
            shard = shard_of(session_of(line) or "", self._shards)
            by_shard.setdefault(shard, []).append(line)
        return [Partition(shard, b"\n".join(some)) for shard, some in sorted(by_shard.items())]

    def _parts(self, reports: Sequence[bytes | msgspec.Raw], encoding: Encoding) -> list[Partition]:
        by_shard: list[list[bytes | msgspec.Raw]] = [[] for _ in range(self._shards)]
        damaged = []
        for report in reports:
            try:
                session = _ONE[encoding].decode(report).session.encode()
            except msgspec.ValidationError:
                session = bytes(report)
            except MALFORMED:
                damaged.append(self._whole(_NOT_JSON + bytes(report)))
                continue
            by_shard[crc32(session) % self._shards].append(report)
        parts = [Partition(shard, encoding.encode(some)) for shard, some in enumerate(by_shard) if some]
        return [*parts, *damaged]

    def _whole(self, payload: bytes) -> Partition:
        return Partition(crc32(payload) % self._shards, payload)
