"""The streaming query, and the passing of its batches to the event loop.

Spark calls back with each batch in a thread of its own, and takes it for done when the call returns. So the call
waits until the loop has evaluated, published and stored the ticks of the batch: whatever ends the driver before,
the batch comes again.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException

from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.engine.engine import EngineError, SetupError
from qoemon.engine.spark.encoding import unpack_counts
from qoemon.engine.spark.job import COUNTS, STATE, shard_function
from qoemon.engine.spark.session import first_line
from qoemon.engine.spark.source import ELSEWHERE, Feed, source_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery


_NO_JVM = (
    "the JVM of Spark's driver has ended; where memory is short, the kernel ends it (see dmesg). Start qoemon "
    "again: nothing is lost"
)

_PERMANENT = re.compile(r"(CheckpointError|IncompatibleStateError|EncodingError): (.*)")
"""Errors of the source, of the core and of stored states with which the query would end again."""


class StreamError(Exception):
    """The query has ended; the message says why. It can be started again."""


class BatchAbandonedError(Exception):
    """The driver stops, or the batch cannot be collected: it comes again after the next start."""


@dataclass
class Batch:
    """What a batch of the query came to.

    ticks        in order: each tick, seconds since the epoch, with the counts of each shard in the order of shards
    state_bytes  size of the stored sessions, all shards
    """

    number: int
    ticks: Sequence[tuple[int, Sequence[ShardCounts]]]
    state_bytes: int
    _done: threading.Event = field(default_factory=threading.Event)
    _kept: bool = False

    def finish(self) -> None:
        """Let Spark go on: the ticks are stored."""
        self._kept = True
        self._done.set()

    def abandon(self) -> None:
        """Let Spark make the batch again, later."""
        self._done.set()

    def wait(self) -> None:
        """Wait for the event loop. BatchAbandonedError if the batch is to come again."""
        self._done.wait()
        if not self._kept:
            raise BatchAbandonedError


class Stream:
    """Runs the query on a session of Spark.

    plan        of a shard
    checkpoint  where Spark keeps offsets and states
    """

    def __init__(self, spark: SparkSession, feed: Feed, plan: Plan, checkpoint: str) -> None:
        self._spark, self._feed, self._checkpoint = spark, feed, checkpoint
        self._lock = threading.Lock()
        self._waiting: Batch | None = None
        self._stopping = False
        try:
            self._query = self._start(plan)
        except (Py4JJavaError, PySparkException) as error:
            if spark.sparkContext._jsc.sc().isStopped():
                raise EngineError(
                    f"Spark has ended ({first_line(error)}): start qoemon again, nothing is lost"
                ) from None
            raise _start_error(error, checkpoint) from None
        except (Py4JError, OSError):
            raise EngineError(_NO_JVM) from None

    def _start(self, plan: Plan) -> StreamingQuery:
        spark, feed = self._spark, self._feed
        source = source_of(feed)
        spark.dataSource.register(source)
        counts = (
            spark.readStream.format(source.name())
            .load()
            .groupBy("shard")
            .applyInPandasWithState(shard_function(plan), COUNTS, STATE, "append", "NoTimeout")
        )
        return (
            counts.writeStream.queryName("qoemon")
            .outputMode("append")
            .option("checkpointLocation", self._checkpoint)
            .foreachBatch(self._on_batch)
            .start()
        )

    @property
    def id(self) -> str:
        """Identifies the checkpoint: it is new with a new one."""
        return str(self._query.id)

    @property
    def waiting(self) -> Batch | None:
        """The batch that waits for the event loop."""
        return self._waiting

    def look(self) -> tuple[dict[str, Any], int | None]:
        """What Spark says of the last batch, empty before the first; and the number of executors, as executors().

        raises  as check()
        """
        try:
            self.check()
            last = self._query.lastProgress
            told = {} if last is None else (last if isinstance(last, dict) else _as_dict(last))
            return told, self.executors()
        except Py4JJavaError as error:
            raise StreamError(f"Spark does not answer: {first_line(error)}") from None
        except (Py4JError, OSError):
            raise EngineError(_NO_JVM) from None

    def executors(self) -> int | None:
        """Number of executors that the cluster runs for this driver; None if the driver runs the tasks itself."""
        context = self._spark.sparkContext
        if re.match(r"local(\[|$)", str(context.master)):
            return None
        return len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1  # One of them is the driver.

    def check(self) -> None:
        """Raise if the query has ended: SetupError if it would end again, else StreamError.

        EngineError if Spark has ended, too.
        """
        if self._query.isActive:
            return
        error = self._query.exception()
        text = "it was stopped from outside" if error is None else str(error)
        if found := _PERMANENT.search(text):
            raise SetupError(f"the checkpoint {self._checkpoint} cannot be continued: {_remedied(found)}")
        if self._spark.sparkContext._jsc.sc().isStopped():
            raise EngineError(f"Spark has ended ({_cause(text)}): start qoemon again, nothing is lost")
        raise StreamError(f"the query has ended: {_cause(text)}")

    def stop(self) -> None:
        """End the query; a batch that waits comes again after the next start. Blocks."""
        with self._lock:
            self._stopping = True
            if self._waiting is not None:
                self._waiting.abandon()
        self._query.stop()

    def _on_batch(self, rows: DataFrame, number: int) -> None:
        """Runs in a thread of Spark's."""
        try:
            batch = _collected(rows, number, self._feed.shards)
        except Exception as error:  # noqa: BLE001 - whatever it is, in one line
            # Spark's own errors have the stack of the JVM as text, in which Spark would search with a regular
            # expression whose recursion overflows the stack of its thread.
            raise BatchAbandonedError(_reason(str(error))) from None
        with self._lock:
            if self._stopping:
                raise BatchAbandonedError
            self._waiting = batch
        try:
            batch.wait()
        finally:
            self._waiting = None


