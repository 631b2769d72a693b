"""A driver with its cluster and its Kafka, all on this machine, and what the topic's records come to.

The reference is one process: the same core, fed with the records between the offsets that Spark has stored for each
batch. So each figure must be the same to the last digit, whatever was killed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaException, Producer

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.partition import Partitioner
from qoemon.engine.spark.offsets import Cut, full_groups
from qoemon.engine.spark.records import Divider, messages_of, record_of
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.state.frames import StoredMessage
from tests.support.kafka import reading
from tests.support.parts import Daemon, children, parsed
from tests.support.patience import WAIT_S, until
from tests.support.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.core.evaluation import Tick
    from qoemon.net.kafka.reader import Record
    from qoemon.tools.cluster.kafka import Kafka

TOPIC = "qoemon-reports"
PARTITIONS = 3
TICK_S = 2
START_S = 5 * WAIT_S
"""Limit of a wait that includes the start of Spark, or the time in which Kafka notices that a node is gone."""


def settings(directory: Path, at: Kafka, **more: Any) -> dict[str, Any]:
    """Of a driver with its state and checkpoint in a folder, and its reports at a Kafka."""
    engine = {
        "kind": "spark",
        "master": "local[2]",
        "shards": 4,
        "checkpoint": str(directory / "checkpoint"),
        # The reference needs the offsets of all batches.
        "options": {"spark.sql.streaming.minBatchesToRetain": "100000"},
    }
    return {
        "engine": engine | more.pop("engine", {}),
        "kafka": {"brokers": at.brokers, "topic": TOPIC, "partitions": PARTITIONS} | more.pop("kafka", {}),
        "state": {"dir": str(directory / "state")},
        "sessions": {"tick": f"{TICK_S}s", "rating_interval": "10s", "timeout": "60s"},
        "windows": ["10s", "1m"],
        "log": {"level": "debug"},
        **more,
    }


class Driver(Daemon):
    """`qoemon run` with Spark, and the processes below it."""

    def ready(self) -> Self:
        """As Daemon.ready, with the start of Spark."""
        until(lambda: self.get("/readyz").status == 200, self._situation, limit_s=START_S)
        return self

    def unready(self, *texts: str) -> str:
        """Wait until it reports, not ready, all of these texts; what it reports."""
        return self._reports(lambda answer: answer.status == 503 and all(text in answer.body for text in texts))

    def ended(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        code = self._process.wait(WAIT_S)
        self._process = None
        return code

    def executors(self) -> list[int]:
        """The executors' JVMs."""
        return [pid for pid, command in _below(self.pid) if "CoarseGrainedExecutorBackend" in " ".join(command)]

    def jvms(self) -> list[int]:
        """All JVMs: that of the driver, and the executors'."""
        return [pid for pid, command in _below(self.pid) if command[0].endswith("java")]

    def workers(self) -> list[int]:
        """The Python processes of executors that run tasks; with local[N], of the driver's JVM."""
        daemons = [pid for pid, command in _below(self.pid) if "pyspark.daemon" in command]
        return [pid for pid in daemons if not any("pyspark.daemon" in each for each in children(pid).values())]

    @property
    def first_s(self) -> int:
        """The first tick that it evaluated, in the first of its lives; log.level is debug."""
        found = re.search(r"tick (\d+) of batch 0: evaluate", self.log.read_text())
        assert found, self.log.read_text()
        return int(found[1])

    def passes(self, time_s: float) -> None:
        """Wait for a tick at that time or later."""
        until(lambda: self.snapshot().get("time_s", 0) >= time_s, self._situation, limit_s=START_S)

    def _reports(self, wanted: Any) -> str:
        found: list[str] = []

        def look() -> bool:
            answer = self.get("/readyz")
            if wanted(answer):
                found.append(answer.body)
            return bool(found)

        until(look, self._situation, limit_s=START_S)
        return found[0]

    def _situation(self) -> str:
        return f"{self.get('/readyz')}; log:\n{self.log.read_text()}"


def _below(pid: int) -> list[tuple[int, list[str]]]:
    found = []
    for child, command in children(pid).items():
        found += [(child, command), *_below(child)]
    return found


