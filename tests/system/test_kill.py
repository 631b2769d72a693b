"""Killed at random moments, the daemon comes to what an undisturbed run over the same stream comes to.

`make chaos` runs the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.patience import TEST_S, async_until
from tests.support.stream import PAUSED_S, ROUNDS, disturbed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.parts import Daemon, Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(2 * TEST_S)]


async def test_a_killed_daemon_counts_every_report_once(tmp_path: Path) -> None:
    rng = random.Random(os.environ.get("QOEMON_CHAOS_SEED", "1"))

    async def kill(_: Mosquitto, daemon: Daemon) -> None:
        for _round in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0.2, 3.0))
            await asyncio.to_thread(daemon.kill)
            await asyncio.to_thread(daemon.start)

    final = await disturbed(tmp_path, kill)
    assert final["events"]["reports"] == final["sent"]
    assert "restored in" in final["log"]  # Some may be killed before they say so.


async def test_a_stopped_and_started_daemon_counts_every_report_once(tmp_path: Path) -> None:
    async def restart(_: Mosquitto, daemon: Daemon) -> None:
        await async_until(lambda: daemon.value("qoemon_reports_total") > 1000, daemon.log.read_text)
        await asyncio.to_thread(daemon.restart)
        await asyncio.sleep(1)

    final = await disturbed(tmp_path, restart)
    assert final["events"]["reports"] == final["sent"]
    replayed = re.findall(r"(\d+) messages of the journal replayed", final["log"])
    assert replayed == ["0"]  # All was in the last checkpoint.


async def test_a_paused_daemon_counts_every_report_once(tmp_path: Path) -> None:
    async def pause(_: Mosquitto, daemon: Daemon) -> None:
        await asyncio.sleep(1)
        os.kill(daemon.pid, signal.SIGSTOP)
        await asyncio.sleep(PAUSED_S)
        os.kill(daemon.pid, signal.SIGCONT)
        await asyncio.sleep(1)

    final = await disturbed(tmp_path, pause)
    assert final["events"]["reports"] == final["sent"]


async def test_a_killed_broker_costs_no_more_than_it_had_not_saved(tmp_path: Path) -> None:
    """mosquitto confirms a message before it saves it: at each kill that one may go, and no other."""
    rng, kills = random.Random(3), max(ROUNDS // 2, 1)

    async def kill(broker: Mosquitto, _: Daemon) -> None:
        for _round in range(kills):
            await asyncio.sleep(rng.uniform(0.5, 2.0))
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)

    await disturbed(tmp_path, kill, lost=kills)
