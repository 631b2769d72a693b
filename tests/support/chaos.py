"""Kills parts of a cluster under load, and compares what the driver reports with an undisturbed process.

`make chaos-cluster` runs the long form and writes its table into docs/cluster-operation.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from qoemon.config.config import Config
from qoemon.engine.spark.position import Position
from qoemon.engine.storage import layout_name, open_store
from tests.support.cluster import (
    PARTITIONS,
    START_S,
    TICK_S,
    TOPIC,
    Driver,
    figures,
    figures_of,
    kill,
    leader,
    running,
    settings,
    undisturbed,
)
from tests.support.kafka import Bridge, running_kafka
from tests.support.parts import ROOT, Mosquitto
from tests.support.patience import LOOK_S, until
from tests.support.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.tools.cluster.kafka import Kafka

ROUNDS = int(os.environ.get("QOEMON_CHAOS_ROUNDS", "5"))
SEED = os.environ.get("QOEMON_CHAOS_SEED", "1")

RATE = 1000
"""Reports a second."""

PAGE = ROOT / "docs/cluster-operation.md"
MARKS = "<!-- figures: make chaos-cluster -->", "<!-- end of figures -->"


class Life(NamedTuple):
    """What a driver reported from its start to its end: when it was seen, its newest tick, and ticks evaluated."""

    seen: list[tuple[float, int, int]]


@dataclass
class Watcher:
    """Looks at the ticks of a driver all the time, over its restarts."""

    driver: Driver
    stored: list[int | None] = field(default_factory=list)
    """At the start of each life, the newest tick that was stored before."""
    lives: list[Life] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def begin(self, stored_s: int | None) -> None:
        """A driver is started, whose stored state has that tick."""
        with self._lock:
            self.stored.append(stored_s)
            self.lives.append(Life([]))

    @property
    def doubled(self) -> int:
        """Ticks that were evaluated again though they were stored, or twice in one life."""
        return sum(max(-off, 0) for off in self._steps())

    @property
    def missing(self) -> int:
        """Ticks that were left out."""
        return sum(max(off, 0) for off in self._steps())

    @property
    def longest_s(self) -> float:
        """The longest time without a new tick, seconds."""
        changes: list[float] = []
        newest = 0
        for at_s, tick_s, _ in (each for life in self.lives for each in life.seen):
            if tick_s > newest:
                newest = tick_s
                changes.append(at_s)
        return max((later - earlier for earlier, later in pairwise(changes)), default=0.0)

    def _steps(self) -> list[int]:
        """Of each life and each look, how many ticks more or less than one a tick were evaluated since the last."""
        found = []
        for stored_s, life in zip(self.stored, self.lives, strict=True):
            before = stored_s, 0
            for _, tick_s, ticks in life.seen:
                if before[0] is not None:
                    found.append((tick_s - before[0]) // TICK_S - (ticks - before[1]))
                before = tick_s, ticks
        return found

    def _run(self) -> None:
        while not self._stopped.wait(0.2):
            with self._lock, contextlib.suppress(KeyError, HTTPException):
                samples = self.driver.samples()
                tick_s = int(samples["qoemon_snapshot_timestamp_seconds", ()])
                self.lives[-1].seen.append(
                    (time.monotonic(), tick_s, int(samples["qoemon_cluster_ticks_total", ()]))
                )


@dataclass
class Outcome:
    """What became of a stream while parts were killed.

    kills     by what was killed
    problems  what /readyz reported after each kill, by what was killed
    ours      snapshot and metrics of the driver, and those of one process with the same records
    """

    kills: dict[str, int]
    problems: dict[str, list[str]]
    sent: int
    counted: int
    doubled: int
    missing: int
    longest_s: float
    ours: tuple[dict[str, Any], dict[Any, float]]
    theirs: tuple[dict[str, Any], dict[Any, float]]
    log: str

    @property
    def different(self) -> list[str]:
        """Figures that differ from those of one process."""
        (snapshot, metrics), (other, wanted) = self.ours, self.theirs
        found = [f"{key}: {snapshot[key]} and {other[key]}" for key in other if snapshot.get(key) != other[key]]
        return found + [
            f"{key}: {metrics.get(key)} and {value}" for key, value in wanted.items() if metrics.get(key) != value
        ]

    def row(self) -> str:
        """As a row of the table."""
        what = ", ".join(self.kills)
        equal = "yes" if not self.different else f"no: {len(self.different)} differ"
        return (
            f"| {what} | {sum(self.kills.values())} | {self.sent:,} | {self.counted:,} | {self.doubled} | "
            f"{self.missing} | {self.longest_s:.0f} s | {equal} |"
        )


class Situation:
    """A cluster under load, and what can be killed in it."""

    def __init__(
        self, kafka: Kafka, bridge: Bridge, driver: Driver, watcher: Watcher, config: Config, seed: str
    ) -> None:
        self.kafka, self.bridge, self.driver, self.watcher, self.config = kafka, bridge, driver, watcher, config
        self._rng = random.Random(seed)

    def executor(self) -> None:
        """An executor: its JVM, with its Python workers."""
        kill(self._rng.choice(self.driver.executors()))

    def worker(self) -> None:
        """A Python process that runs tasks."""
        until(self.driver.workers, self.driver.log.read_text)
        with contextlib.suppress(ProcessLookupError):  # Spark has ended it just now.
            kill(self._rng.choice(self.driver.workers()))

    def driver_(self) -> None:
        """The driver: `qoemon run`. Its JVM and its executors have to end by themselves."""
        jvms = self.driver.jvms()
        assert jvms
        self.driver.kill()
        until(lambda: not any(map(running, jvms)), lambda: f"left over: {list(filter(running, jvms))}")
        self.watcher.begin(self.stored_s())
        self.driver.start()

    def node(self) -> None:
        """The node of Kafka that leads a partition; it is started again once the ticks continue."""
        node = leader(self.kafka, self._rng.randrange(PARTITIONS))
        self.kafka.kill(node)
        self.driver.passes(time.time())
        self.kafka.start(node)

    def bridge_(self) -> None:
        """The bridge, which is started again: the broker has kept what it had not acknowledged."""
        self.bridge.kill()
        self.bridge.start()

    def stored_s(self) -> int | None:
        """The newest tick in the driver's state, which nobody else may have open."""
        store = open_store(self.config, Path(str(self.config.state.dir)) / layout_name(self.config))
        try:
            return Position.restored(store.state()).tick_s
        finally:
            store.close()


