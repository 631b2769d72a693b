"""What a daemon's snapshot says, as far as it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

_Share = Annotated[float, msgspec.Meta(ge=0, le=1.001)]
"""With some room for what rounding adds to a sum."""

_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Seconds since the epoch; beyond, no calendar has words for it."""


class Window(msgspec.Struct):
    """How a group is judged; pow_bounds are lower and upper, ratings the share of each, worst first."""

    mos: float | None
    gob: _Share | None
    pow: _Share | None
    pow_bounds: tuple[_Share | None, _Share | None]
    ratings: dict[str, _Share | None]


class Regime(msgspec.Struct):
    """None is not known yet."""

    regime: str | None


class Group(msgspec.Struct):
    """Label values, and what holds there; a window with nothing to judge is not among the windows."""

    labels: dict[str, str]
    active_sessions: int
    open_stalls: int
    windows: dict[str, Window]
    regime: Regime | None = None


class Service(msgspec.Struct):
    """A service by its name, with all groups that it has."""

    service: str
    groups: list[Group]


class Alert(msgspec.Struct):
    """How the alert of one group stands, and why."""

    alert: str
    service: str
    labels: dict[str, str]
    state: str
    reason: str
    since_s: _Time
    enter: float
    value: float | None


class Snapshot(msgspec.Struct):
    """One tick of a daemon; labels are the names of those that every group has."""

    time_s: _Time
    labels: list[str]
    services: list[Service]
    alerts: list[Alert]


@dataclass(frozen=True)
class Answer:
    """A snapshot as the daemon gave it. now_s is the time of the daemon's clock, which need not be ours."""

    snapshot: Snapshot
    raw: dict[str, Any]
    now_s: float


def windows_of(snapshot: Snapshot) -> set[str]:
    """The names of all windows in which some group is judged."""
    return {window for service in snapshot.services for group in service.groups for window in group.windows}
