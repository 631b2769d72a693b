"""The interface of an input: a source of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

from qoemon.inputs.inbox import Message


class Source(Protocol):
    """Puts messages into an inbox, and acknowledges those that are committed."""

    async def run(self) -> NoReturn:
        """Receive until cancelled."""

    def ack(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, so that whoever sent them does not send them again.

        Called after each commit, also if none of its messages came from this source: there is room in the inbox.
        """

    def leave(self) -> None:
        """Accept no more messages, but continue to acknowledge."""
