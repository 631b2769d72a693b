"""A query on a Spark of its own, and the CPU that each of its batches takes, by process."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.row import Row
from benchmarks.wire.cpu import seconds, tree
from qoemon.config.sections.engine import Engine, EngineKind
from qoemon.engine.spark.jvm_output import JvmOutput
from qoemon.engine.spark.session import start_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.readwriter import DataStreamWriter

MASTER, SHARDS, TICK_S = "local[2]", 64, 10


class Cpu(NamedTuple):
    """CPU seconds: of the driver, of its JVM, and of all processes of Python that the JVM started."""

    driver: float
    jvm: float
    workers: float

    @property
    def total(self) -> float:
        """Of all of them."""
        return sum(self)


class Taken(NamedTuple):
    """What a batch took, and a figure that it came to, such as the bytes that it read."""

    cpu: Cpu
    figure: float


class Query(NamedTuple):
    """A query to be measured; the functions are of a module, since they run in another process.

    options  of Spark, beside those of the engine
    made     the stream, without checkpoint and foreachBatch
    figure   of the rows of a batch, which it collects
    """

    options: Mapping[str, str]
    made: Callable[[SparkSession], DataStreamWriter]
    figure: Callable[[DataFrame], float]


def started(pool: ProcessPoolExecutor, query: Query, warm: int, runs: int) -> Future[list[Taken]]:
    """Run a query in a process of the pool; the batches after those that warm it up."""
    return pool.submit(_measured, query, warm, runs)


def fresh_processes(number: int) -> ProcessPoolExecutor:
    """A pool whose processes begin with nothing, and are used once: each has a JVM, and never another one."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, mp_context=spawn, max_tasks_per_child=1)


def rows_of(name: str, taken: list[Taken]) -> Iterator[Row]:
    """A row for each kind of process, and one for all."""
    for process in Cpu._fields:
        yield Row.of(f"{name}: {process}", "s/batch", [getattr(each.cpu, process) for each in taken])
    yield Row.of(f"{name}: in all", "s/batch", [each.cpu.total for each in taken])


def _measured(query: Query, warm: int, runs: int) -> list[Taken]:
    options = {"spark.sql.shuffle.partitions": "16", **query.options}
    engine = Engine(kind=EngineKind.SPARK, master=MASTER, shards=SHARDS, options=options)
    spark = start_session(engine, JvmOutput())
    jvm = spark.sparkContext._gateway.proc.pid  # Spark tells it nowhere else.
    seen: list[tuple[Cpu, float]] = []
    enough = threading.Event()

    def on_batch(rows: Any, _: int) -> None:
        figure = query.figure(rows)
        seen.append((_cpu(jvm), figure))
        if len(seen) > warm + runs:
            enough.set()

    with tempfile.TemporaryDirectory() as checkpoint:
        writer = query.made(spark).option("checkpointLocation", str(Path(checkpoint) / "c"))
        running = writer.foreachBatch(on_batch).start()
        while not enough.wait(0.5):
            if not running.isActive:
                raise RuntimeError(f"the query has ended: {running.exception()}")
        running.stop()
        spark.stop()
    after = seen[warm : warm + runs + 1]
    return [
        Taken(Cpu(*(b - a for a, b in zip(before, now, strict=True))), figure)
        for (before, _), (now, figure) in pairwise(after)
    ]


def _cpu(jvm: int) -> Cpu:
    of_jvm = seconds(jvm)
    return Cpu(time.process_time(), of_jvm, sum(map(seconds, tree(jvm))) - of_jvm)
