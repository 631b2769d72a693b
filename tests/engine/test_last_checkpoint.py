"""A stop stores a last checkpoint, also while the one before it is still being written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

from qoemon.config.config import Config
from qoemon.core.wire.message import Kind
from qoemon.engine.local import LocalEngine
from qoemon.engine.storage import open_store
from qoemon.inputs.inbox import Message
from tests.support.patience import async_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_S = 1_700_000_000.0


@contextlib.contextmanager
def being_written(directory: Path) -> Iterator[None]:
    """As long as this lasts, nothing is committed to the store in this directory."""
    with contextlib.closing(sqlite3.connect(directory / "qoemon.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_the_last_checkpoint_covers_what_came_while_the_one_before_it_was_written(tmp_path: Path) -> None:
    config = Config.model_validate({"mqtt": None, "collector": {"port": 0}, "state": {"dir": str(tmp_path)}})
    store = open_store(config, tmp_path)
    made = LocalEngine(config, store)
    await made.listen()
    parts = [asyncio.create_task(part) for part in made.parts().values()]

    async def count(session: str) -> None:
        payload = json.dumps({"session": session, "play_s": 10.0}).encode()
        assert made.shard.inbox.put(Message("/cmcd/v1/video/eu/a", payload, NOW_S, 1, 1, 1, Kind.HTTP))
        await made.process_pending()

    try:
        await count("before")
        await async_until(lambda: made.stats.writer.commits == 1)
        with being_written(tmp_path):
            await made.checkpoint_if_due()
            await count("meanwhile")
            finishing = asyncio.create_task(made.finish())
            await asyncio.sleep(0)  # It has begun.
        await finishing
        assert list(store.journal()) == []
        assert made.stats.writer.checkpoints == 2
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        made.close()
