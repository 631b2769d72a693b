"""A stream of reports that is disturbed on its way, and what it comes to undisturbed.

It is judged once without any daemon, by the same core, and every figure must be the same to the last digit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.partition import shard_of
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.state.frames import StoredMessage
from tests.support.parts import Daemon, Mosquitto, unused_port
from tests.support.patience import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

ROUNDS = int(os.environ.get("QOEMON_CHAOS_ROUNDS", "3"))
PAUSED_S = float(os.environ.get("QOEMON_CHAOS_PAUSE_S", "4"))
REPORTS_A_SECOND = 5000
BATCH = 25
SESSIONS = 300
SETTLED_S = 6.0
"""Three ticks: what arrived is counted by then."""
INTERVAL_S = 1800
"""A report that comes late must find its rating interval open."""


def settings(port: int, directory: Path | None, **more: Any) -> dict[str, Any]:
    state = {} if directory is None else {"state": {"dir": str(directory), "checkpoint": "2s"}}
    return state | {
        "mqtt": {
            "host": "127.0.0.1",
            "port": port,
            "client_id": "killed",
            "reconnect": {"min": "100ms", "max": "200ms"},
            **more.pop("mqtt", {}),
        },
        "sessions": {
            "tick": "2s",
            "rating_interval": f"{INTERVAL_S}s",
            "timeout": f"{INTERVAL_S}s",
            "clock": "report",
        },
        "windows": [f"{INTERVAL_S}s"],
        "shutdown_timeout": f"{WAIT_S / 2:g}s",
        **more,
    }


class Stream:
    """Viewers whose counters grow, and pages: published at QoS 1 until the broker has confirmed each message."""

    rate = REPORTS_A_SECOND

    def __init__(self, port: int, shards: int = 0) -> None:
        self._shards = shards
        """Where topics have a level for them."""
        self._port, self._rng = port, random.Random(7)
        self._counters = [[0, 0, 0, 0] for _ in range(SESSIONS)]
        self._reported_s = [time.time()] * SESSIONS
        self.sent: list[StoredMessage] = []
        self.reports = 0
        self.stopped = False

    async def run(self) -> None:
        """Publish at the rate until stopped, then the last word of every viewer."""
        began_s = time.monotonic()
        while not self.stopped:
            await self._publish(*self._batch())
            ahead_s = self.reports / self.rate - (time.monotonic() - began_s)
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
        for first in range(0, SESSIONS, BATCH):
            told = [self._viewer(number) for number in range(first, min(first + BATCH, SESSIONS))]
            await self._publish("qoe/v1/video/eu/a", told)

    def _batch(self) -> tuple[str, list[dict[str, Any]]]:
        now_s = time.time()
        if self._rng.random() < 0.3:
            start = self.reports
            pages = [
                {"session": f"p{start + i}", "seq": 1, "ts": now_s, "response_s": self._rng.expovariate(1.0)}
                for i in range(BATCH)
            ]
            return "qoe/v1/web/eu/a", pages
        return "qoe/v1/video/eu/a", [self._viewer(self._rng.randrange(SESSIONS)) for _ in range(BATCH)]

    def _viewer(self, number: int) -> dict[str, Any]:
        """What a viewer reports who has watched since its last report, and stalled in some of that time."""
        counters, now_s = self._counters[number], time.time()
        passed_ms = int((now_s - self._reported_s[number]) * 1000)
        self._reported_s[number] += passed_ms / 1000
        stall_ms = self._rng.randint(0, passed_ms) if self._rng.random() < 0.1 else 0
        counters[0] += stall_ms > 0
        counters[1] += stall_ms
        counters[2] += passed_ms - stall_ms
        counters[3] += 1
        stall_count, total_stall_ms, play_ms, seq = counters
        return {
            "session": f"v{number}",
            "seq": seq,
            "ts": now_s,
            "stall_count": stall_count,
            "stall_s": total_stall_ms / 1000,
            "play_s": play_ms / 1000,
        }

    async def _publish(self, topic: str, told: list[dict[str, Any]]) -> None:
        if not self._shards:
            return await self._say(topic, told)
        by_shard: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for report in told:
            by_shard[shard_of(report["session"], self._shards)].append(report)
        for shard, some in by_shard.items():
            await self._say(f"{topic}/{shard}", some)
        return None

    async def _say(self, topic: str, told: list[dict[str, Any]]) -> None:
        payload = json.dumps(told).encode()
        self.reports += len(told)
        self.sent.append(StoredMessage(topic, payload, told[-1]["ts"]))
        while True:
            try:
                await self._connection().publish(topic, payload, qos=1, timeout=5)
            except (aiomqtt.MqttError, OSError):
                await self._connect()
            else:
                return

    def _connection(self) -> aiomqtt.Client:
        client: aiomqtt.Client | None = getattr(self, "_client", None)
        if client is None:
            raise aiomqtt.MqttError("not connected yet")
        return client

    async def _connect(self) -> None:
        with contextlib.suppress(aiomqtt.MqttError, OSError, AttributeError):
            await self.close()
        await asyncio.sleep(0.1)
        client = aiomqtt.Client("127.0.0.1", self._port, identifier=f"stream-{unused_port()}")
        with contextlib.suppress(aiomqtt.MqttError, OSError):
            await client.__aenter__()
            self._client: aiomqtt.Client | None = client

    async def close(self) -> None:
        client, self._client = getattr(self, "_client", None), None
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)


def undisturbed(stream: Stream, config: Config) -> dict[str, Any]:
    """What the stream comes to, by service."""
    pipeline, evaluation = ShardPipeline(core_plan(config)), new_evaluation(config)
    for counts in pipeline.run(stream.sent):
        evaluation.tick([counts])
    tick = evaluation.tick([pipeline.tick(int(time.time()) // 2 * 2 + 2)])
    return figures(snapshot_document(*tick))


def figures(told: dict[str, Any]) -> dict[str, Any]:
    return {
        service["service"]: [(group["labels"], group["windows"]) for group in service["groups"]]
        for service in told["services"]
    }


async def same_as_undisturbed(daemon: Daemon, stream: Stream, config: Config, lost: int) -> dict[str, Any]:
    """Wait until the daemon says what is to be said; its snapshot.

    lost  so many messages of page loads may be missing, whole ones; viewers' counters make up for theirs
    """
    expected = undisturbed(stream, config)
    told: dict[str, Any] = {}
    right_s = time.monotonic()
    deadline_s = right_s + WAIT_S
    while time.monotonic() < deadline_s:
        told = await asyncio.to_thread(daemon.snapshot)
        if told and lost and all_but(lost, figures(told), expected):
            return told
        if told and figures(told) == expected:
            # The last word of a viewer may tell nothing new: figures are right before it is counted.
            if told["events"]["reports"] >= stream.reports or right_s + SETTLED_S < time.monotonic():
                return told
        else:
            right_s = time.monotonic()
        await asyncio.sleep(0.2)
    pytest.fail(f"after {stream.reports} reports:\n{figures(told) if told else None}\nexpected\n{expected}")


def all_but(lost: int, told: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether no more than so many messages of page loads are missing, and nothing else."""
    if told["video"] != expected["video"] or not told["web"]:
        return False
    (_, here), (_, there) = told["web"][0], expected["web"][0]
    missing = there[f"{INTERVAL_S // 60}m"]["observations"] - here[f"{INTERVAL_S // 60}m"]["observations"]
    return missing % BATCH == 0 and 0 <= missing <= lost * BATCH


