"""Runs the daemon as a process, and handles its signals."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.daemon.daemon import Daemon, running
from qoemon.engine import garbage, interpreter

LOG = logging.getLogger("qoemon.daemon")


async def run(config: Config, path: Path | None = None, overrides: Sequence[str] = ()) -> None:
    """Run the daemon until SIGTERM or SIGINT; on SIGHUP reload the configuration file at path, with overrides."""
    interpreter.tune()
    hangup, loop = asyncio.Event(), asyncio.get_running_loop()
    # From the beginning to the end: while the state is restored or stored, SIGHUP would otherwise end the process.
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    try:
        with cancelled_by_signals():
            async with garbage.collected(), running(config) as daemon:
                await _reload_on_signal(hangup, daemon, path, overrides)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _reload_on_signal(
    hangup: asyncio.Event, daemon: Daemon, path: Path | None, overrides: Sequence[str]
) -> NoReturn:
    while True:
        await hangup.wait()
        hangup.clear()
        if path is None:
            LOG.warning("SIGHUP: there is no configuration file to reload; start qoemon with -c")
        else:
            await daemon.reload(path, overrides)
