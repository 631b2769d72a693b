"""Workers: several processes come to what one would, and what happens to one of them costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.parts import children, until
from tests.stream import ROUNDS, disturbed

if TYPE_CHECKING:
    from tests.parts import Daemon, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(900)]

ROUTED: dict[str, Any] = {"workers": 2}
SHARDED: dict[str, Any] = {
    "workers": 2,
    "mqtt": {"topics": ["qoe/v1/{service}/{region}/{cdn}/{shard}"], "shards": 5},
}
DIVIDED = pytest.mark.parametrize("divided", [ROUTED, SHARDED], ids=["routed", "sharded"])


def workers(daemon: Daemon) -> list[int]:
    """Their processes, oldest first."""
    return sorted(pid for pid, command in children(daemon.pid).items() if "qoemon.workers" in command)


@DIVIDED
async def test_killed_workers_count_every_report_once(tmp_path: Path, divided: dict[str, Any]) -> None:
    """Whichever it hits, and at whatever moment: also one that is just coming back."""
    rng = random.Random(os.environ.get("QOEMON_CHAOS_SEED", "1"))
    killed = 0

    async def kill(_: Mosquitto, daemon: Daemon) -> None:
        nonlocal killed
        for _round in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0.2, 4.0))
            if there := workers(daemon):
                killed += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(there), signal.SIGKILL)

    final = await disturbed(tmp_path, kill, **divided)
    assert killed
    assert final["events"]["reports"] == final["sent"]
    assert final["log"].count("was killed (SIGKILL)") >= 1


@DIVIDED
async def test_a_killed_daemon_takes_its_workers_along_and_the_next_counts_every_report_once(
    tmp_path: Path, divided: dict[str, Any]
) -> None:
    before: list[int] = []

    async def kill(_: Mosquitto, daemon: Daemon) -> None:
        await asyncio.sleep(2)
        before.extend(workers(daemon))
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)
        await asyncio.sleep(2)

    final = await disturbed(tmp_path, kill, **divided)
    assert final["events"]["reports"] == final["sent"]
    assert len(before) == 2
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), lambda: f"of {before} some live on")


@DIVIDED
async def test_a_stopped_and_started_daemon_counts_every_report_once(
    tmp_path: Path, divided: dict[str, Any]
) -> None:
    async def restart(_: Mosquitto, daemon: Daemon) -> None:
        await asyncio.sleep(2)
        before = workers(daemon)
        await asyncio.to_thread(daemon.restart)
        assert not any(Path(f"/proc/{pid}").exists() for pid in before)
        await asyncio.sleep(1)

    final = await disturbed(tmp_path, restart, **divided)
    assert final["events"]["reports"] == final["sent"]
    assert final["log"].count(", 0 messages of the journal run again") == 2  # All was in the last checkpoints.
