"""The interface of an input: a source of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

from qoemon.inputs.inbox import Message
from qoemon.inputs.stats import MqttStats


class Source(Protocol):
    """Puts messages into an inbox, and acknowledges those that are committed."""

    stats: MqttStats

    async def run(self) -> NoReturn:
        """Receive until cancelled."""

    def ack(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, so that the broker does not deliver them again."""

    def leave(self) -> None:
        """Accept no more messages, but continue to acknowledge."""