KINDS = {
    "executor": Situation.executor,
    "Python worker": Situation.worker,
    "node of Kafka": Situation.node,
    "bridge": Situation.bridge_,
    "driver": Situation.driver_,
}


async def disturbed(directory: Path, kinds: Sequence[str], rounds: int = 1, seed: str = SEED) -> Outcome:
    """Let a cluster count a steady load while each of these parts is killed, in each round."""
    (directory / "kafka").mkdir()
    with running_kafka(directory / "kafka", nodes=3) as kafka, Mosquitto(directory) as broker:
        kafka.create_topic(TOPIC, PARTITIONS, replication=3)
        engine = {"master": "local-cluster[2,1,1024]"}
        mqtt = {"host": "127.0.0.1", "port": broker.port, "client_id": "bridge"}
        told = settings(directory, kafka, engine=engine, mqtt=mqtt)
        config = Config.model_validate(told)
        with (
            Bridge(directory, told, "bridge") as bridge,
            Driver(directory, told) as driver,
            Watcher(driver) as watcher,
        ):
            situation = Situation(kafka, bridge, driver, watcher, config, seed)
            problems: dict[str, list[str]] = {kind: [] for kind in kinds}
            watcher.begin(None)
            await asyncio.to_thread(driver.ready)  # What is older than a new checkpoint does not count.
            await asyncio.to_thread(until, lambda: bridge.get("/readyz").status == 200, bridge.log.read_text)
            stream = Stream(broker.port)
            stream.rate = RATE
            streaming = asyncio.create_task(stream.run())
            try:
                for _ in range(rounds):
                    for kind in kinds:
                        problems[kind] += sorted(await _killed(situation, kind))
            finally:
                stream.stopped = True
                await streaming
                await stream.close()
            await asyncio.to_thread(_counted, driver, stream.reports)
            ours = await asyncio.to_thread(figures, driver)
            *_, last = undisturbed(config, kafka, driver.first_s, ours[0]["time_s"])
        return Outcome(
            kills=dict.fromkeys(kinds, rounds),
            problems=problems,
            sent=stream.reports,
            counted=ours[0]["events"]["reports"],
            doubled=watcher.doubled,
            missing=watcher.missing,
            longest_s=watcher.longest_s,
            ours=ours,
            theirs=figures_of(last),
            log=driver.log.read_text(),
        )


def _counted(driver: Driver, sent: int) -> None:
    """Wait until all reports are counted; a minute after they were sent, those that are not are lost."""
    end_s = time.time() + 60
    until(
        lambda: driver.value("qoemon_reports_total") >= sent or driver.snapshot().get("time_s", 0) > end_s,
        driver.log.read_text,
        limit_s=START_S,
    )


async def _killed(situation: Situation, kind: str) -> set[str]:
    """Kill a part, and wait until ticks continue; what /readyz reported meanwhile."""
    driver = situation.driver

    def kill_and_wait() -> None:
        KINDS[kind](situation)
        driver.passes(time.time())
        driver.ready()

    problems: set[str] = set()
    killing = asyncio.create_task(asyncio.to_thread(kill_and_wait))
    while not killing.done():
        answer = await asyncio.to_thread(driver.get, "/readyz")
        if answer.status == 503:
            problems |= set(answer.body.splitlines())
        await asyncio.sleep(10 * LOOK_S)
    await killing
    return problems


def main() -> None:
    """Run the long form, print its table, and write it into the page."""
    rows = [
        "| killed | times | reports sent | counted | ticks doubled | missing | longest pause | figures equal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    failed = False
    for kinds in [*([kind] for kind in KINDS), list(KINDS)]:
        with tempfile.TemporaryDirectory(prefix="qoemon-chaos-") as directory:
            outcome = asyncio.run(disturbed(Path(directory), kinds, ROUNDS))
        rows.append(outcome.row())
        failed |= bool(outcome.different or outcome.doubled or outcome.missing or outcome.sent != outcome.counted)
        print(rows[-1], *outcome.different[:20], sep="\n", flush=True)
    table = "\n".join(rows)
    print(table)
    begin, end = MARKS
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", "utf-8")
    sys.exit(failed)


if __name__ == "__main__":
    main()
