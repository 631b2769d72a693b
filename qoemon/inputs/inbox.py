"""Where ingest and evaluate meet: messages wait here, as bytes, until the next look.

Both run on one event loop, so there is no lock. The inbox is bounded in messages and in bytes, and what
happens beyond a bound depends on what the broker promised. QoS 0 is lost anyway when nobody listens, so it is
dropped and counted. QoS 1 is the broker's to keep until we acknowledge, so it is withheld: neither stored nor
acknowledged, to be delivered again when there is room.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple


class Message(NamedTuple):
    """One MQTT message as it arrived."""

    topic: str
    payload: bytes
    arrival_s: float
    """Wall clock, seconds since the epoch."""
    qos: int
    mid: int
    """The broker's packet identifier, which the acknowledgement repeats; 0 with QoS 0."""
    connection: int
    """On which of our connections it came: an identifier means nothing on any other."""


class Inbox:
    """A bounded queue that is emptied as a whole. What was taken counts until it is released.

    It is full once it holds max_messages messages or max_bytes bytes of topics and payloads. So the last message
    may pass max_bytes: were it judged by its size first, one large QoS 1 message would be withheld for ever.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ValueError(f"inbox of {max_messages} messages, {max_bytes} bytes: expected at least 1 of each")
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.bytes = 0
        """Bytes of topics and payloads that wait, or are taken and not safe yet."""
        self.messages = 0
        """Messages that wait, or are taken and not safe yet."""
        self.dropped = 0
        """QoS 0 messages lost because the inbox was full, since the start."""
        self.withheld = 0
        """QoS 1 messages left with the broker because the inbox was full, since the start; a message that is
        withheld twice counts twice."""
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
        self._waiting.append(message)
        self.messages += 1
        self.bytes += len(message.topic) + len(message.payload)
        return True

    def reject(self, qos: int) -> None:
        """Count a message that was not stored, by what that means for it."""
        if qos == 0:
            self.dropped += 1
        else:
            self.withheld += 1

    def drain(self, before_s: float = math.inf) -> list[Message]:
        """What waits and arrived before that time, in the order of arrival; it takes its room until released."""
        cut = bisect_left(self._waiting, before_s, key=lambda message: message.arrival_s)
        taken, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return taken

    def restamp(self, now_s: float) -> None:
        """Let all that waits arrive now, as the clock by which it arrived was set."""
        self._waiting = [message._replace(arrival_s=now_s) for message in self._waiting]

    def release(self, messages: Sequence[Message]) -> None:
        """Make room again for what these took."""
        self.messages -= len(messages)
        self.bytes -= sum(len(message.topic) + len(message.payload) for message in messages)
