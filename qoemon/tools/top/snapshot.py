"""The parts of a daemon's snapshot that are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

_Share = Annotated[float, msgspec.Meta(ge=0, le=1.001)]
"""A share, with room for rounding errors of sums."""

_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Seconds since the epoch, within what a calendar can express."""


class Window(msgspec.Struct):
    """Estimates of a group; pow_bounds: lower and upper; ratings: share of each, worst first."""

    mos: float | None
    gob: _Share | None
    pow: _Share | None
    pow_bounds: tuple[_Share | None, _Share | None]
    ratings: dict[str, _Share | None]


class State(msgspec.Struct):
    """State of a group or service, and the words for it."""

    state: str
    words: str
    since_s: _Time | None = None


_Number = Annotated[int, msgspec.Meta(ge=0)]


class Feed(msgspec.Struct):
    """Reports of a group in the last rating interval, and the doubtful ones by kind."""

    reports: _Number
    doubtful: dict[str, _Number]


class Group(msgspec.Struct):
    """A group; windows without data are absent."""

    labels: dict[str, str]
    active_sessions: int
    open_stalls: int
    windows: dict[str, Window]
    state: State | None = None
    feed: Feed | None = None


class WhereFirst(msgspec.Struct):
    """The labels that best explain the poor ratings of a service, as a sentence."""

    text: str


class Model(msgspec.Struct):
    """Whether the model of a service agrees with the ratings of its users; a name of ModelState."""

    state: str


class Feedback(msgspec.Struct):
    """What the ratings of users say about the model, as a sentence."""

    model: Model
    text: str


class Service(msgspec.Struct):
    """A service and its groups."""

    service: str
    groups: list[Group]
    state: State | None = None
    where_first: WhereFirst | None = None
    feedback: Feedback | None = None


class Alert(msgspec.Struct):
    """State of the alert of a group, with the reason."""

    alert: str
    service: str
    labels: dict[str, str]
    state: str
    reason: str
    since_s: _Time
    threshold: float
    value: float | None
    silent_since_s: _Time | None = None
    metric: str = ""


class Snapshot(msgspec.Struct):
    """One tick of a daemon; labels: the label names of all groups."""

    time_s: _Time
    labels: list[str]
    services: list[Service]
    alerts: list[Alert]


@dataclass(frozen=True)
class Answer:
    """A snapshot as the daemon sent it.

    now_s  time of the daemon's clock, which may differ from ours
    pair   which daemon of a pair has sent it; empty without another one
    """

    snapshot: Snapshot
    raw: dict[str, Any]
    now_s: float
    pair: str = ""


def windows_of(snapshot: Snapshot) -> set[str]:
    """Names of all windows in which some group has data."""
    return {window for service in snapshot.services for group in service.groups for window in group.windows}
