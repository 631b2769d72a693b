"""Which shard a session belongs to, and the part of each shard in a payload.

Every report of a session has to come to the same shard, today and after a restart, so the shard follows from the
session's name by a hash that never changes: CRC-32, modulo the number of shards. What cannot be read has no
session; it goes as it is to one of the shards, whose codec rejects it and counts it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.codec import Codec


class Partition(NamedTuple):
    """What of a payload one shard has to take in."""

    shard: int
    payload: bytes


class _Who(msgspec.Struct, gc=False):
    """A report, of which only the session matters here. It is the codec's business whether it is a good one."""

    session: str = ""


class _Encoding(NamedTuple):
    either: Any
    one: Any
    array: Any


def _encoding(module: Any) -> _Encoding:
    return _Encoding(module.Decoder(_Who | list[msgspec.Raw]), module.Decoder(_Who), module.Encoder())


_JSON, _MSGPACK = _encoding(msgspec.json), _encoding(msgspec.msgpack)

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def shard_of(session: str, shards: int) -> int:
    """The shard of a session, from 0."""
    return crc32(session.encode()) % shards


class Partitioner:
    """Splits payloads for so many shards of a plan; one that would be rejected as a whole stays whole."""

    def __init__(self, shards: int, plan: Plan) -> None:
        self._shards, self._limits, self._codec = shards, plan.limits, Codec(plan)

    def split(self, topic: str, payload: bytes) -> Sequence[Partition]:
        """The parts, at most one a shard, the reports of each in their order."""
        encoding = _MSGPACK if payload[:1] > b"\x7f" else _JSON
        if len(payload) > self._limits.message_bytes or not self._codec.takes(topic):
            return [self._whole(payload)]
        try:
            found = encoding.either.decode(payload)
        except _MALFORMED:
            return [self._whole(payload)]
        if isinstance(found, _Who):
            return [Partition(shard_of(found.session, self._shards), payload)]
        if not 0 < len(found) <= self._limits.reports_per_message:
            return [self._whole(payload)]
        return self._parts(found, encoding)

    def _parts(self, reports: list[msgspec.Raw], encoding: _Encoding) -> list[Partition]:
        of: list[list[msgspec.Raw]] = [[] for _ in range(self._shards)]
        for report in reports:
            try:
                session = encoding.one.decode(report).session.encode()
            except _MALFORMED:
                session = bytes(report)
            of[crc32(session) % self._shards].append(report)
        return [Partition(shard, encoding.array.encode(some)) for shard, some in enumerate(of) if some]

    def _whole(self, payload: bytes) -> Partition:
        return Partition(crc32(payload) % self._shards, payload)
