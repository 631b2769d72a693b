"""The streaming query, and the passing of its batches to the event loop.

Spark calls back with each batch in a thread of its own, and takes it for done when the call returns. So the call
waits until the loop has evaluated, published and stored the ticks of the batch: whatever ends the driver before,
the batch comes again.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.engine.engine import SetupError
from qoemon.engine.spark.encoding import unpack_counts
from qoemon.engine.spark.job import COUNTS, STATE, shard_function
from qoemon.engine.spark.source import Feed, source_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery


class StreamError(Exception):
    """The query has ended; the message says why. It can be started again."""


class BatchAbandonedError(Exception):
    """The driver stops: the batch comes again after the next start."""


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
        source = source_of(feed)
        spark.dataSource.register(source)
        counts = (
            spark.readStream.format(source.name())
            .load()
            .groupBy("shard")
            .applyInPandasWithState(shard_function(plan), COUNTS, STATE, "append", "NoTimeout")
        )
        self._query: StreamingQuery = (
            counts.writeStream.queryName("qoemon")
            .outputMode("append")
            .option("checkpointLocation", checkpoint)
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

    def progress(self) -> dict[str, Any]:
        """What Spark says of the last batch; empty before the first."""
        last = self._query.lastProgress
        return {} if last is None else (last if isinstance(last, dict) else _as_dict(last))

    def executors(self) -> int:
        """Number of executors that are connected; without a cluster 1, which is the driver."""
        context = self._spark.sparkContext
        known: int = context._jsc.sc().getExecutorMemoryStatus().size()
        alone = str(context.master).split("[")[0] == "local"
        return known if alone else known - 1  # The driver is one of them.

    def check(self) -> None:
        """Raise if the query has ended: SetupError if it would end again, else StreamError."""
        if self._query.isActive:
            return
        error = self._query.exception()
        text = "it was stopped from outside" if error is None else str(error)
        if found := re.search(r"SetupError: (.*)", text):
            raise SetupError(found.group(1).strip())
        raise StreamError(_cause(text))

    def stop(self) -> None:
        """End the query; a batch that waits comes again after the next start. Blocks."""
        with self._lock:
            self._stopping = True
            if self._waiting is not None:
                self._waiting.abandon()
        self._query.stop()

    def _on_batch(self, rows: DataFrame, number: int) -> None:
        """Runs in a thread of Spark's."""
        batch = _collected(rows, number, self._feed.shards)
        with self._lock:
            if self._stopping:
                raise BatchAbandonedError
            self._waiting = batch
        try:
            batch.wait()
        finally:
            self._waiting = None


def _collected(rows: DataFrame, number: int, shards: int) -> Batch:
    table = rows.toArrow()
    by_tick: dict[int, dict[int, bytes]] = defaultdict(dict)
    sizes: dict[int, int] = {}
    for shard, tick_s, counts, size in zip(*(column.to_pylist() for column in table.columns), strict=True):
        by_tick[tick_s][shard] = counts
        sizes[shard] = size
    ticks = [
        (tick_s, [unpack_counts(by_tick[tick_s][shard]) for shard in range(shards)]) for tick_s in sorted(by_tick)
    ]
    return Batch(number, ticks, sum(sizes.values()))


def _cause(text: str) -> str:
    """The line of a failed query's text that says what failed: the last error of a Python traceback, if any."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return errors[-1] if errors else (lines[0] if lines else "no reason is known")


def _as_dict(progress: Any) -> dict[str, Any]:
    import json  # noqa: PLC0415

    told: dict[str, Any] = json.loads(progress.json)
    return told
