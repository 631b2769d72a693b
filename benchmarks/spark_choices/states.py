"""The interfaces of Spark that keep a state for each key, with the shards of the engine as keys.

All have the same plan: the rows of a source that makes them itself (so Kafka costs nothing), one value for each
shard, the function of the engine, and a foreachBatch that collects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import Row as SparkRow
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle, ValueState

from benchmarks.cluster import LOADS, PARTITIONS, report, topic_of
from benchmarks.row import Row, Verdict
from benchmarks.spark_choices.measured import SHARDS, TICK_S, Query, Taken, fresh_processes, rows_of, started
from qoemon.config.config import Config
from qoemon.config.plan import shard_plan
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.partition import shard_of
from qoemon.engine.spark.job import COUNTS, STATE, Frames, Rows, batch_of_shard, shard_function
from qoemon.engine.spark.source import MARK, SCHEMA
from qoemon.state.frames import StoredMessage, encode

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, GroupedData, SparkSession
    from pyspark.sql.streaming.datasource import ReadLimit
    from pyspark.sql.streaming.readwriter import DataStreamWriter
    from pyspark.sql.types import StructType

WARM, RUNS = (1, 2) if os.environ.get("QUICK") else (5, 15)
BEGIN_S = 1_700_000_000
RECORDS = 10
"""Records of a shard a second."""
LOAD = LOADS[0]._replace(sessions=200_000)
"""Gives a state of some 45 kB for each shard."""
PLAN = shard_plan(Config.model_validate({"sessions": {"tick": f"{TICK_S}s"}}), SHARDS)

HDFS, ROCKSDB = "HDFSBacked", "RocksDB"
_STORE = "spark.sql.streaming.stateStore"
_OPTIONS = {
    HDFS: dict[str, str](),
    ROCKSDB: {
        f"{_STORE}.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
        # A snapshot with each batch would be dearer, and so is the count of keys, which nobody needs.
        f"{_STORE}.rocksdb.changelogCheckpointing.enabled": "true",
        f"{_STORE}.rocksdb.trackTotalNumberOfRows": "false",
    },
}


class Case(NamedTuple):
    """An interface, the store that its states are in, and the tasks among which the shards are divided."""

    interface: str
    store: str
    tasks: int

    @property
    def name(self) -> str:
        """Of its rows."""
        return f"{self.interface}, {self.store}, {self.tasks} tasks"


PRESENT, IN_PANDAS, IN_ROWS = "applyInPandasWithState", "transformWithStateInPandas", "transformWithState"
CASES = (
    *(
        Case(interface, store, tasks)
        for tasks in (16, 2)
        for interface, store in ((PRESENT, HDFS), (IN_PANDAS, ROCKSDB), (IN_ROWS, ROCKSDB))
    ),
    Case(PRESENT, ROCKSDB, 16),
)
"""The newer interfaces take no other store; the last tells what the store alone does."""


def rows() -> Iterator[Row]:
    """The rows of all interfaces."""
    taken: dict[Case, list[Taken]] = {}
    for case in CASES:
        if case.interface != PRESENT and (missing := _missing()):
            yield Row(case.name, "s/batch", problem=Verdict.NOT_MEASURABLE, reason=missing)
            continue
        query = Query(
            {"spark.sql.shuffle.partitions": str(case.tasks), **_OPTIONS[case.store]}, Made(case), state_bytes
        )
        with fresh_processes(1) as pool:
            taken[case] = started(pool, query, WARM, RUNS).result()
        yield from rows_of(case.name, taken[case])
        yield Row.of(f"{case.name}: state of a shard", "bytes", [each.figure for each in taken[case]])
        present = taken[Case(PRESENT, HDFS, case.tasks)]
        if taken[case] is not present:
            ours, theirs = ([each.cpu.total for each in some] for some in (taken[case], present))
            yield Row.ratio(f"{case.name} / {PRESENT}, {HDFS}", ours, theirs)


def _missing() -> str:
    parts = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos"}
    missing = [package for module, package in parts.items() if not _found(module)]
    return f"it needs what PySpark does not declare: pip install {' '.join(missing)}" if missing else ""


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def state_bytes(rows: DataFrame) -> float:
    table = rows.toArrow()
    return float(np.mean(table.column("state_bytes").to_numpy())) if table.num_rows else 0.0


@dataclass(frozen=True)
class Made:
    """Makes the query of a case."""

    case: Case

    def __call__(self, spark: SparkSession) -> DataStreamWriter:
        spark.dataSource.register(MadeSource)
        shards = spark.readStream.format(MadeSource.name()).load().groupBy("shard")
        return _counts(shards, self.case.interface).writeStream.outputMode("append")


def _counts(shards: GroupedData, interface: str) -> DataFrame:
    if interface == PRESENT:
        return shards.applyInPandasWithState(shard_function(PLAN), COUNTS, STATE, "append", "NoTimeout")
    if interface == IN_PANDAS:
        return shards.transformWithStateInPandas(PandasProcessor(), COUNTS, "append", "None")
    return shards.transformWithState(RowProcessor(), COUNTS, "append", "None")


class _Processor(StatefulProcessor):
    """One value for each shard."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = handle.getValueState("shard", STATE)

    def close(self) -> None:
        pass


