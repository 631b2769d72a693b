"""Runs the demo of the cluster: Kafka, the bridge, Spark with two executors, and simulated users."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from rich.console import Console

from qoemon.common.java import require_java
from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.inputs.mqtt.options import broker_options
from qoemon.tools import child
from qoemon.tools.cluster.jars import jars, version
from qoemon.tools.cluster.kafka import Kafka
from qoemon.tools.cluster.parts import Part, PartError, spark_home
from qoemon.tools.command import required_broker
from qoemon.tools.demo import broker as embedded
from qoemon.tools.demo.screen import opening, show
from qoemon.tools.demo.story import population, scenario_of, settings
from qoemon.tools.ports import unused_port
from qoemon.tools.simulate.load import publish

MASTER = "local-cluster[2,1,1024]"
"""Spark's own cluster on one machine: two executors with a core and 1 GB each."""

TOPIC = "qoemon-reports"
PARTITIONS = 2
SHARDS = 8
"""Few, since each costs something at each tick, whatever it holds."""

START_S = 150.0
STOP_S = 20.0
LOOK_S = 0.2


async def demo_cluster(console: Console, *, for_s: float | None, sessions: int, seed: int, http_port: int) -> None:
    """Run until for_s has passed since the first tick, or a signal arrives.

    raises  JavaError or MissingError if something is not installed; KafkaError, BrokerError, PartError or LoadError
            if a part fails
    """
    with (
        cancelled_by_signals(),
        tempfile.TemporaryDirectory(prefix="qoemon-cluster-", ignore_cleanup_errors=True) as name,
        _Waiting(console) as waiting,
    ):
        folder = Path(name)
        require_java()
        waiting.until(f"the jars of Kafka {version()}, which mvn fetches once")
        await asyncio.to_thread(jars)
        async with embedded.broker() as port:
            waiting.until(f"Kafka {version()}")
            with _kafka(folder) as kafka:
                await _answering(kafka)
                kafka.create_topic(TOPIC, PARTITIONS)
                config = config_of(folder, kafka.brokers, port, http_port or unused_port())
                file = folder / "qoemon.yaml"
                file.write_text(json.dumps(config))  # YAML includes JSON.
                with _parts(file, config["http"]["port"]) as (driver, bridge):
                    for part in (bridge, driver):
                        await _ready(part, waiting)
                    waiting.end()
                    users = population(scenario := scenario_of(for_s), sessions, seed)
                    url = f"http://127.0.0.1:{driver.port}"
                    more = {"kafka": f"{kafka.brokers[0]}  topic {TOPIC}", "logs": str(folder)}
                    console.print(opening(url, scenario, users, port, more), soft_wrap=True)
                    broker = broker_options(required_broker(Config.model_validate(config)))
                    async with asyncio.TaskGroup() as tasks:
                        running = [
                            tasks.create_task(publish(broker, users, qos=1, batch=20)),
                            tasks.create_task(show(console, _snapshots(driver), users)),
                            tasks.create_task(_watch(kafka, (driver, bridge))),
                        ]
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(for_s):
                                await asyncio.Future()
                        for task in running:
                            task.cancel()
                    console.print("Stopping Spark, the bridge and Kafka.")


def config_of(folder: Path, brokers: Sequence[str], port: int, http_port: int) -> dict[str, Any]:
    """The configuration of the bridge and of the driver, with short intervals; port: of the MQTT broker."""
    return {
        **settings(port, http_port),
        "engine": {
            "kind": "spark",
            "master": MASTER,
            "shards": SHARDS,
            "checkpoint": str(folder / "checkpoint"),
            "options": {"spark.local.dir": str(folder / "spark"), "spark.sql.shuffle.partitions": "2"},
        },
        "kafka": {"brokers": list(brokers), "topic": TOPIC, "partitions": PARTITIONS},
        "state": {"dir": str(folder / "state")},
    }


class _Waiting:
    """Prints what the demo waits for, a line each, with the seconds that it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._began_s = "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._what:
            self._console.print()

    def until(self, what: str) -> None:
        """Wait for something else from now on."""
        if what == self._what:
            return
        self.end()
        self._what, self._began_s = what, time.monotonic()
        self._console.print(f"waiting for {what} ...", end="", soft_wrap=True, markup=False)

    def end(self) -> None:
        """What was waited for is there."""
        if self._what:
            self._console.print(f" {time.monotonic() - self._began_s:.1f} s", markup=False)
        self._what = ""


@contextlib.contextmanager
def _kafka(folder: Path) -> Iterator[Kafka]:
    directory = folder / "kafka"
    directory.mkdir()
    kafka = Kafka(directory)
    try:
        kafka.launch(1)
        yield kafka
    finally:
        kafka.stop()


async def _answering(kafka: Kafka) -> None:
    async with asyncio.timeout(START_S):
        while not await asyncio.to_thread(kafka.answers):
            await asyncio.sleep(LOOK_S)


@contextlib.contextmanager
def _parts(configuration: Path, http_port: int) -> Iterator[tuple[Part, Part]]:
    """The driver and the bridge."""
    parts: list[Part] = []
    try:
        home = str(spark_home(configuration.with_name("spark-home")))
        parts.append(Part("run", http_port, configuration, {"SPARK_HOME": home}))
        parts.append(Part("bridge", unused_port(), configuration))
        yield parts[0], parts[1]
    finally:
        child.stop((part.process for part in parts), STOP_S)


async def _ready(part: Part, waiting: _Waiting) -> None:
    """Wait until a part is ready, and print what it waits for itself."""
    deadline_s = time.monotonic() + START_S
    while (problem := await asyncio.to_thread(part.problems)) is not None:
        waiting.until(f"qoemon {part.name}: {re.sub('^no tick .*', 'the first tick', problem)}")
        if time.monotonic() > deadline_s:
            text = part.log.read_text(errors="replace")[-4000:]
            raise PartError(f"qoemon {part.name} is not ready after {START_S:g} s: {problem}; its log:\n{text}")
        await asyncio.sleep(LOOK_S)


async def _snapshots(driver: Part) -> AsyncIterator[dict[str, Any]]:
    shown_s = None
    while True:
        snapshot = await asyncio.to_thread(driver.snapshot)
        if snapshot is not None and snapshot["time_s"] != shown_s:
            shown_s = snapshot["time_s"]
            yield snapshot
        await asyncio.sleep(LOOK_S)


async def _watch(kafka: Kafka, parts: Sequence[Part]) -> NoReturn:
    """Raise the error of the part that ends first."""
    while True:
        await asyncio.to_thread(kafka.answers)
        for part in parts:
            part.check()
        await asyncio.sleep(1.0)
