"""The tick loop: which messages a tick covers, acknowledgements, and a stop without loss."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.config.sections.state import Durability
from qoemon.daemon.daemon import running as running_daemon
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.local import LocalEngine
from qoemon.inputs.inbox import Message
from qoemon.outputs.latest import Latest
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.publisher import Publisher
from qoemon.state.store import Store
from tests.support.parts import Nats, parsed
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

T0 = 1_700_000_100
"""Seconds since the epoch, where a rating interval begins."""
SESSIONS = {"tick": "10s", "rating_interval": "60s", "timeout": "60s"}


class Bench:
    """A tick loop with a test clock, and a consumer without a connection."""

    def __init__(self, store: Store | None = None, now_s: float = T0 + 1.0) -> None:
        config = Config.model_validate({"sessions": SESSIONS, "windows": ["1m"]})
        self.now_s = now_s
        self.latest, self.work = Latest(), LocalEngine(config, store)
        self.inbox, self.sources = self.work.shard.inbox, self.work.shard.sources
        self.steady_s = 0.0
        """Difference between the wall clock and the monotonic clock."""
        self.publisher = Publisher(10, self.latest, Notifier(()))
        self.tick_loop = TickLoop(
            core_plan(config).timing,
            self.work,
            self.publisher,
            (),
            lambda: self.now_s,
            lambda: self.now_s - self.steady_s,
        )

    @property
    def acknowledged(self) -> int:
        """Number of acknowledged messages; without a connection they are only counted."""
        return vars(self.sources)["mqtt"].stats.stale_acks_total

    def arrive(self, payload: bytes, at_s: float, topic: str = "qoe/v1/video/eu/a") -> None:
        assert self.inbox.put(Message(topic, payload, at_s, 1, 1, 1))

    def set_clock(self, at_s: float) -> None:
        """Set the wall clock, as opposed to letting time pass."""
        self.steady_s += at_s - self.now_s
        self.now_s = at_s

    def metric(self, name: str, **labels: str) -> float:
        assert self.latest.value is not None
        return parsed(self.latest.value.metrics.whole.decode())[name, tuple(sorted(labels.items()))]


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    task = asyncio.create_task(bench.tick_loop.run())
    try:
        yield bench
    finally:
        bench.tick_loop.stop()
        await task
        bench.publisher.close()
        bench.work.close()


async def tick(bench: Bench, at_s: float) -> None:
    """Set the clock, and wait for the tick that is due then."""
    bench.now_s = at_s
    await until(lambda: bench.latest.value and bench.latest.value.snapshot.time_s == at_s // 10 * 10)


def watched(session: str, **more: Any) -> bytes:
    return json.dumps({"session": session, "play_s": 30.0, **more}).encode()


async def test_a_tick_covers_what_arrived_before_it_and_nothing_later() -> None:
    async with running(Bench()) as bench:
        bench.arrive(watched("before"), T0 + 59.999)
        bench.arrive(watched("after"), T0 + 60.0)
        await tick(bench, T0 + 60.2)
        group = {"service": "video", "region": "eu", "cdn": "a"}
        assert bench.metric("qoemon_observations", **group, window="1m") == 1
        assert bench.metric("qoemon_snapshot_timestamp_seconds") == T0 + 60
        await tick(bench, T0 + 70.2)
        assert bench.metric("qoemon_observations", **group, window="1m") == 2


async def test_messages_are_acknowledged_once_taken_in_the_bad_ones_too() -> None:
    async with running(Bench()) as bench:
        for payload in (watched("s"), b"rubbish", b"[1, 2]"):
            bench.arrive(payload, bench.now_s)
        await until(lambda: bench.acknowledged == 3)
        assert bench.latest.value is None  # That takes no tick.


async def test_what_waits_at_the_stop_is_still_taken_in() -> None:
    bench = Bench()
    async with running(bench):
        await asyncio.sleep(0)
        bench.arrive(watched("s"), bench.now_s)
    assert bench.acknowledged == 1
    assert bench.inbox.messages == 0


async def test_each_bad_report_counts_under_its_reason() -> None:
    async with running(Bench()) as bench:
        bench.arrive(b"{", T0 + 1)
        bench.arrive(b'[{"session": 1}, {"session": "a", "play_s": -1}, {"session": "b"}]', T0 + 1)
        bench.arrive(watched("c"), T0 + 1, topic="qoe/v1/radio/eu/a")
        bench.arrive(b" " * 300_000, T0 + 1)
        await tick(bench, T0 + 10.1)
        reasons = {"unparseable": 1, "schema": 1, "out_of_range": 1, "unknown_service": 1, "too_large": 1}
        found = {reason: bench.metric("qoemon_reports_rejected_total", reason=reason) for reason in reasons}
        assert found == reasons
        assert bench.metric("qoemon_reports_total") == 1


async def test_a_flood_of_rubbish_shows_one_sample_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "qoemon.engine"):
        async with running(Bench()) as bench:
            for _ in range(3):  # Looked at three times, so that the second could show one as well.
                for _ in range(50):
                    bench.arrive(b"{" + b"x" * 2000, bench.now_s)
                await until(lambda: not bench.inbox.messages)
            await until(lambda: bench.acknowledged == 150)
    (record,) = caplog.records
    assert "unparseable" in record.getMessage()
    assert len(record.getMessage()) < 500


async def test_ticks_that_were_missed_are_counted_and_the_next_is_on_time() -> None:
    async with running(Bench()) as bench:
        await tick(bench, T0 + 10.1)
        assert bench.metric("qoemon_tick_skipped_total") == 0
        await tick(bench, T0 + 45.5)  # As after a machine that slept: those of +20 and +30 are gone.
        assert bench.metric("qoemon_tick_skipped_total") == 2
        assert bench.metric("qoemon_tick_lag_seconds") == pytest.approx(5.5)
        await tick(bench, T0 + 50.0)
        assert bench.metric("qoemon_tick_skipped_total") == 2


@pytest.mark.parametrize("by_s", [-3600, -3590, -90, -25, 25, 90, 3600, 3610])
async def test_a_clock_that_is_set_moves_the_windows_with_it(by_s: int, caplog: pytest.LogCaptureFixture) -> None:
    group = {"service": "video", "region": "eu", "cdn": "a", "window": "1m"}
    async with running(Bench()) as bench:
        for session in ("one", "two", "three"):
            bench.arrive(watched(session, play_s=5.0), T0 + 7.0)
        await tick(bench, T0 + 10.1)
        assert bench.metric("qoemon_observations", **group) == 3
        await until(lambda: bench.acknowledged == 3)
        bench.set_clock(T0 + 11.0 + by_s)
        await until(lambda: "the wall clock was set" in caplog.text)
        # What is left over when whole rating intervals are moved is time that passes.
        reported_s = T0 + 7 + by_s // 60 * 60
        await tick(bench, bench.now_s + 10)
        assert parsed_or_zero(bench, "qoemon_observations", **group) == seen(bench, reported_s) * 3
        bench.arrive(watched("four"), bench.now_s)
        await tick(bench, bench.now_s + 10)
        assert bench.metric("qoemon_observations", **group) == 1 + seen(bench, reported_s) * 3
        assert bench.metric("qoemon_clock_steps_total") == 1
        assert caplog.text.count("the wall clock was set") == 1


@pytest.mark.parametrize("by_s", [-3600, 3600])
async def test_a_clock_that_is_set_while_a_tick_is_made_empties_no_window(by_s: int) -> None:
    """Messages that arrive from then on wait until all has been moved."""
    group = {"service": "video", "region": "eu", "cdn": "a", "window": "1m"}
    async with running(Bench()) as bench:
        for session in ("one", "two", "three"):
            bench.arrive(watched(session, play_s=5.0), T0 + 7.0)
        publish = bench.publisher.publish

        async def published(*arguments: Any) -> None:
            if not bench.steady_s:
                bench.set_clock(bench.now_s + by_s)
                bench.arrive(watched("four"), bench.now_s)
            await publish(*arguments)

        vars(bench.publisher)["publish"] = published
        await tick(bench, T0 + 10.1)
        await tick(bench, T0 + by_s + 20.1)
        assert bench.metric("qoemon_observations", **group) == 4
        assert bench.metric("qoemon_clock_steps_total") == 1


@pytest.mark.parametrize("back_s", [0, 30, 90, 3600, 3590])
async def test_a_clock_that_was_set_back_between_two_runs_stops_no_figures(tmp_path: Path, back_s: int) -> None:
    """As after a loss of power, on a machine whose clock does not go on meanwhile."""
    group = {"service": "video", "region": "eu", "cdn": "a", "window": "1m"}
    async with stored(Bench(Store(tmp_path, Durability.PROCESS, 10**7))) as bench:
        bench.arrive(watched("one", play_s=5.0), T0 + 7.0)
        await tick(bench, T0 + 10.1)
        assert bench.metric("qoemon_observations", **group) == 1
    began_s = T0 + 20 - back_s
    async with stored(Bench(Store(tmp_path, Durability.PROCESS, 10**7), began_s)) as bench:
        for number in range(1, 13):
            bench.arrive(watched(f"two {number}"), bench.now_s)
            await tick(bench, began_s // 10 * 10 + 10 * number + 0.1)
        assert bench.metric("qoemon_observations", **group) == 5, "as without a step"
        assert bench.metric("qoemon_clock_steps_total") == (back_s > 60)


@contextlib.asynccontextmanager
async def stored(bench: Bench) -> AsyncIterator[Bench]:
    """From the restored state to the stored one."""
    await bench.work.recover(bench.publisher.add_past)
    await bench.tick_loop.begin()
    parts = bench.work.parts()
    parts.pop("mqtt").close()
    writing = asyncio.create_task(parts.pop("state.writer"))
    assert not parts
    looping = asyncio.create_task(bench.tick_loop.run())
    yield bench
    bench.tick_loop.stop()
    await looping
    await bench.work.finish()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    bench.publisher.close()
    bench.work.close()


def seen(bench: Bench, reported_s: float) -> bool:
    """Whether the newest base window has the reports of that time."""
    assert bench.latest.value is not None
    end_s = bench.latest.value.snapshot.time_s
    return end_s - 60 <= reported_s < end_s


def parsed_or_zero(bench: Bench, name: str, **labels: str) -> float:
    """Of a group that may have gone."""
    assert bench.latest.value is not None
    return parsed(bench.latest.value.metrics.whole.decode()).get((name, tuple(sorted(labels.items()))), 0.0)


async def test_what_a_stopped_daemon_took_and_what_the_next_takes_is_everything_once(tmp_path: Path) -> None:
    """Stopped in the middle of a stream, with pending acknowledgements."""
    total = 600
    with Nats(tmp_path) as broker:
        config = config_at(broker.port)
        async with running_daemon(config) as first:
            await until(lambda: first.engine.stats.mqtt.subscribed)
            sending = asyncio.create_task(send(broker.port, total))
            await until(lambda: first.engine.stats.mqtt.acks_total > 50)
        taken = first.engine.stats.mqtt.acks_total
        await sending
        assert 50 < taken < total
        async with running_daemon(config) as second:
            await until(lambda: second.engine.stats.mqtt.acks_total >= total - taken)
            await asyncio.sleep(1.5)  # NATS would send again what it misses an acknowledgement of.
        assert taken + second.engine.stats.mqtt.acks_total == total


def config_at(port: int) -> Config:
    mqtt = {"host": "127.0.0.1", "port": port, "version": "3.1.1"}
    return Config.model_validate({"mqtt": mqtt, "http": {"port": 0}})


async def send(port: int, messages: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311, timeout=WAIT_S) as client:
        for number in range(messages):
            await client.publish("qoe/v1/video/eu/a", watched(f"s{number}"), qos=1)