class PandasProcessor(_Processor):
    """The function of the engine as it is, with the state of the newer interface."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        super().init(handle)
        self._function = shard_function(PLAN)

    def handleInputRows(self, key: Any, rows: Frames, timerValues: Any) -> Frames:  # noqa: N802, N803
        return self._function(key, rows, _GroupState(self._state))


class _GroupState:
    """A value as the older interface has it; it is read once."""

    def __init__(self, state: ValueState) -> None:
        self._value, self.update = state.get(), state.update

    @property
    def exists(self) -> bool:
        return self._value is not None

    @property
    def get(self) -> Any:
        return self._value


class RowProcessor(_Processor):
    """The batch of the engine, from rows."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        super().init(handle)
        self._codec = Codec(PLAN)

    def handleInputRows(  # noqa: N802 - Spark's interface
        self,
        key: Any,
        rows: Iterator[SparkRow],
        timerValues: Any,  # noqa: N803
    ) -> Iterator[SparkRow]:
        shard, partition, offset, time_ms, frame = zip(*rows, strict=True)
        columns = Rows(
            np.array(partition, np.int64), np.array(offset, np.int64), np.array(time_ms, np.int64), frame
        )
        stored = self._state.get()
        counts, dumped = batch_of_shard(PLAN, columns, None if stored is None else stored[0], self._codec)
        self._state.update((dumped,))
        for tick_s, packed in counts:
            yield SparkRow(shard=int(shard[0]), tick_s=tick_s, counts=packed, state_bytes=len(dumped))


@dataclass
class _Part(InputPartition):
    number: int
    tick: int


class MadeSource(DataSource):
    """Rows as the source of the engine reads them, one tick a batch, always the same, made where they are read."""

    @classmethod
    def name(cls) -> str:
        return "made"

    def schema(self) -> str:
        return SCHEMA

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802
        return MadeReader()


class MadeReader(DataSourceStreamReader):
    """A tick is always due."""

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's interface
        return {"tick": 0}

    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        return {"tick": start["tick"] + 1}

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        return [_Part(number, start["tick"]) for number in range(PARTITIONS)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, _Part), "see partitions()"
        for shard in range(partition.number, SHARDS, PARTITIONS):
            yield _rows(shard, partition.number, partition.tick)


def _rows(shard: int, number: int, tick: int) -> pa.RecordBatch:
    from_s, records = BEGIN_S + tick * TICK_S, TICK_S * RECORDS
    first = tick * records
    frames = [_frame(shard, first + place) for place in range(records)]
    offsets = [first + place for place in range(records)]
    times_ms = [from_s * 1000 + place * 1000 // RECORDS for place in range(records)]
    return pa.record_batch(
        [
            pa.array([shard] * (records + 1), pa.int32()),
            pa.array([MARK] + [number] * records, pa.int32()),
            pa.array([from_s, *offsets], pa.int64()),
            pa.array([from_s + TICK_S, *times_ms], pa.int64()),
            pa.array([b"{}", *frames], pa.binary()),
        ],
        names=["shard", "partition", "offset", "time_ms", "frame"],
    )


def _frame(shard: int, record: int) -> bytes:
    sessions, some = _sessions()[shard], LOAD.rate // RECORDS // SHARDS
    first = record * some % (len(sessions) - some)
    by_topic: dict[str, list[bytes]] = {}
    for session in sessions[first : first + some]:
        by_topic.setdefault(topic_of(session), []).append(report(session, record // RECORDS + 1))
    return encode([StoredMessage(topic, b"[" + b",".join(told) + b"]", 0.0) for topic, told in by_topic.items()])


@cache
def _sessions() -> list[list[int]]:
    of_shard: list[list[int]] = [[] for _ in range(SHARDS)]
    for session in range(LOAD.sessions):
        of_shard[shard_of(f"v{session}", SHARDS)].append(session)
    return of_shard
