"""The story of a demo: its simulated users, the degradation they see, and settings that show it in a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Phase, Population, Scenario

WINDOW = "10s"
"""The window that is shown; also the rating interval."""

_STORY = SCENARIOS["demo"]
ENDLESS = replace(
    _STORY,
    phases=(
        Phase("calm", 95),
        Phase("degrade", 30, 0, 1),
        Phase("outage", 15, 1, 1, outage=True),
        Phase("recover", 15, 1, 0),
        Phase("calm", 85),
    ),
    length_s=240.0,
)
"""For a demo without --for, in seconds: calm until every group has a regime, the story, recovery; then again."""

_REPORT_EVERY_S = 2.0

_ALERT = {
    "name": "ManyPoorRatings",
    "threshold": 0.25,
    "recovery": 0.18,
    "for": "4s",
    "min_sessions": 20,
    "severity": "page",
    "annotations": {
        "summary": "{pow:.0%} of {users} users of {service} would rate poor or worse",
        "runbook": "Compare {cdn} with the other CDN in {region}; if only {cdn} is affected, move its traffic.",
    },
}


def scenario_of(for_s: float | None) -> Scenario:
    """The story within for_s, or without an end."""
    return _STORY.lasting(for_s) if for_s else ENDLESS


def population(scenario: Scenario, sessions: int, seed: int) -> Population:
    """The users, who begin now."""
    return Population(
        GROUPS,
        sessions=sessions,
        scenario=scenario,
        seed=seed,
        start_s=time.time(),
        report_every_s=_REPORT_EVERY_S,
    )


def settings(port: int, http_port: int) -> dict[str, Any]:
    """A configuration with short intervals, so that a minute shows everything; port: of the broker."""
    return {
        "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
        "sessions": {"tick": "2s", "rating_interval": WINDOW, "timeout": "60s", "min_active": "2s"},
        "windows": [WINDOW, "1m"],
        # Of 50 web users, some 25 load a page in an interval; degraded begins above their usual PoW.
        "regimes": {"degraded": {"threshold": 0.2, "recovery": 0.15}, "min_sessions": 15},
        "alerts": [_ALERT],
        "http": {"port": http_port},
    }


def phases(scenario: Scenario, start_s: float) -> Iterator[str]:
    """Each phase with the time of day of its begin."""
    total = sum(phase.share for phase in scenario.phases)
    for phase in scenario.phases:
        yield f"{phase.name} from {clock(start_s)}"
        start_s += phase.share / total * scenario.length_s


def clock(time_s: float) -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S", time.localtime(time_s))