def running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    """End a process at once, as a crash would."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not running(pid))


class KafkaStream(Stream):
    """The viewers and pages of Stream, written to Kafka as `qoemon bridge` writes them."""

    rate = 1000

    def __init__(self, config: Config, kafka: Kafka) -> None:
        super().__init__(0)
        assert config.kafka is not None
        self._divided, self._partitions = config.engine.shards, config.kafka.partitions
        self._partitioner = Partitioner(self._divided, core_plan(config))
        self._producer = Producer(
            {
                "bootstrap.servers": ",".join(kafka.brokers),
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": int(START_S * 1000),
                "linger.ms": 50,
                "log_level": 0,
            }
        )

    async def _say(self, topic: str, told: list[dict[str, Any]]) -> None:
        self.reports += len(told)
        for shard, payload in self._partitioner.split(topic, json.dumps(told).encode()):
            key, value, headers = record_of(shard, self._divided, [StoredMessage(topic, payload, time.time())])
            while True:
                try:
                    self._producer.produce(TOPIC, value, key, shard % self._partitions, headers=headers)
                    break
                except BufferError:
                    await asyncio.sleep(0.1)
        self._producer.poll(0)

    async def close(self) -> None:
        """Wait until Kafka has confirmed all."""
        assert await asyncio.to_thread(self._producer.flush, START_S) == 0


def undisturbed(config: Config, kafka: Kafka, first_s: int, until_s: int) -> Iterator[Tick]:
    """Each tick from one to another, of one process with the records of the topic."""
    plan = core_plan(config)
    pipeline, evaluation, tick_s = ShardPipeline(plan), new_evaluation(config), config.sessions.tick_s
    cuts = list(_cuts(Path(str(config.engine.checkpoint))))
    with reading(kafka, TOPIC) as reader:
        assert reader.partitions() == len(cuts[0].offsets)
        divider = Divider(1, Partitioner(1, plan))
        before = Cut(first_s - tick_s, (0,) * len(cuts[0].offsets), 1, tick_s)
        for cut in cuts:
            parts = [
                _in_batch(list(reader.read(number, first, last)), before, cut)
                for number, (first, last) in enumerate(zip(before.offsets, cut.offsets, strict=True))
            ]
            pipeline.freeze_groups(full_groups(cut.full))
            records = sorted((each for part in parts for each in part), key=lambda each: each[0])
            begin = before.tick_s
            for end_s in range(begin + tick_s, cut.tick_s + 1, tick_s):
                if end_s > until_s:
                    return
                messages = [
                    message
                    for time_ms, record in records
                    if (end_s - tick_s) * 1000 <= time_ms < end_s * 1000
                    for _, frame in divider.parts(record)
                    for message in messages_of(frame, time_ms / 1000)
                ]
                pipeline.apply(messages)
                yield evaluation.tick([pipeline.tick(end_s)])
            before = cut


def _in_batch(records: list[Record], before: Cut, cut: Cut) -> list[tuple[int, Record]]:
    """The records of a partition, each with its time, which never goes back and stays in the batch."""
    found, newest = [], before.tick_s * 1000
    for record in records:
        newest = min(max(record.time_ms, newest), cut.tick_s * 1000 - 1)
        found.append((newest, record))
    return found


def _cuts(checkpoint: Path) -> Iterator[Cut]:
    """The end of each batch that Spark has made, in order."""
    for number in sorted(int(file.name) for file in (checkpoint / "offsets").iterdir() if file.name.isdigit()):
        yield Cut.restored(json.loads((checkpoint / f"offsets/{number}").read_text().splitlines()[-1]))


def figures_of(tick: Tick) -> tuple[dict[str, Any], dict[Any, float]]:
    """The snapshot, and the metrics of a tick."""
    published = Exporter().render(*tick, [])
    return _plain(snapshot_document(*tick)), _metrics(b"".join(published.metrics.pieces).decode())


def figures(driver: Driver) -> tuple[dict[str, Any], dict[Any, float]]:
    """The same of a driver, both of one tick."""
    while True:
        before, metrics, after = driver.snapshot(), driver.get("/metrics").body, driver.snapshot()
        if before and before["time_s"] == after["time_s"]:
            return before, _metrics(metrics)


def _metrics(text: str) -> dict[Any, float]:
    return {
        key: value
        for key, value in parsed(text).items()
        if not key[0].startswith(("qoemon_tick_seconds", "process_"))
    }


def _plain(told: Any) -> Any:
    return json.loads(json.dumps(told))


def leader(kafka: Kafka, partition: int) -> int:
    """The node that leads a partition of the topic."""
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - for the few that ask

    client = AdminClient({"bootstrap.servers": ",".join(kafka.brokers), "log_level": 0})
    try:
        return int(client.list_topics(TOPIC, timeout=WAIT_S).topics[TOPIC].partitions[partition].leader)
    except KafkaException as error:
        raise AssertionError(f"nobody knows who leads partition {partition}: {error}") from None
