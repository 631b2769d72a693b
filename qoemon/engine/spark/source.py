"""The source of the stream: reads the topic in batches that end on ticks.

Spark's own source of Kafka cannot end a batch at a time, and its watermark is that of the fastest partition. Here
a batch ends at the offsets that each partition had at a tick, once the tick and a grace have passed; a partition
without records does not hold it up. Spark pickles what is in this file, and runs it on the driver (offsets) and on
executors (reading).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.partition import Partitioner
from qoemon.engine.spark.garbage import settle
from qoemon.engine.spark.offsets import Cut, at_least
from qoemon.engine.spark.records import Divider
from qoemon.net.kafka.client import Options
from qoemon.net.kafka.reader import AnswerError, GoneError, Reader, Record

if TYPE_CHECKING:
    from pyspark.sql.streaming.datasource import ReadLimit
    from pyspark.sql.types import StructType

GRACE_S = 0.5
"""How long after a tick its records may still be on their way to their time stamp."""

LOOK_S = 0.1
"""How often the source looks whether a tick is due."""

MOST_TICKS = 30
"""Ticks in one batch, while the stream catches up."""

LATER_S = 2**33
"""A time that no record has, seconds since the epoch: offsets at it are the ends of partitions."""

MARK = -1
"""Instead of a partition: the row tells a shard from when to when the batch is."""

ELSEWHERE = "set another engine.checkpoint: sessions begin from scratch there, windows, totals and alerts continue"
"""What to do about a checkpoint that cannot be continued."""

SCHEMA = "shard int, partition int, offset bigint, time_ms bigint, frame binary"
_ROWS = 500


class CheckpointError(Exception):
    """The checkpoint cannot be continued, now or later; the message says why, and what to do. It is one line."""


class KafkaUnavailableError(Exception):
    """Kafka does not answer; it may later."""


@dataclass(frozen=True)
class Feed:
    """What the source reads, and how it divides it.

    options  of the client of Kafka
    start_s  where a new checkpoint begins, a tick in seconds since the epoch
    readers  tasks that read at a time, at most
    full     file with the groups that are full, as Cut.full; the driver writes it
    """

    options: Options
    topic: str
    partitions: int
    shards: int
    tick_s: int
    start_s: int
    readers: int
    full: Path
    plan: Plan


@dataclass
class Part(InputPartition):
    """The records of some partitions in a batch, and the marks of some shards.

    number, parts   which of how many it is
    spans           partition, and its first offset in this batch and in the next
    from_s, until_s the ticks before and at the end of the batch
    """

    number: int
    parts: int
    spans: tuple[tuple[int, int, int], ...]
    from_s: int
    until_s: int
    full: str


class Source(DataSource):
    """The reports of a topic, as a source of Spark."""

    feed: Feed

    @classmethod
    def name(cls) -> str:
        """How the source is asked for."""
        return "qoemon"

    def schema(self) -> str:
        """Its columns, in the words of SQL."""
        return SCHEMA

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802 - Spark's interface
        """What reads it."""
        return ReportReader(self.feed)


class ReportReader(DataSourceStreamReader):
    """Ends batches on ticks, and reads them."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._ends: Cut | None = None
        """The ends of the partitions when the newest batch was planned."""

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's interface
        """Where a new checkpoint begins."""
        return self._cut(self._feed.start_s, "{}").stored()

    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        """The end of the next batch: the newest tick that has passed; `start` if there is none."""
        begin, tick_s = self._continued(start), self._feed.tick_s
        due_s = time.time() - GRACE_S
        until_s = min(int(due_s // tick_s) * tick_s, begin.tick_s + MOST_TICKS * tick_s)
        if until_s <= begin.tick_s:
            time.sleep(min(LOOK_S, max(begin.tick_s + tick_s - due_s, 0.01)))
            return start
        cut = self._cut(until_s, self._full())
        self._ends = self._cut(LATER_S, "{}")
        # Time stamps may step back, offsets may not.
        offsets = tuple(map(max, cut.offsets, begin.offsets))
        for number, (here, before) in enumerate(zip(cut.offsets, begin.offsets, strict=True)):
            if here < before:
                self._require(number, before)
        return replace(cut, offsets=offsets).stored()

    def reportLatestOffset(self) -> dict[str, Any] | None:  # noqa: N802 - Spark's interface
        """Where the topic ended when the newest batch was planned: for Spark's statistics only."""
        return None if self._ends is None else self._ends.stored()

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        """A task for each reader: each has a cost of its own, whatever it reads."""
        begin, until = self._continued(start), self._continued(end)
        numbers = range(len(until.offsets))
        spans = list(zip(numbers, begin.offsets, until.offsets, strict=True))
        parts = min(self._feed.readers, len(spans))
        return [
            Part(number, parts, tuple(spans[number::parts]), begin.tick_s, until.tick_s, until.full)
            for number in range(parts)
        ]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The rows of a task, in the order of offsets, after a mark for each of its shards."""
        assert isinstance(partition, Part), "see partitions()"  # noqa: S101 - for the type checker
        return _rows(self._feed, partition)

    def _cut(self, tick_s: int, full: str) -> Cut:
        feed = self._feed
        try:
            offsets = _reader(feed).offsets_at(tick_s, feed.partitions)
        except AnswerError as error:
            raise self._unavailable(error) from None
        return Cut(tick_s, tuple(offsets), feed.shards, feed.tick_s, full)

    def _continued(self, stored: dict[str, Any]) -> Cut:
        """A cut of the checkpoint, which partitions may have joined since; CheckpointError if of another plan."""
        cut, feed = Cut.restored(stored), self._feed
        if cut.shards != feed.shards:
            raise CheckpointError(
                f"it divides the sessions among {cut.shards} shards, and engine.shards is {feed.shards}: set it "
                "back, or set another engine.checkpoint and run `qoemon rescale`"
            )
        if cut.every_s != feed.tick_s:
            raise CheckpointError(
                f"it has a tick every {cut.every_s} s, and sessions.tick is {feed.tick_s} s: set it back, or "
                f"{ELSEWHERE}"
            )
        if len(cut.offsets) > feed.partitions:
            raise CheckpointError(
                f"it knows {len(cut.offsets)} partitions of topic {feed.topic}, which has {feed.partitions}: was "
                f"the topic created again? If so, {ELSEWHERE}"
            )
        return replace(cut, offsets=at_least(cut.offsets, feed.partitions))

    def _require(self, number: int, offset: int) -> None:
        """CheckpointError if a partition ends before an offset that was reached."""
        try:
            _, end = _reader(self._feed).ends(number)
        except AnswerError as error:
            raise self._unavailable(error) from None
        if end < offset:
            raise CheckpointError(
                f"it has read partition {number} of topic {self._feed.topic} up to offset {offset}, and that ends "
                f"at {end}: was the topic created again? If so, {ELSEWHERE}"
            )

    def _unavailable(self, error: AnswerError) -> KafkaUnavailableError:
        brokers = self._feed.options["bootstrap.servers"]
        return KafkaUnavailableError(f"Kafka at {brokers} does not answer for topic {self._feed.topic}: {error}")

    def _full(self) -> str:
        try:
            return self._feed.full.read_text("utf-8")
        except FileNotFoundError:
            return "{}"


def source_of(feed: Feed) -> type[DataSource]:
    """The source of this feed. Settings are in the class, not in Spark's options, which Spark shows and logs."""
    return type("FeedSource", (Source,), {"feed": feed})


_READERS: dict[str, Reader] = {}
"""Clients of this process, which Spark keeps for further tasks: a new one would connect anew for each batch."""


def _reader(feed: Feed) -> Reader:
    key = repr((sorted(feed.options.items()), feed.topic))
    if key not in _READERS:
        _READERS[key] = Reader(feed.options, feed.topic)
    return _READERS[key]


def _rows(feed: Feed, part: Part) -> Iterator[pa.RecordBatch]:
    settle()
    marked = range(part.number, feed.shards, part.parts)
    rows: list[tuple[int, int, int, int, bytes]] = [
        (shard, MARK, part.from_s, part.until_s, part.full.encode()) for shard in marked
    ]
    divider = Divider(feed.shards, Partitioner(feed.shards, feed.plan))
    for partition, begin, end in part.spans:
        for record, time_ms in _timed(_records(feed, partition, begin, end), part):
            for shard, frame in divider.parts(record):
                rows.append((shard, partition, record.offset, time_ms, frame))
            if len(rows) >= _ROWS:
                yield _batch(rows)
                rows = []
    if rows:
        yield _batch(rows)


def _records(feed: Feed, partition: int, begin: int, end: int) -> Iterator[Record]:
    try:
        yield from _reader(feed).read(partition, begin, end)
    except GoneError as error:
        raise CheckpointError(
            "it continues where the topic has nothing any more, by its retention.ms or retention.bytes, or because "
            f"it was created again ({error}): {ELSEWHERE}"
        ) from None


def _timed(records: Iterable[Record], part: Part) -> Iterator[tuple[Record, int]]:
    """The records of one partition with their times in this batch, milliseconds since the epoch.

    Kafka's time may step back where the leader of a partition changes; here it does not, so that a record belongs
    to the same tick wherever batches end.
    """
    time_ms, last_ms = part.from_s * 1000, part.until_s * 1000 - 1
    for record in records:
        time_ms = min(max(time_ms, record.time_ms), last_ms)
        yield record, time_ms


def _batch(rows: list[tuple[int, int, int, int, bytes]]) -> pa.RecordBatch:
    shard, partition, offset, time_ms, frame = zip(*rows, strict=True)
    return pa.record_batch(
        [
            pa.array(shard, pa.int32()),
            pa.array(partition, pa.int32()),
            pa.array(offset, pa.int64()),
            pa.array(time_ms, pa.int64()),
            pa.array(frame, pa.binary()),
        ],
        names=["shard", "partition", "offset", "time_ms", "frame"],
    )
