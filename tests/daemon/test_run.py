"""The signals of the daemon's process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from qoemon.config.config import Config
from qoemon.daemon import run as process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


async def test_sighup_ends_nothing_while_the_daemon_starts_or_stops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its state is restored or stored then."""
    told: list[str] = []

    async def sighup(when: str) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        told.append(when)

    class Daemon:
        async def reload(self, *_: Any) -> None:
            told.append("reloaded")
            os.kill(os.getpid(), signal.SIGTERM)

    @contextlib.asynccontextmanager
    async def running(_: Config) -> AsyncIterator[Daemon]:
        await sighup("started")
        try:
            yield Daemon()
        finally:
            await sighup("stopped")

    monkeypatch.setattr(process, "running", running)
    await process.run(Config(), tmp_path / "qoemon.yaml")
    assert told == ["started", "reloaded", "stopped"]
