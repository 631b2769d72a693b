"""CPU, rate and delay of an engine on Spark, from Kafka to published ticks. `python -m benchmarks.cluster`.

Everything runs on this machine: one node of Kafka, a driver with local[*], and a producer that writes records as
the bridge does. The engine's CPU is that of the driver, its JVM and its Python workers. The local engine is the
core in this process, with the same reports in arrays of 100 of one group, as gateways send them.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from benchmarks.bench import run
from benchmarks.row import Row
from benchmarks.wire.cpu import resident_bytes, seconds, tree
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.partition import shard_of
from qoemon.engine.spark.records import record_of
from qoemon.state.frames import StoredMessage
from qoemon.tools.cluster.kafka import Kafka
from qoemon.tools.ports import unused_port

TOPIC, PARTITIONS, SHARDS, GROUPS = "qoemon-reports", 8, 64, 20
TICK_S, LATE_S, START_S = 10, 10, 180.0
ROUNDS_A_SECOND = 10
"""How often the producer writes a record for each shard, as the bridge does."""
ARRAY = 100
"""Reports in a message to the local engine."""


class Load(NamedTuple):
    """Reports a second, the sessions that send them, and how often the CPU of the local engine they may take.

    warm_ticks  that are not measured: the JVM takes two minutes to compile what it runs
    """

    rate: int
    sessions: int
    at_most: float
    warm_ticks: int


QUICK = bool(os.environ.get("QUICK"))
LOADS = (Load(15_000, 100_000, 12.0, 2 if QUICK else 15), Load(60_000, 1_000_000, 6.0, 3 if QUICK else 6))
TICKS = 2 if QUICK else 6


class Seen(NamedTuple):
    """What a driver has come to at a tick: reports counted, CPU seconds, sizes in bytes of the stored sessions, and
    resident of the driver itself, of its JVM and of all Python workers."""

    reports: float
    cpu_s: float
    state_bytes: float
    resident: tuple[float, float, float]
    delay_s: float
    wall_s: float


def report(session: int, at_s: int) -> bytes:
    """What a viewer reports who has watched for at_s seconds and stalled every fifty."""
    stalls = at_s // 50
    told = b'{"session":"v%d","seq":%d,"stall_count":%d,"stall_s":%.1f,"play_s":%d}'
    return told % (session, at_s, stalls, stalls * 0.7, at_s)


def topic_of(session: int) -> str:
    """Its topic of MQTT."""
    return f"qoe/v1/video/eu/cdn-{session % GROUPS}"


def produce(brokers: str, load: Load) -> None:
    """Write the load until killed. Runs in a process of its own."""
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 100_000,
        }
    )
    of_shard: list[list[int]] = [[] for _ in range(SHARDS)]
    for session in range(load.sessions):
        of_shard[shard_of(f"v{session}", SHARDS)].append(session)
    turns = [rotation(sessions, load.rate // ROUNDS_A_SECOND // SHARDS) for sessions in of_shard]
    began_s, number = time.time(), 0
    while True:
        number += 1
        at_s = int(time.time() - began_s) + 1
        for shard, turn in enumerate(turns):
            by_topic: dict[str, list[bytes]] = {}
            for session in next(turn):
                by_topic.setdefault(topic_of(session), []).append(report(session, at_s))
            messages = [
                StoredMessage(topic, b"[" + b",".join(some) + b"]", 0.0) for topic, some in by_topic.items()
            ]
            key, value, headers = record_of(shard, SHARDS, messages)
            producer.produce(TOPIC, value, key, shard % PARTITIONS, headers=headers)
        producer.poll(0)
        time.sleep(max(0.0, began_s + number / ROUNDS_A_SECOND - time.time()))


def rotation(sessions: list[int], some: int) -> Iterator[list[int]]:
    """The next sessions, again and again."""
    at = 0
    while True:
        yield sessions[at : at + some]
        at = at + some if at + some < len(sessions) else 0


def local_us(load: Load) -> list[float]:
    """CPU of the core in this process, us a report, for each tick: apply, tick and evaluation."""
    config = Config.model_validate({"sessions": {"tick": f"{TICK_S}s"}})
    shard, evaluation = ShardPipeline(core_plan(config)), new_evaluation(config)
    now_s, sessions, used = 1_700_000_000, load.sessions // GROUPS, []
    turn, of_turn = rotation(list(range(sessions)), ARRAY), list[int]()
    for tick in range(6 + TICKS):
        messages = []
        for number in range(load.rate * TICK_S // ARRAY):
            group = number % GROUPS
            if group == 0:
                of_turn = next(turn)
            at_s = int(tick * TICK_S + number * ARRAY / load.rate) + 1
            told = [report(session * GROUPS + group, at_s) for session in of_turn]
            arrival_s = now_s + number * ARRAY / load.rate
            messages.append(StoredMessage(topic_of(group), b"[" + b",".join(told) + b"]", arrival_s))
        at_once = max(1, load.rate // ROUNDS_A_SECOND // ARRAY)
        began_s = time.process_time()
        for first in range(0, len(messages), at_once):
            shard.apply(messages[first : first + at_once])
        now_s += TICK_S
        evaluation.tick([shard.tick(now_s)])
        used.append((time.process_time() - began_s) / (load.rate * TICK_S) * 1e6)
    return used[-TICKS:]


class Driver:
    """A driver as a child process, and what it says of itself."""

    def __init__(self, directory: Path, brokers: list[str], port: int) -> None:
        told = {
            "engine": {"kind": "spark", "shards": SHARDS, "checkpoint": str(directory / "checkpoint")},
            "kafka": {"brokers": brokers, "topic": TOPIC, "partitions": PARTITIONS},
            "sessions": {"tick": f"{TICK_S}s"},
            # A shard has its part of the limit, and some have more sessions than others.
            "limits": {"sessions": 2 * max(load.sessions for load in LOADS)},
            "state": {"dir": str(directory / "state")},
            "http": {"port": port},
        }
        file = directory / "qoemon.yaml"
        file.write_text(json.dumps(told), "utf-8")
        self._url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen([sys.executable, "-m", "qoemon", "run", "-c", str(file)])

    def stop(self) -> None:
        """End it, and wait for that."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def ticks(self, timeout_s: float) -> Iterator[Seen]:
        """What it has come to, at each of its ticks from now on."""
        newest = self._tick_s()
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            time.sleep(0.2)
            tick_s = self._tick_s()
            if tick_s > newest:
                newest, until_s = tick_s, time.monotonic() + timeout_s
                yield self._seen(time.time() - tick_s)
        raise TimeoutError(f"no tick for {timeout_s:g} s")

    def _seen(self, delay_s: float) -> Seen:
        metrics = self._get("/metrics")
        used, resident = 0.0, dict.fromkeys(("driver", "java", "worker"), 0.0)
        for pid in tree(self._process.pid):
            with contextlib.suppress(FileNotFoundError):  # It has ended meanwhile: its parent has its time.
                used += seconds(pid)
                java = Path(f"/proc/{pid}/comm").read_text("ascii") == "java\n"
                part = "driver" if pid == self._process.pid else "java" if java else "worker"
                resident[part] += resident_bytes(pid)
        return Seen(
            _value(metrics, "qoemon_reports_total"),
            used,
            _value(metrics, "qoemon_cluster_state_bytes"),
            (resident["driver"], resident["java"], resident["worker"]),
            delay_s,
            time.monotonic(),
        )

    def _tick_s(self) -> int:
        try:
            return int(json.loads(self._get("/api/v1/snapshot"))["time_s"])
        except (urllib.error.URLError, OSError):
            return 0

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self._url + path, timeout=5) as answer:  # noqa: S310 - of loopback
            text: str = answer.read().decode()
        return text


