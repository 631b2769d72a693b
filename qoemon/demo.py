"""See it work, with nothing else installed: a broker, simulated users who suffer a degradation, the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from qoemon import embedded
from qoemon.app import Daemon
from qoemon.config import Config
from qoemon.export import Published
from qoemon.load import Target, publish
from qoemon.simulate import SCENARIOS, Population
from qoemon.table import groups_table
from qoemon.view import view

GROUPS = [{"region": region, "cdn": cdn} for region in ("eu", "us") for cdn in ("a", "b")]

_TICK_S = 2
_WINDOW = "20s"
_STORY_S = 120.0
"""How long the scenario takes when the demo has no end; then it begins again."""

_REPORT_EVERY_S = 2.0


async def demo(console: Console, *, for_s: float | None, sessions: int, seed: int, http_port: int) -> None:
    """Run until for_s has passed, or for ever; LoadError, BrokerError, ListenError if a part fails."""
    async with embedded.broker() as port:
        daemon = Daemon(_config(port, http_port))
        async with daemon.running():
            await _subscribed(daemon)
            story = SCENARIOS["demo"].lasting(for_s or _STORY_S)
            population = Population(
                GROUPS,
                sessions=sessions,
                scenario=story,
                seed=seed,
                start_s=time.time(),
                report_every_s=_REPORT_EVERY_S,
            )
            async with asyncio.TaskGroup() as parts:
                target = Target(host="127.0.0.1", port=port, version="3.1.1")
                load = parts.create_task(publish(target, population, qos=1, batch=20))
                show = parts.create_task(_show(console, daemon, population, port))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(for_s):
                        await daemon.until_stopped()
                load.cancel()
                show.cancel()


def _config(port: int, http_port: int) -> Config:
    """Everything shorter than in earnest, so that a minute shows it all."""
    return Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
            "sessions": {"tick": f"{_TICK_S}s", "rating_interval": _WINDOW, "timeout": "60s", "min_active": "2s"},
            "windows": [_WINDOW, "1m"],
            "http": {"port": http_port},
        }
    )


async def _subscribed(daemon: Daemon) -> None:
    async with asyncio.timeout(embedded.START_S):
        while not daemon.ingest.state.subscribed:
            await asyncio.sleep(0.02)


async def _show(console: Console, daemon: Daemon, population: Population, port: int) -> None:
    """A table a tick: drawn over the last on a terminal, one below the other in a file."""
    with (
        Live(console=console, auto_refresh=False, transient=False)
        if console.is_terminal
        else _Plain(console) as out
    ):
        while True:
            async with daemon.evaluator.ticked:
                await daemon.evaluator.ticked.wait()
            if daemon.board.newest:
                out.update(_screen(daemon.board.newest, daemon, population, port), refresh=True)


def _screen(published: Published, daemon: Daemon, population: Population, port: int) -> Group:
    snapshot = published.snapshot
    clock = time.strftime("%H:%M:%S", time.localtime(snapshot.time_s))
    title = f"{clock}  what users would say of the last {_WINDOW}   (scenario: {population.phase})"
    where = Text(
        f"metrics {daemon.url}/metrics   snapshot {daemon.url}/api/v1/snapshot   broker mqtt://127.0.0.1:{port}",
        style="dim",
    )
    return Group(groups_table(view(snapshot), _WINDOW, title), where, Text("Ctrl-C ends it.", style="dim"))


class _Plain:
    """Prints where there is no terminal to draw on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, screen: Group, *, refresh: bool) -> None:
        self._console.print(screen)
