"""Collects garbage, and returns free memory to the system, regularly in a process that runs for long."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import NoReturn

from qoemon.engine.interpreter import return_free_memory

EVERY_S = 60.0
"""Every connection leaves some kilobytes in reference cycles, of asyncio and aiohttp. By the thresholds of
interpreter.tune() alone they would be collected after hours, and memory would grow for as long."""


@contextlib.asynccontextmanager
async def collected(every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Collect garbage and return free memory regularly while the block runs."""
    task = asyncio.create_task(_collect(every_s), name="qoemon.engine.garbage")
    try:
        yield
    finally:
        task.cancel()


def tidy() -> None:
    """Collect garbage, and return free memory to the system."""
    gc.collect()
    return_free_memory()


async def _collect(every_s: float) -> NoReturn:
    while True:
        await asyncio.sleep(every_s)
        tidy()
