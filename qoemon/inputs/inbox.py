"""Messages wait here, as bytes, between the input and the engine.

Both run on one event loop, so there is no lock. The inbox is bounded in messages and in bytes. Beyond a bound,
QoS 0 messages are dropped and counted: they are never delivered again. QoS 1 messages are held back: neither stored
nor acknowledged, so the broker keeps them and delivers them again when there is room.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from qoemon.core.wire.message import Kind


class Message(NamedTuple):
    """A message as it arrived."""

    topic: str
    payload: bytes
    arrival_s: float
    """Wall clock, seconds since the epoch."""
    qos: int
    mid: int
    """Identifier by which the message is acknowledged; 0 at QoS 0."""
    connection: int
    """Number of the connection on which it arrived: an MQTT packet identifier is valid on that one only."""
    kind: Kind = Kind.MQTT


class Inbox:
    """A bounded queue. Messages that were drained take up room until they are released.

    It is full once it holds max_messages messages or max_bytes bytes of topics and payloads. So the last message
    may exceed max_bytes: if its size counted beforehand, one large QoS 1 message would be held back permanently.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ValueError(f"inbox of {max_messages} messages, {max_bytes} bytes: expected at least 1 of each")
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.bytes = 0
        """Bytes of topics and payloads that wait, or are drained and not released yet."""
        self.messages = 0
        """Messages that wait, or are drained and not released yet."""
        self.dropped = 0
        """QoS 0 messages dropped because the inbox was full, since the start."""
        self.withheld = 0
        """QoS 1 messages held back because the inbox was full, since the start. A message that is held back twice
        counts twice."""
        self._waiting: list[Message] = []

    @property
    def full(self) -> bool:
        """Whether the next message would be rejected."""
        return self.messages >= self.max_messages or self.bytes >= self.max_bytes

    def put(self, message: Message) -> bool:
        """Store the message, or count it as rejected and return False."""
        if self.full:
            self.reject(message.qos)
            return False
        self.add(message)
        return True

    def add(self, message: Message) -> None:
        """Store a message that another inbox has accepted, also beyond the bounds: those apply there."""
        self._waiting.append(message)
        self.messages += 1
        self.bytes += len(message.topic) + len(message.payload)

    def reject(self, qos: int) -> None:
        """Count a message that was not stored, as dropped or as withheld."""
        if qos == 0:
            self.dropped += 1
        else:
            self.withheld += 1

    def drain(self, before_s: float = math.inf) -> list[Message]:
        """Remove and return the messages that arrived before that time, in the order of arrival."""
        cut = bisect_left(self._waiting, before_s, key=lambda message: message.arrival_s)
        drained, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return drained

    def restamp(self, now_s: float) -> None:
        """Set the arrival of all waiting messages to now, after the clock was set."""
        self._waiting = [message._replace(arrival_s=now_s) for message in self._waiting]

    def release(self, messages: Sequence[Message]) -> None:
        """Free the room that these messages take up."""
        self.messages -= len(messages)
        self.bytes -= sum(len(message.topic) + len(message.payload) for message in messages)
