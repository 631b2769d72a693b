"""The collector with a recording behind it, instead of a core that counts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from qoemon.inputs.http.collector import Collector
from qoemon.inputs.http.options import collector_options
from qoemon.inputs.inbox import Inbox
from qoemon.tools.recordings.recording import Header, Writer
from tests.support.patience import LOOK_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from qoemon.config.sections.collector import Collector as Section


@contextlib.asynccontextmanager
async def recorder(section: Section, file: Path) -> AsyncIterator[str]:
    """Listen on loopback and record; yields the address. What is recorded is acknowledged."""
    inbox = Inbox(10_000, 2**24)
    collector = Collector(collector_options(section), inbox)
    await collector.listen()

    def record() -> None:
        taken = inbox.drain()
        writer.write(taken)
        inbox.release(taken)
        collector.ack(taken)

    async def repeatedly() -> None:
        while True:
            record()
            await asyncio.sleep(LOOK_S)

    with Writer(file, Header(started_s=time.time(), source="test")) as writer:
        tasks = [asyncio.create_task(task) for task in (collector.run(), repeatedly())]
        try:
            yield f"http://127.0.0.1:{collector.port}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            record()
            writer.silence(time.time())
