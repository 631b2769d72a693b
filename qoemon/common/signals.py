"""Orderly end on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

LOG = logging.getLogger("qoemon.common")


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Cancel the block on SIGTERM or SIGINT, and continue after it once it has cleaned up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "runs in a task"  # noqa: S101 - for mypy: a coroutine of a running loop has one
    received: list[signal.Signals] = []

    def shut_down(number: signal.Signals) -> None:
        LOG.info("%s: shutting down", number.name)
        received.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shut_down, number)
    try:
        yield
    except asyncio.CancelledError:
        if not received:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on SIGTERM, which would end the process without cleaning up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