def counts_of(rows: Iterable[tuple[int, int, bytes]], shards: int) -> Sequence[tuple[int, Sequence[ShardCounts]]]:
    """The ticks of a batch as in Batch, from its rows (shard, tick, packed counts) in any order."""
    by_tick: dict[int, dict[int, bytes]] = defaultdict(dict)
    for shard, tick_s, counts in rows:
        by_tick[tick_s][shard] = counts
    return [
        (tick_s, [unpack_counts(packed[shard]) for shard in range(shards)])
        for tick_s, packed in sorted(by_tick.items())
    ]


def _collected(rows: DataFrame, number: int, shards: int) -> Batch:
    shard, tick_s, counts, size = (column.to_pylist() for column in rows.toArrow().columns)
    ticks = counts_of(zip(shard, tick_s, counts, strict=True), shards)
    return Batch(number, ticks, sum(dict(zip(shard, size, strict=True)).values()))


def _remedied(found: re.Match[str]) -> str:
    """The text of a permanent error, with what to do: only the source can know that."""
    text = found[2].strip()
    return text if found[1] == "CheckpointError" else f"{text}: set it back, or {ELSEWHERE}"


def _start_error(error: Exception, checkpoint: str) -> SetupError | StreamError:
    """What keeps the query from starting: the configuration, or a place that cannot be reached now."""
    text = f"cannot use the checkpoint {checkpoint}: {first_line(error)}"
    local = "://" not in checkpoint or checkpoint.startswith("file:")
    if local or "No FileSystem for scheme" in text or "ClassNotFoundException" in text:
        return SetupError(
            f"{text}; set engine.checkpoint to a place that the driver and all executors can write to"
        )
    return StreamError(text)


def _cause(text: str) -> str:
    """The line of a failed query's text that says what failed: the last error of a Python traceback, if any."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    cause = errors[-1] if errors else (lines[0] if lines else "no reason is known")
    return re.sub(r"^qoemon\.[\w.]+: ", "", cause)  # Those of our own are written for people.


def _reason(text: str) -> str:
    """The same, but of a permanent error its whole line."""
    found = _PERMANENT.search(text)
    return found[0] if found else _cause(text)


def _as_dict(progress: Any) -> dict[str, Any]:
    import json  # noqa: PLC0415

    told: dict[str, Any] = json.loads(progress.json)
    return told
