"""Frames: messages encoded for the journal and for workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from qoemon.core.wire.message import Arrived, Kind


class StoredMessage(NamedTuple):
    """A message without the data of its connection."""

    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind = Kind.MQTT


_FRAMES = msgspec.msgpack.Decoder(list[StoredMessage])


def encode(messages: Sequence[Arrived]) -> bytes:
    """The messages, in order, as one frame."""
    return msgspec.msgpack.encode([(each.topic, each.payload, each.arrival_s, each.kind) for each in messages])


def decode(frame: bytes) -> list[StoredMessage]:
    """The messages of a frame; MsgspecError if it was not made by encode()."""
    return _FRAMES.decode(frame)
