"""SIGTERM and SIGINT as the end of a block."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

LOG = logging.getLogger("qoemon.common")


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """End the block in order on SIGTERM or SIGINT: it is cancelled, and what it has begun is taken down."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "called by a task"  # noqa: S101 - there is no other way to get here
    asked: list[signal.Signals] = []

    def ask(number: signal.Signals) -> None:
        LOG.info("%s: shutting down", number.name)
        asked.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