def of_load(running: Driver, brokers: list[str], data: Path, load: Load) -> Iterator[Row]:
    """The rows of one load; data is the folder of Kafka."""
    told = ",".join(brokers), load
    producer = multiprocessing.get_context("spawn").Process(target=produce, args=told, daemon=True)
    producer.start()
    try:
        ticks = running.ticks(START_S)
        for _ in range(load.warm_ticks):
            next(ticks)
        first, before = next(ticks), _size(data)
        seen = [first, *(next(ticks) for _ in range(TICKS))]
        written = _size(data) - before
    finally:
        producer.kill()
        producer.join()
    pairs = list(pairwise(seen))
    used = [(after.cpu_s - before.cpu_s) / (after.reports - before.reports) * 1e6 for before, after in pairs]
    name = f"{load.rate:,} reports/s"
    local = local_us(load)
    yield Row.of(f"{name}: local engine", "us/report", local)
    yield Row.of(f"{name}: cluster", "us/report", used)
    yield Row.ratio(f"{name}: cluster / local engine", used, local, at_most=load.at_most)
    counted = (seen[-1].reports - seen[0].reports) / (seen[-1].wall_s - seen[0].wall_s)
    yield Row.of(f"{name}: counted", "1/s", [counted], at_least=0.95 * load.rate)
    yield Row.of(f"{name}: a tick is served after", "s", [each.delay_s for each in seen], at_most=TICK_S + LATE_S)
    reports = seen[-1].reports - seen[0].reports
    yield Row.of(f"{name}: bytes in Kafka", "bytes/report", [written / reports])
    stored = [each.state_bytes / load.sessions for each in seen]
    yield Row.of(f"{name}: state of a session", "bytes", stored, at_most=20)
    driver, java, workers = (
        [size / 1e6 for size in part] for part in zip(*(each.resident for each in seen), strict=True)
    )
    yield Row.of(f"{name}: memory of the driver", "MB", driver, at_most=400)
    yield Row.of(f"{name}: memory of its JVM", "MB", java)
    yield Row.of(f"{name}: memory of Python workers", "MB", workers)


def rows() -> list[Row]:
    """All rows, of one driver."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as ends:
        (data := Path(directory) / "kafka").mkdir()
        kafka = ends.enter_context(Kafka(data))
        kafka.create_topic(TOPIC, PARTITIONS)
        began_s = time.monotonic()
        driver = Driver(Path(directory), kafka.brokers, unused_port())
        ends.callback(driver.stop)
        next(driver.ticks(START_S))
        started = Row.of("start, until the first tick", "s", [time.monotonic() - began_s])
        return [started, *(row for load in LOADS for row in of_load(driver, kafka.brokers, data, load))]


def _size(directory: Path) -> int:
    """Bytes of the segments of the topic in a folder."""
    return sum(file.stat().st_size for file in directory.glob(f"**/{TOPIC}-*/*.log"))


def _value(metrics: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


if __name__ == "__main__":
    sys.exit(run("A cluster on one machine: Kafka, Spark and the driver", rows))
