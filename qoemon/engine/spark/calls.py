"""Calls into Spark, which block for as long as Spark wants, in threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def in_own_thread(work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Run a function in a thread of its own; its result comes to this event loop.

    Unlike those of asyncio.to_thread(), the thread does not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(put: Callable[[Any], None], what: Any) -> None:
        if not future.done():
            put(what)

    def run() -> None:
        try:
            put, what = future.set_result, work(*arguments)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            put, what = future.set_exception, error  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(deliver, put, what)

    threading.Thread(target=run, daemon=True, name=f"spark.{work.__name__}").start()
    return future


def at_most(limit_s: float, work: Callable[[], object]) -> None:
    """Run a function, and wait for its end, but no longer than this."""
    thread = threading.Thread(target=work, daemon=True, name=f"spark.{work.__name__}")
    thread.start()
    thread.join(limit_s)
