"""The driver on real Spark, with reports from a real Kafka, comes to what one process comes to, tick by tick.

The records have times of the past, so minutes of traffic are counted in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from tests.support.patience import TEST_S

if os.environ.get("QOEMON_REQUIRE_PARTS") != "1":
    for package in ("pyspark", "pandas", "confluent_kafka"):
        pytest.importorskip(package, reason=f"{package} is not installed: it comes with the extra spark")

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from qoemon.engine.spark.engine import SparkEngine
from qoemon.engine.spark.position import Position
from qoemon.engine.spark.rescale import rescale
from qoemon.engine.storage import open_store
from qoemon.state.layout import CLUSTER
from tests.support.ticks import assert_same, figures, in_shards, one_process
from tests.support.topic import SETTINGS, Topic, Traffic, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from qoemon.tools.cluster.kafka import Kafka

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(2 * TEST_S),
    # PySpark ends its JVM with the process that has started it, here that of all tests.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

T0 = 1_700_000_100
BATCH_S = 60
"""How much a batch has while the driver catches up: MOST_TICKS."""

PARTITIONS, SHARDS = 3, 4


def filled(kafka: Kafka, name: str, config: Config, end_s: int, **traffic: Any) -> Topic:
    """A topic of this name with traffic until shortly before end_s, and a copy of it in memory."""
    admin = AdminClient({"bootstrap.servers": ",".join(kafka.brokers), "log_level": 0})
    # Times as they are given, instead of those of arrival in Kafka; and the past is kept.
    given = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    admin.create_topics([NewTopic(name, PARTITIONS, 1, config=given)])[name].result()
    producer = Producer({"bootstrap.servers": ",".join(kafka.brokers), "enable.idempotence": True, "log_level": 0})
    topic = Topic(PARTITIONS)
    messages = Traffic(11, T0, end_s - 10, **traffic).messages()
    for time_ms, shard, key, value, headers in written(messages, core_plan(config), SHARDS, foreign=0.2):
        topic.append(time_ms, shard, key, value, headers)
        producer.produce(name, value, key, shard % PARTITIONS, timestamp=time_ms, headers=dict(headers))
        producer.poll(0)
    assert producer.flush(60) == 0
    return topic


def config_of(kafka: Kafka, directory: Path, topic: str, *, shards: int = SHARDS, **more: Any) -> Config:
    engine = {"kind": "spark", "master": "local[2]", "shards": shards, "checkpoint": str(directory / f"cp{shards}")}
    return Config.model_validate(
        {
            **SETTINGS,
            "engine": {**engine, **more.pop("engine", {})},
            "kafka": {"brokers": kafka.brokers, "topic": topic, "partitions": PARTITIONS},
            "state": {"dir": str(directory / "state")},
            **more,
        }
    )


def begin_at(config: Config, start_s: int) -> None:
    """Let the driver of this configuration begin in the past."""
    directory = config.state.dir
    assert directory is not None
    with contextlib.closing(open_store(config, directory / CLUSTER)) as store:
        store.checkpoint(Position(start_s=start_s).stored())


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[SparkEngine]:
    """The engine, driven by the test instead of the tick loop."""
    engine = SparkEngine(config)
    tasks = []
    try:
        await engine.recover(lambda _: None)
        tasks = [asyncio.create_task(part) for part in engine.parts().values()]
        yield engine
        await engine.finish()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(engine.close)


async def ticks_of(engine: SparkEngine, until_s: int) -> list[dict[str, Any]]:
    """What is served of its next ticks, up to until_s; what comes after is evaluated, too."""
    found: list[dict[str, Any]] = []

    async def take() -> None:
        while not found or found[-1]["all"]["time_s"] < until_s:
            while (tick := await engine.next_tick()) is not None:
                found.append(figures(tick))
            await engine.checkpoint_if_due()
            await asyncio.sleep(0.02)

    await asyncio.wait_for(take(), TEST_S)
    return found


async def test_executors_come_to_what_one_process_comes_to_also_after_a_reload(
    kafka: Kafka, tmp_path: Path
) -> None:
    """On two executors with memory of their own; and several shards in one process come to the same."""
    master = {"master": "local-cluster[2,1,1024]"}
    config = config_of(kafka, tmp_path, "reports", engine=master)
    services = {**SETTINGS["services"], "video": {**SETTINGS["services"]["video"], "theta": 0.2}}
    services["web"] = {**services["web"], "parameters": {"beta": 0.5}}
    changed = config_of(kafka, tmp_path, "reports", engine=master, services=services)
    reload_s, end_s = T0 + BATCH_S, T0 + 2 * BATCH_S
    messages = filled(kafka, "reports", config, end_s).messages(core_plan(config))
    expected = list(map(figures, one_process(config, messages, T0, end_s, {reload_s: changed})))
    assert_same(expected[:30], list(map(figures, in_shards(config, messages, T0, reload_s, 2))))
    begin_at(config, T0)
    async with running(config) as engine:
        found = await ticks_of(engine, reload_s)
        await engine.change(changed)
        found += await ticks_of(engine, end_s)
    assert_same(expected, found)
    assert expected[-1]["all"]["events"]["reports"] > 500
    assert any(alert["state"] == "firing" for each in found for alert in each["all"]["alerts"])


async def test_after_a_rescale_another_driver_continues_with_other_shards(kafka: Kafka, tmp_path: Path) -> None:
    """Tick by tick as if nothing had happened; how much a session with pauses weighs in bounds is known nearly."""
    clock = {"sessions": {**SETTINGS["sessions"], "clock": "report"}}
    config = config_of(kafka, tmp_path, "rescaled", **clock)
    rescale_s, end_s = T0 + 2 * BATCH_S, T0 + 3 * BATCH_S
    topic = filled(kafka, "rescaled", config, end_s, players=0, again=False)
    begin_at(config, T0)
    async with running(config) as engine:
        found = await ticks_of(engine, rescale_s)
    other = config_of(kafka, tmp_path, "rescaled", shards=7, **clock)
    done = rescale(other)
    assert (done.before, done.shards, done.tick_s, done.start_s) == (4, 7, rescale_s, T0 + 60)
    async with running(other) as engine:
        found += await ticks_of(engine, end_s)
    expected = map(figures, one_process(config, topic.messages(core_plan(config)), T0, end_s))
    assert_same(list(expected), found, of_bounds=0.02)
