"""Our source of Kafka and that of Spark, on the same topic at the same time.

Records are read, divided by shard, and their bytes counted.
Ours ends its batches on ticks by itself; Spark's has a trigger as long as a tick.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark

from benchmarks.cluster import LOADS, PARTITIONS, TOPIC, Load, produce
from benchmarks.row import Row, Verdict
from benchmarks.spark_choices.measured import SHARDS, TICK_S, Query, fresh_processes, rows_of, started
from qoemon.config.config import Config
from qoemon.config.plan import shard_plan
from qoemon.engine.spark.source import MARK, Feed, source_of
from qoemon.net.kafka.client import client_options
from qoemon.tools.cache import MissingError, kept
from qoemon.tools.cluster.jars import fetch
from qoemon.tools.cluster.kafka import Kafka

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.readwriter import DataStreamWriter

POM = Path(__file__).with_name("pom.xml")
CONNECTOR = os.environ.get("CONNECTOR", pyspark.__version__)
"""Version of Spark's source: that of Spark, unless Maven Central (or its mirror) has only another one."""
WARM, RUNS = (1, 2) if os.environ.get("QUICK") else (4, 6)


def rows() -> Iterator[Row]:
    """The rows of both sources, for each load."""
    try:
        jars = _jars()
    except MissingError as error:
        yield Row("sources", "s/batch", problem=Verdict.NOT_MEASURABLE, reason=str(error))
        return
    with tempfile.TemporaryDirectory() as directory:
        (data := Path(directory) / "kafka").mkdir()
        with Kafka(data) as kafka:
            kafka.create_topic(TOPIC, PARTITIONS)
            for load in LOADS:
                yield from _of_load(load, kafka.brokers, Path(directory), jars)


def _of_load(load: Load, brokers: list[str], directory: Path, jars: list[Path]) -> Iterator[Row]:
    spawn = multiprocessing.get_context("spawn")
    producer = spawn.Process(target=produce, args=(",".join(brokers), load), daemon=True)
    producer.start()
    ours = Query({}, _Ours(tuple(brokers), directory / "full.json"), _bytes)
    theirs = Query({"spark.jars": ",".join(map(str, jars))}, _Theirs(tuple(brokers)), _bytes)
    try:
        with fresh_processes(2) as pool:
            both = [started(pool, query, WARM, RUNS) for query in (ours, theirs)]
            of_ours, of_theirs = (each.result() for each in both)
    finally:
        producer.kill()
        producer.join()
    name = f"{load.rate:,} reports/s"
    for source, taken in ((f"{name}, our source", of_ours), (f"{name}, Spark's source", of_theirs)):
        yield from rows_of(source, taken)
        yield Row.of(f"{source}: read", "MB/batch", [each.figure / 1e6 for each in taken])
    totals = [[each.cpu.total for each in taken] for taken in (of_theirs, of_ours)]
    yield Row.ratio(f"{name}: Spark's source / our source", *totals)


@dataclass(frozen=True)
class _Ours:
    brokers: tuple[str, ...]
    full: Path

    def __call__(self, spark: SparkSession) -> DataStreamWriter:
        plan = shard_plan(Config.model_validate({"sessions": {"tick": f"{TICK_S}s"}}), SHARDS)
        start_s = int(time.time() // TICK_S) * TICK_S
        options = client_options(list(self.brokers), {})
        source = source_of(Feed(options, TOPIC, PARTITIONS, SHARDS, TICK_S, start_s, self.full, plan))
        spark.dataSource.register(source)
        read = spark.readStream.format(source.name()).load()
        return read.where(read["partition"] != MARK).select("shard", "frame").writeStream


@dataclass(frozen=True)
class _Theirs:
    brokers: tuple[str, ...]

    def __call__(self, spark: SparkSession) -> DataStreamWriter:
        read = spark.readStream.format("kafka").options(
            **{"kafka.bootstrap.servers": ",".join(self.brokers), "subscribe": TOPIC, "startingOffsets": "latest"}
        )
        shards = read.load().selectExpr("cast(cast(key as string) as int) as shard", "value as frame")
        return shards.writeStream.trigger(processingTime=f"{TICK_S} seconds")


def _bytes(rows: DataFrame) -> float:
    table = rows.selectExpr("shard", "length(frame) as size").groupBy("shard").sum("size").toArrow()
    return float(sum(table.column(1).to_pylist()))


def _jars() -> list[Path]:
    return sorted(kept(f"spark-sql-kafka-{CONNECTOR}", _fetch).glob("*.jar"))


def _fetch(folder: Path) -> None:
    fetch(POM, folder, f"Spark's source of Kafka {CONNECTOR}", f"-Dspark.version={CONNECTOR}")
