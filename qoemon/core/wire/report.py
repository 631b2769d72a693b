"""The wire format, version 1: a report of one client about one session."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec

ABSENT_INT = -(2**63)
ABSENT_FLOAT = -2.2250738585072014e-308
"""Values of missing fields. No client sends them, and unlike None they fit in a column."""


class Reject(StrEnum):
    """Why a report was rejected; each rejected report has exactly one reason."""

    UNPARSEABLE = "unparseable"
    SCHEMA = "schema"
    OUT_OF_RANGE = "out_of_range"
    TOO_LARGE = "too_large"
    UNKNOWN_SERVICE = "unknown_service"
    VERSION = "version"
    """a record of a player whose version of CMCD is not known"""
    TOO_MANY = "too_many"
    """a record of a player that sends far more of them than it needs"""


class RejectedError(Exception):
    """A report, or several together, are rejected.

    reports  how many; 0 if a whole payload is, whose reports were not counted
    """

    def __init__(self, reason: Reject, detail: str, reports: int = 0) -> None:
        super().__init__(detail)
        self.reason, self.reports = reason, reports


class Said:
    """A field about what a user says, not validated; opinion.py does that.

    msgspec calls a decoder's dec_hook for such fields. So the codec learns that a payload has some, and reports
    without any, which are nearly all, cost no test for each of these fields.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def said(_: type[Said], value: Any) -> Said:
    """The dec_hook of msgspec that reads such a field."""
    return Said(value)


def encodable(field: Any) -> Any:
    """The enc_hook of msgspec that writes such a field, and what MessagePack has in it and JSON has not."""
    if isinstance(field, Said):
        return field.value
    if isinstance(field, msgspec.msgpack.Ext):  # Its repr has no content, but an address.
        return f"Ext({field.code}, {bytes(field.data)!r})"
    return repr(field)


class Report(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """One report. Unknown fields are ignored; a missing counter has not changed."""

    session: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    seq: int = ABSENT_INT
    ts: float = ABSENT_FLOAT
    stall_count: int = ABSENT_INT
    stall_s: float = ABSENT_FLOAT
    play_s: float = ABSENT_FLOAT
    stalled: bool = False
    response_s: float | list[float] = ABSENT_FLOAT
    measures: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    end: bool = False
    run: Annotated[str, msgspec.Meta(max_length=128)] | int | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    rating: Said | msgspec.UnsetType = msgspec.UNSET
    thumb: Said | msgspec.UnsetType = msgspec.UNSET
    asked: Said | msgspec.UnsetType = msgspec.UNSET
    ratings: Said | msgspec.UnsetType = msgspec.UNSET
    scores: Said | msgspec.UnsetType = msgspec.UNSET


class Route(NamedTuple):
    """The service of a report, and its values of the plan's labels."""

    service: str
    labels: tuple[str, ...]
