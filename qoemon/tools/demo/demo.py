"""Runs a self-contained demo: a broker, the daemon, and simulated users with a degradation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from rich.console import Console

from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.daemon.daemon import Daemon, running
from qoemon.inputs.mqtt.options import broker_options
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.tools.command import required_broker
from qoemon.tools.demo import broker as embedded
from qoemon.tools.demo.screen import opening, show
from qoemon.tools.demo.story import population, scenario_of, settings
from qoemon.tools.simulate.load import publish


async def demo(console: Console, *, for_s: float | None, sessions: int, seed: int, http_port: int) -> None:
    """Run until for_s has passed or a signal arrives; LoadError, BrokerError or ListenError if a part fails."""
    with cancelled_by_signals():
        async with embedded.broker() as port, running(config := config_of(port, http_port)) as daemon:
            await _subscribed(daemon)
            users = population(scenario := scenario_of(for_s), sessions, seed)
            console.print(opening(daemon.url, scenario, users, port), soft_wrap=True)
            async with asyncio.TaskGroup() as parts:
                broker = broker_options(required_broker(config))
                load = parts.create_task(publish(broker, users, qos=1, batch=20))
                shown = parts.create_task(show(console, _snapshots(daemon), users))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(for_s):
                        await asyncio.Future()
                load.cancel()
                shown.cancel()


def config_of(port: int, http_port: int) -> Config:
    """The configuration of the demo; port: of its broker."""
    return Config.model_validate(settings(port, http_port))


async def _subscribed(daemon: Daemon) -> None:
    async with asyncio.timeout(embedded.START_S):
        while not ((mqtt := daemon.engine.stats.mqtt) and mqtt.subscribed):
            await asyncio.sleep(0.02)


async def _snapshots(daemon: Daemon) -> AsyncIterator[dict[str, Any]]:
    newest = None
    while True:
        newest = await daemon.latest.newer_than(newest)
        yield snapshot_document(newest.snapshot, newest.detections)
