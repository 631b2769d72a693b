"""A message as it arrived, before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping
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


CONTENT_TYPES: Mapping[str, Kind] = {
    "application/cmcd": Kind.CMCD,
    "text/cmcd": Kind.CMCD,  # of the drafts
    "application/cmcd+text": Kind.CMCD,
    "text/plain": Kind.CMCD,  # for which a browser asks no permission
    "application/json": Kind.HTTP,
    "application/msgpack": Kind.HTTP,
    "application/x-msgpack": Kind.HTTP,
}
"""What a body holds, by its content type: the types that the collector accepts and a recording may contain."""


def kind_of(content_type: str) -> Kind | None:
    """The kind of a body with this Content-Type, whose parameters are ignored; None if it is not accepted."""
    return CONTENT_TYPES.get(content_type.partition(";")[0].strip().lower())


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
