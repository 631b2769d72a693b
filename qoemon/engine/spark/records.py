"""Records of the topic: messages of one shard, as `qoemon bridge` writes them; and what others write there.

A record of the bridge has the shard as its key, in digits, and a header with the number of shards: sessions that
were divided for another number are divided again where they are read. A record without the header is one MQTT
message, as brokers and connectors write it: its key is the topic of MQTT, its value is the payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from qoemon.core.wire.message import Arrived
from qoemon.core.wire.partition import Partitioner
from qoemon.net.kafka.reader import Record
from qoemon.state.frames import StoredMessage, decode, encode

SHARDS = "qoemon-shards"
"""Header: for how many shards the sessions were divided, in digits."""


def record_of(shard: int, shards: int, messages: Sequence[Arrived]) -> tuple[bytes, bytes, dict[str, bytes]]:
    """Key, value and headers of a record with messages of one shard."""
    return b"%d" % shard, encode(messages), {SHARDS: b"%d" % shards}


class Divider:
    """Gives each shard its messages, however a record was written."""

    def __init__(self, shards: int, partitioner: Partitioner) -> None:
        self._header = b"%d" % shards
        self._keys = {b"%d" % shard: shard for shard in range(shards)}
        self._partitioner = partitioner

    def parts(self, record: Record) -> Iterable[tuple[int, bytes]]:
        """The shards of a record, each with the frame of its messages."""
        written_for = record.headers.get(SHARDS)
        if written_for == self._header and (shard := self._keys.get(record.key)) is not None:
            return ((shard, record.value),)
        return self._divided(_messages(record, written_for is not None))

    def _divided(self, messages: Iterable[StoredMessage]) -> Iterator[tuple[int, bytes]]:
        by_shard: dict[int, list[StoredMessage]] = {}
        for message in messages:
            for shard, payload in self._partitioner.split(message.topic, message.payload, message.kind):
                by_shard.setdefault(shard, []).append(message._replace(payload=payload))
        return ((shard, encode(some)) for shard, some in by_shard.items())


def messages_of(frame: bytes, arrival_s: float) -> list[StoredMessage]:
    """The messages of a frame, with the time of the record as their arrival.

    A frame that cannot be read is one message, which the codec rejects and counts.
    """
    return [StoredMessage(topic, payload, arrival_s, kind) for topic, payload, _, kind in _decoded(frame, "")]


def _messages(record: Record, framed: bool) -> Sequence[StoredMessage]:
    topic = record.key.decode(errors="replace")
    return _decoded(record.value, topic) if framed else [StoredMessage(topic, record.value, 0.0)]


def _decoded(frame: bytes, topic: str) -> Sequence[StoredMessage]:
    try:
        return decode(frame)
    except msgspec.MsgspecError:
        return [StoredMessage(topic, frame, 0.0)]
