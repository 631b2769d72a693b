"""Partitioning by session: the shard of each session, and the part of a payload for each shard.

All reports of a session must reach the same shard, also after a restart, so the shard is a hash of the session id
that never changes: CRC-32, modulo the number of shards. A payload or report that cannot be decoded has no session;
it goes unchanged to one of the shards, whose codec rejects it and counts it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.codec import Codec


class Partition(NamedTuple):
    """The part of a payload for one shard."""

    shard: int
    payload: bytes


class _ReportSession(msgspec.Struct, gc=False):
    """The session of a report; the other fields are validated by the codec."""

    session: str = ""


class _Encoding(NamedTuple):
    """Decoders of a payload (a report, or a list of undecoded ones) and of a report; the encoder of a list."""

    whole: Any
    one: Any
    array: Any


def _encoding(module: Any) -> _Encoding:
    return _Encoding(
        module.Decoder(_ReportSession | list[msgspec.Raw]), module.Decoder(_ReportSession), module.Encoder()
    )


_JSON, _MSGPACK = _encoding(msgspec.json), _encoding(msgspec.msgpack)

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def shard_of(session: str, shards: int) -> int:
    """The number of a session's shard, from 0."""
    return crc32(session.encode()) % shards


class Partitioner:
    """Splits payloads for a number of shards; a payload that the codec would reject as a whole is not split."""

    def __init__(self, shards: int, plan: Plan) -> None:
        self._shards, self._limits, self._codec = shards, plan.limits, Codec(plan)

    def split(self, topic: str, payload: bytes) -> Sequence[Partition]:
        """The parts of a payload, at most one per shard, with the reports in their order."""
        encoding = _MSGPACK if payload[:1] > b"\x7f" else _JSON
        if len(payload) > self._limits.message_bytes or not self._codec.takes(topic):
            return [self._whole(payload)]
        try:
            found = encoding.whole.decode(payload)
        except _MALFORMED:
            return [self._whole(payload)]
        if isinstance(found, _ReportSession):
            return [Partition(shard_of(found.session, self._shards), payload)]
        if not 0 < len(found) <= self._limits.reports_per_message:
            return [self._whole(payload)]
        return self._parts(found, encoding)

    def _parts(self, reports: list[msgspec.Raw], encoding: _Encoding) -> list[Partition]:
        by_shard: list[list[msgspec.Raw]] = [[] for _ in range(self._shards)]
        for report in reports:
            try:
                session = encoding.one.decode(report).session.encode()
            except _MALFORMED:
                session = bytes(report)
            by_shard[crc32(session) % self._shards].append(report)
        return [Partition(shard, encoding.array.encode(some)) for shard, some in enumerate(by_shard) if some]

    def _whole(self, payload: bytes) -> Partition:
        return Partition(crc32(payload) % self._shards, payload)
