"""Workers: several processes come to what one would, and what happens to one of them costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.publish import single

from tests.support.parts import Daemon, Mosquitto, children
from tests.support.patience import TEST_S, async_until, until
from tests.support.stream import ROUNDS, disturbed

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(2 * TEST_S)]

ROUTED: dict[str, Any] = {"workers": 2}
TOPIC = "qoe/v1/{service}/{region}/{cdn}/{shard}"
SHARDED: dict[str, Any] = {"workers": 2, "mqtt": {"topics": [TOPIC], "shards": 5}}
DIVIDED = pytest.mark.parametrize("divided", [ROUTED, SHARDED], ids=["routed", "sharded"])


def workers(daemon: Daemon) -> list[int]:
    """Their processes, oldest first."""
    return sorted(pid for pid, command in children(daemon.pid).items() if "qoemon.engine.workers" in command)


def counted(daemon: Daemon) -> list[float]:
    """The reports that each of the two has counted, as of the newest tick."""
    samples = daemon.samples()
    return [samples.get(("qoemon_worker_reports_total", (("worker", number),)), 0.0) for number in "01"]


@DIVIDED
async def test_killed_workers_count_every_report_once(tmp_path: Path, divided: dict[str, Any]) -> None:
    """Whichever it hits, and at whatever moment: also one that is just coming back."""
    rng = random.Random(os.environ.get("QOEMON_CHAOS_SEED", "1"))
    killed = 0

    async def kill(_: Mosquitto, daemon: Daemon) -> None:
        nonlocal killed
        for _round in range(ROUNDS):
            await asyncio.sleep(rng.uniform(0.2, 4.0))
            await async_until(lambda: workers(daemon), daemon.log.read_text)
            with contextlib.suppress(ProcessLookupError, IndexError):  # It may have ended meanwhile.
                os.kill(rng.choice(workers(daemon)), signal.SIGKILL)
                killed += 1

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
        await async_until(lambda: len(workers(daemon)) == 2, daemon.log.read_text)
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
        await async_until(lambda: min(counted(daemon)) > 500, daemon.log.read_text)
        before = workers(daemon)
        await asyncio.to_thread(daemon.restart)
        assert not any(Path(f"/proc/{pid}").exists() for pid in before)
        await asyncio.sleep(1)

    final = await disturbed(tmp_path, restart, **divided)
    assert final["events"]["reports"] == final["sent"]
    replayed = re.findall(r"(\d+) messages of the journal replayed", final["log"])
    assert replayed == ["0", "0"]  # All was in the last checkpoints.


def test_what_other_processes_have_taken_in_is_not_taken_in_again(tmp_path: Path) -> None:
    """The broker goes on keeping messages for workers that are no more."""
    with Mosquitto(tmp_path) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "client_id": "divided", "topics": [TOPIC], "shards": 5}
        told = {"mqtt": mqtt, "sessions": {"tick": "1s"}, "state": {"dir": str(tmp_path / "state")}}
        taken = []
        for number, workers in enumerate((2, 1, 2, 1)):
            with Daemon(tmp_path, told | {"workers": workers}) as daemon:
                daemon.ready()
                for shard in range(5):
                    report = json.dumps({"session": f"s{shard}", "seq": number, "play_s": 10.0 + number})
                    single(f"qoe/v1/video/eu/a/{shard}", report, qos=1, hostname="127.0.0.1", port=broker.port)
                until(lambda daemon=daemon: daemon.value("qoemon_reports_total") >= 5, daemon.log.read_text)
                time.sleep(2.5)  # What waits at the broker would come now.
                taken.append(daemon.value("qoemon_reports_total"))
                log = daemon.log.read_text()
        assert taken == [5, 5, 5, 5]
        assert "(workers-2-of-5-shards, now alone)" in log


def test_a_stop_does_not_wait_for_a_worker_that_hangs(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "client_id": "stopped"}
        told = {"mqtt": mqtt, "sessions": {"tick": "30s"}, "workers": 2, "shutdown_timeout": "2s"}
        with Daemon(tmp_path, told) as daemon:
            until(lambda: daemon.log.read_text().count("accepts reports") == 2, daemon.log.read_text)
            os.kill(workers(daemon)[0], signal.SIGSTOP)
            there = workers(daemon)
            assert daemon.signal(signal.SIGTERM) == 0
            assert "it is killed" not in daemon.log.read_text()  # As one that hangs is in the end.
            assert not any(Path(f"/proc/{pid}").exists() for pid in there)
