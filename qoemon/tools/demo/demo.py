"""See it work, with nothing else installed: a broker, simulated users who suffer a degradation, the daemon."""

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
from qoemon.daemon.daemon import Daemon
from qoemon.outputs.snapshot_json import view
from qoemon.tools.demo import broker as embedded
from qoemon.tools.simulate.load import Target, publish
from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Phase, Population, Scenario
from qoemon.tools.table import groups_table, legend

_TICK_S = 2
_WINDOW = "20s"
_STORY = SCENARIOS["demo"]
_ENDLESS = replace(_STORY, phases=(*_STORY.phases[:-1], Phase("calm", 115)), length_s=240.0)
"""Without an end: all of it within two minutes, then time for regimes to recover, then once more."""

_REPORT_EVERY_S = 2.0

_ALERT = {
    "name": "ManyPoorRatings",
    "enter": 0.25,
    "leave": 0.18,
    "for": "4s",
    "min_sessions": 20,
    "severity": "page",
    "annotations": {
        "summary": "{pow:.0%} of {users} users of {service} would say poor or worse",
        "runbook": "Compare {cdn} with the other CDN in {region}; if only {cdn} is hit, move its traffic away.",
    },
}


async def demo(console: Console, *, for_s: float | None, sessions: int, seed: int, http_port: int) -> None:
    """Run until for_s has passed, or a signal comes; LoadError, BrokerError, ListenError if a part fails."""
    with cancelled_by_signals():
        async with embedded.broker() as port:
            daemon = Daemon(_config(port, http_port))
            async with daemon.running():
                await _subscribed(daemon)
                scenario = _STORY.lasting(for_s) if for_s else _ENDLESS
                population = _population(scenario, sessions, seed)
                console.print(_opening(daemon, scenario, population, port), soft_wrap=True)
                async with asyncio.TaskGroup() as parts:
                    target = Target(host="127.0.0.1", port=port, version="3.1.1")
                    load = parts.create_task(publish(target, population, qos=1, batch=20))
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


def _config(port: int, http_port: int) -> Config:
    """Everything shorter than in earnest, so that a minute shows it all."""
    return Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
            "sessions": {"tick": f"{_TICK_S}s", "rating_interval": _WINDOW, "timeout": "60s", "min_active": "2s"},
            "windows": [_WINDOW, "1m"],
            # Degraded lies above the usual PoW of so few readers of pages.
            "regimes": {"degraded": {"enter": 0.2, "leave": 0.15}},
            "alerts": [_ALERT],
            "http": {"port": http_port},
        }
    )


async def _subscribed(daemon: Daemon) -> None:
    async with asyncio.timeout(embedded.START_S):
        while not daemon.work.intake.ingest.subscribed:
            await asyncio.sleep(0.02)


def _opening(daemon: Daemon, scenario: Scenario, population: Population, port: int) -> Group:
    """What is where, and what is going to happen; the page comes first."""
    return Group(
        Text(f"page      {daemon.url}/  (open it in a browser)", style="bold"),
        Text(f"metrics   {daemon.url}/metrics"),
        Text(f"snapshot  {daemon.url}/api/v1/snapshot"),
        Text(f"broker    mqtt://127.0.0.1:{port}  topics qoe/v1/{{service}}/{{region}}/{{cdn}}"),
        Text(f"story     {'/'.join(GROUPS[0].values())}: {', '.join(_phases(scenario, population.now_s))}"),
        Text("Ctrl-C ends it.\n"),
    )


def _phases(scenario: Scenario, start_s: float) -> Iterator[str]:
    """Each phase with the time of day at which it begins."""
    total = sum(phase.share for phase in scenario.phases)
    for phase in scenario.phases:
        yield f"{phase.name} from {_clock(start_s)}"
        start_s += phase.share / total * scenario.length_s


async def _show(console: Console, daemon: Daemon, population: Population) -> None:
    """A table a tick: drawn over the last on a terminal, one below the other in a file."""
    worst = _Worst()
    try:
        with Live(console=console, auto_refresh=False) if console.is_terminal else _Plain(console) as screen:
            while True:
                async with daemon.publisher.ticked:
                    await daemon.publisher.ticked.wait()
                if daemon.board.newest:
                    told = view(daemon.board.newest.snapshot, daemon.board.newest.watched)
                    worst.see(told)
                    screen.update(_screen(told, population), refresh=True)
    finally:
        console.print(worst.told(), style="bold", soft_wrap=True, markup=False)


def _screen(told: dict[str, Any], population: Population) -> Group:
    title = f"{_clock(told['time_s'])}  what users would say of the last {_WINDOW}  (scenario: {population.phase})"
    return Group(groups_table(told, _WINDOW, title), legend(["1", "2", "3", "4", "5"]))


def _clock(time_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time_s))


class _Worst:
    """The worst moment of all groups so far: what the demo wants to be remembered for."""

    def __init__(self) -> None:
        self._poor, self._text = 0.0, ""

    def see(self, told: dict[str, Any]) -> None:
        """Look at one tick."""
        for service in told["services"]:
            for group in service["groups"]:
                judged = group["windows"].get(_WINDOW)
                if judged and judged["pow"] > self._poor:
                    self._poor = judged["pow"]
                    where = f"{service['service']} {'/'.join(group['labels'].values())}"
                    self._text = (
                        f"{where} at {_clock(told['time_s'])}: {judged['pow']:.0%} of users would have said poor "
                        f"or worse, {judged['gob']:.0%} good or better"
                    )

    def told(self) -> str:
        """It in words."""
        return f"The worst of it: {self._text}." if self._text else "It ended before anything could be judged."


class _Plain:
    """Prints where there is no terminal to draw on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, screen: Group, *, refresh: bool) -> None:
        self._console.print(screen, "")
