"""Joins the reports of many messages, for each shard, into few payloads.

A message costs the reader of a shard about 5 us whatever it holds, and an array of a hundred reports leaves two of
them for each of 64 shards. So reports with the same topic, kind and encoding become one payload: an array, or the
lines of a body of records. The bytes of a report are not changed.

The reports of a session keep their order, also where it changes its topic: a payload takes a report only if no
later payload has an earlier report of the session. What cannot be read stays by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.cmcd import RECORDS
from qoemon.core.wire.message import Arrived, Kind
from qoemon.core.wire.partition import Partitioner, encoded
from qoemon.core.wire.payload import Encoding

HEAD_BYTES = 5
"""What the array adds to the size of its reports, at most; JSON adds a byte for each report as well."""

REJECTED_BYTES = 400_000
"""A payload that is larger than this, and than the codec accepts, is cut: it is rejected all the same."""


class Part(NamedTuple):
    """A message with reports of one shard; arrival_s is that of the first message it was made of."""

    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind


class _Payload:
    """A payload to be made, the `place`-th of its shard."""

    __slots__ = ("arrival_s", "encoding", "kind", "place", "reports", "topic")

    def __init__(self, message: Arrived, encoding: Encoding | None, place: int) -> None:
        self.topic, self.kind, self.arrival_s = message.topic, message.kind, message.arrival_s
        self.encoding, self.place = encoding, place
        self.reports: list[bytes | msgspec.Raw] = []


class Joiner:
    """Divides messages for a number of shards, and joins what each of them gets."""

    def __init__(self, shards: int, plan: Plan) -> None:
        self._shards, self._limits = shards, plan.limits
        self._partitioner = Partitioner(shards, plan)

    def join(self, messages: Iterable[Arrived]) -> Mapping[int, Sequence[Part]]:
        """The messages of each shard, as few as possible, in an order that is the same for each session.

        No payload is larger than REJECTED_BYTES + 1, or limits.message_bytes + 1 if that is more.
        """
        batch = _Batch(self._shards)
        for message in messages:
            divided = self._partitioner.divide(message.topic, message.payload, message.kind)
            if divided is None:
                self._keep(message, message.payload, batch)
                continue
            batch.add(message, divided.encoding, divided.sessions, divided.reports)
            for payload in divided.damaged:
                self._keep(message, payload, batch)
        return {shard: [*self._parts(payloads)] for shard, payloads in batch.payloads.items()}

    def _keep(self, message: Arrived, payload: bytes, batch: _Batch) -> None:
        shard = self._partitioner.whole(payload).shard
        kept = payload[: max(self._limits.message_bytes, REJECTED_BYTES) + 1]
        part = Part(message.topic, kept, message.arrival_s, message.kind)
        batch.payloads.setdefault(shard, []).append(part)

    def _parts(self, payloads: Iterable[_Payload | Part]) -> Iterator[Part]:
        for each in payloads:
            if isinstance(each, Part):
                yield each
                continue
            for some in self._cut(each.reports, each.encoding):
                yield Part(each.topic, _payload(some, each.encoding), each.arrival_s, each.kind)

    def _cut(
        self, reports: Sequence[bytes | msgspec.Raw], encoding: Encoding | None
    ) -> Iterator[Sequence[bytes | msgspec.Raw]]:
        """The reports in runs that the codec does not reject as too large."""
        most = RECORDS if encoding is None else self._limits.reports_per_message
        room = self._limits.message_bytes - HEAD_BYTES
        begin = size = 0
        for at, report in enumerate(reports):
            size += len(report) + 1
            if at > begin and (size > room or at - begin >= most):
                yield reports[begin:at]
                begin, size = at, len(report) + 1
        yield reports[begin:]


def _payload(reports: Sequence[bytes | msgspec.Raw], encoding: Encoding | None) -> bytes:
    """A payload of these reports. One by itself needs no array, if it is an object, as those that are accepted."""
    first = bytes(reports[0])
    if len(reports) == 1 and encoding is not None and first[0] in encoding.object_bytes:
        return first
    return encoded(reports, encoding)


class _Batch:
    """The payloads of one call, by shard."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self.payloads: dict[int, list[_Payload | Part]] = {}
        self._open: dict[tuple[str, Kind, Encoding | None], dict[int, _Payload]] = {}
        """By what their reports have in common, and shard."""
        self._newest: dict[str, _Payload] = {}
        """By session, the payload with its newest report."""

    def add(
        self,
        message: Arrived,
        encoding: Encoding | None,
        sessions: Sequence[str],
        reports: Sequence[bytes | msgspec.Raw],
    ) -> None:
        """Append reports to the payloads of their shards."""
        shards, newest = self._shards, self._newest
        alike = self._open.setdefault((message.topic, message.kind, encoding), {})
        for session, report in zip(sessions, reports, strict=True):
            shard = crc32(session.encode()) % shards
            payload = alike.get(shard)
            if payload is None:
                payload = alike[shard] = self._new(message, encoding, shard)
            before = newest.get(session)
            if before is not payload:
                if before is not None and before.place > payload.place:
                    payload = alike[shard] = self._new(message, encoding, shard)
                newest[session] = payload
            payload.reports.append(report)

    def _new(self, message: Arrived, encoding: Encoding | None, shard: int) -> _Payload:
        of_shard = self.payloads.setdefault(shard, [])
        payload = _Payload(message, encoding, len(of_shard))
        of_shard.append(payload)
        return payload
