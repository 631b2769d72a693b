"""Frames: messages encoded for the journal and for workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from qoemon.core.wire.codec import Arrived


class StoredMessage(NamedTuple):
    """A message without the data of its MQTT connection."""

    topic: str
    payload: bytes
    arrival_s: float


_FRAMES = msgspec.msgpack.Decoder(list[StoredMessage])


def encode(messages: Sequence[Arrived]) -> bytes:
    """The messages, in order, as one frame."""
    return msgspec.msgpack.encode([(each.topic, each.payload, each.arrival_s) for each in messages])


def decode(frame: bytes) -> list[StoredMessage]:
    """The messages of a frame; MsgspecError if it was not made by encode()."""
    return _FRAMES.decode(frame)
