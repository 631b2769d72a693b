"""What puts messages into the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

from qoemon.inputs.inbox import Message
from qoemon.inputs.stats import MqttStats


class Source(Protocol):
    """Puts messages into an inbox, and is told which of them are safe."""

    state: MqttStats

    async def run(self) -> NoReturn:
        """Until cancelled."""

    def ack(self, messages: Sequence[Message]) -> None:
        """These need not be delivered again."""

    def leave(self) -> None:
        """Take no more."""