async def away_from_the_close() -> None:
    """No rating interval may close while the test runs: what is late for it counts otherwise than undisturbed."""
    left_s = INTERVAL_S - time.time() % INTERVAL_S
    if left_s < 2 * WAIT_S + 6 * ROUNDS + PAUSED_S:
        await asyncio.sleep(left_s + 0.1)


async def disturbed(
    tmp_path: Path, disturb: Callable[[Mosquitto, Daemon], Awaitable[None]], lost: int = 0, **more: Any
) -> dict[str, Any]:
    """Let a daemon take in the stream while it is disturbed; what it says in the end, after the comparison."""
    await away_from_the_close()
    # Saved at every change: what mosquitto has confirmed is on its disk.
    with Mosquitto(tmp_path, options=["autosave_interval 1", "autosave_on_changes true"]) as broker:
        told = settings(broker.port, tmp_path / "state", **more)
        with Daemon(tmp_path, told) as daemon:
            await asyncio.to_thread(daemon.ready)
            stream = Stream(broker.port, more.get("mqtt", {}).get("shards", 0))
            streaming = asyncio.create_task(stream.run())
            try:
                await disturb(broker, daemon)
            finally:
                stream.stopped = True
                await streaming
                await stream.close()
            await asyncio.to_thread(daemon.ready)
            final = await same_as_undisturbed(daemon, stream, Config.model_validate(told), lost)
            log = daemon.log.read_text()
            assert "Traceback" not in log
            return final | {"sent": stream.reports, "log": log}
