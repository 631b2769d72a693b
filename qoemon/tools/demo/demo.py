"""Runs a self-contained demo: a broker, the daemon, and simulated users with a degradation."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.daemon.daemon import Daemon, running
from qoemon.inputs.mqtt.options import broker_options
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.tools.command import required_broker
from qoemon.tools.demo import broker as embedded
from qoemon.tools.simulate.load import publish
from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Phase, Population, Scenario
from qoemon.tools.table import groups_table, legend

_TICK_S = 2
_WINDOW = "10s"
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


async def demo(console: Console, *, for_s: float | None, sessions: int, seed: int, http_port: int) -> None:
    """Run until for_s has passed or a signal arrives; LoadError, BrokerError or ListenError if a part fails."""
    with cancelled_by_signals():
        async with embedded.broker() as port, running(settings := config(port, http_port)) as daemon:
            await _subscribed(daemon)
            scenario = _STORY.lasting(for_s) if for_s else ENDLESS
            population = _population(scenario, sessions, seed)
            console.print(_opening(daemon, scenario, population, port), soft_wrap=True)
            async with asyncio.TaskGroup() as parts:
                broker = broker_options(required_broker(settings))
                load = parts.create_task(publish(broker, population, qos=1, batch=20))
                show = parts.create_task(_show(console, daemon, population))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(for_s):
                        await asyncio.Future()
                load.cancel()
                show.cancel()


def _population(scenario: Scenario, sessions: int, seed: int) -> Population:
    return Population(
        GROUPS,
        sessions=sessions,
        scenario=scenario,
        seed=seed,
        start_s=time.time(),
        report_every_s=_REPORT_EVERY_S,
    )


def config(port: int, http_port: int) -> Config:
    """A configuration with short intervals, so that a minute shows everything."""
    return Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
            "sessions": {"tick": f"{_TICK_S}s", "rating_interval": _WINDOW, "timeout": "60s", "min_active": "2s"},
            "windows": [_WINDOW, "1m"],
            # Of 50 web users, some 25 load a page in an interval; degraded begins above their usual PoW.
            "regimes": {"degraded": {"threshold": 0.2, "recovery": 0.15}, "min_sessions": 15},
            "alerts": [_ALERT],
            "http": {"port": http_port},
        }
    )


async def _subscribed(daemon: Daemon) -> None:
    async with asyncio.timeout(embedded.START_S):
        while not ((mqtt := daemon.engine.stats.mqtt) and mqtt.subscribed):
            await asyncio.sleep(0.02)


def _opening(daemon: Daemon, scenario: Scenario, population: Population, port: int) -> Group:
    """Addresses of the parts and the phases of the scenario; the page first."""
    return Group(
        Text(f"page      {daemon.url}/  (open it in a browser)", style="bold"),
        Text(f"metrics   {daemon.url}/metrics"),
        Text(f"snapshot  {daemon.url}/api/v1/snapshot"),
        Text(f"broker    mqtt://127.0.0.1:{port}  topics qoe/v1/{{service}}/{{region}}/{{cdn}}"),
        Text(f"story     {'/'.join(GROUPS[0].values())}: {', '.join(_phases(scenario, population.now_s))}"),
        Text("Press Ctrl-C to stop.\n"),
    )


def _phases(scenario: Scenario, start_s: float) -> Iterator[str]:
    """Each phase with the time of day of its begin."""
    total = sum(phase.share for phase in scenario.phases)
    for phase in scenario.phases:
        yield f"{phase.name} from {_clock(start_s)}"
        start_s += phase.share / total * scenario.length_s


async def _show(console: Console, daemon: Daemon, population: Population) -> None:
    """Show a table each tick: updated in place on a terminal, appended in a file."""
    worst, newest = _WorstMoment(), None
    try:
        with Live(console=console, auto_refresh=False) if console.is_terminal else _Plain(console) as screen:
            while True:
                newest = await daemon.latest.newer_than(newest)
                snapshot = snapshot_document(newest.snapshot, newest.detections)
                worst.observe(snapshot)
                screen.update(_screen(snapshot, population), refresh=True)
    finally:
        console.print(worst.text(), style="bold", soft_wrap=True, markup=False)


def _screen(snapshot: dict[str, Any], population: Population) -> Group:
    title = f"{_clock(snapshot['time_s'])}  estimated ratings, last {_WINDOW}  (scenario: {population.phase})"
    return Group(groups_table(snapshot, _WINDOW, title), legend(["1", "2", "3", "4", "5"]))


def _clock(time_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time_s))


class _WorstMoment:
    """The group and tick with the highest PoW so far."""

    def __init__(self) -> None:
        self._poor, self._text = 0.0, ""

    def observe(self, snapshot: dict[str, Any]) -> None:
        """Compare the groups of one tick."""
        for service in snapshot["services"]:
            for group in service["groups"]:
                estimate = group["windows"].get(_WINDOW)
                if estimate and estimate["pow"] > self._poor:
                    self._poor = estimate["pow"]
                    where = f"{service['service']} {'/'.join(group['labels'].values())}"
                    self._text = (
                        f"{where} at {_clock(snapshot['time_s'])}: {estimate['pow']:.0%} of users would rate poor "
                        f"or worse, {estimate['gob']:.0%} good or better"
                    )

    def text(self) -> str:
        """The worst moment as a sentence."""
        return f"Worst moment: {self._text}." if self._text else "Stopped before there were any estimates."


class _Plain:
    """Prints each update; stands in for Live without a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, screen: Group, *, refresh: bool) -> None:
        self._console.print(screen, "")
