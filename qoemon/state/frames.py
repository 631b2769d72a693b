"""Messages as they are kept: what is needed to take them in again, in one piece of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from qoemon.core.wire.codec import Arrived


class StoredMessage(NamedTuple):
    """A message without what only its connection knows."""

    topic: str
    payload: bytes
    arrival_s: float


_FRAMES = msgspec.msgpack.Decoder(list[StoredMessage])


def encode(messages: Sequence[Arrived]) -> bytes:
    """All of them, in order."""
    return msgspec.msgpack.encode([(each.topic, each.payload, each.arrival_s) for each in messages])


def decode(frame: bytes) -> list[StoredMessage]:
    """What framed() was given; MsgspecError if that was something else."""
    return _FRAMES.decode(frame)
