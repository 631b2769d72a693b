"""A message as it arrived, before anything is decoded."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol


class Kind(IntEnum):
    """Where a message came from, and how its payload is written. Journals contain the numbers."""

    MQTT = 0
    """reports, under a topic of the broker"""
    HTTP = 1
    """reports, under a path of the collector"""
    CMCD = 2
    """records of a player, under a path of the collector"""

    @property
    def address(self) -> str:
        """What the topic of such a message is called."""
        return "topic" if self is Kind.MQTT else "path"


class Arrived(Protocol):
    """The part of a message that the core needs."""

    @property
    def topic(self) -> str:
        """The topic; a path, percent-encoded as it was requested, unless the kind is MQTT."""

    @property
    def payload(self) -> bytes: ...

    @property
    def arrival_s(self) -> float:
        """Seconds since the epoch."""

    @property
    def kind(self) -> Kind: ...
