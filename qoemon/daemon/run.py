"""The daemon as a process: from the command line to its signals."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import NoReturn

from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.daemon.daemon import Daemon
from qoemon.engine import interpreter as process

LOG = logging.getLogger("qoemon.daemon")


async def run(config: Config, path: Path | None = None) -> None:
    """Be a daemon until SIGTERM or SIGINT; on SIGHUP take over what has changed in the file at path."""
    process.tune()
    with cancelled_by_signals():
        daemon = Daemon(config)
        async with daemon.running():
            await _reload_when_asked(daemon, path)


async def _reload_when_asked(daemon: Daemon, path: Path | None) -> NoReturn:
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        while True:
            await asked.wait()
            asked.clear()
            if path is None:
                LOG.warning("SIGHUP: there is no configuration file to reload; start qoemon with -c")
            else:
                await daemon.reload(path)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
