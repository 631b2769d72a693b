"""The process of a worker. The parent starts it with the file descriptor of its end of the channel as argument."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys

from qoemon.common.logs import log_to_stderr
from qoemon.engine import garbage, interpreter
from qoemon.engine.workers.channel import ChannelError, opened
from qoemon.engine.workers.worker import Worker
from qoemon.state.directory import StateError

LOG = logging.getLogger("qoemon.engine.workers")


def main() -> int:
    """Run the worker until the parent stops it; returns the exit code, 1 on failure."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Signals to the whole process group are for the parent.
    interpreter.tune()
    return asyncio.run(_work(socket.socket(fileno=int(sys.argv[1]))))


async def _work(end: socket.socket) -> int:
    channel = await opened(end)
    try:
        start = await channel.receive()
    except ChannelError:
        return 1
    log = start.config.log
    log_to_stderr(log.level.upper(), log.format, dated=True)
    _add_worker_to_log(start.number)
    try:
        async with garbage.collected():
            await Worker(channel, start).run()
    except StateError as error:
        LOG.error("%s", error)
        return 1
    finally:
        channel.close()
    return 0


def _add_worker_to_log(number: int) -> None:
    """Add the number of the worker to every log line."""
    make = logging.getLogRecordFactory()

    def named(*of: object, **more: object) -> logging.LogRecord:
        record = make(*of, **more)
        record.name = f"{record.name}[worker {number}]"
        return record

    logging.setLogRecordFactory(named)


if __name__ == "__main__":
    sys.exit(main())
