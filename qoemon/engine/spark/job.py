"""What runs on executors: one batch of one shard, from records to the counts of its ticks.

Spark keys the state by shard, not by session: a session's reports meet in one pipeline, whose dump is the state. So
each batch restores the pipeline, counts, and stores it again; a batch that is repeated begins with the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from qoemon.core.arrays import Floats, Ints
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.wire.codec import Codec
from qoemon.engine.spark.encoding import pack_counts, pack_state, unpack_state
from qoemon.engine.spark.garbage import settle
from qoemon.engine.spark.offsets import full_groups
from qoemon.engine.spark.records import messages_of
from qoemon.engine.spark.source import MARK
from qoemon.state.frames import StoredMessage

if TYPE_CHECKING:
    from pyspark.sql.streaming.state import GroupState

COUNTS = "shard int, tick_s bigint, counts binary, state_bytes bigint"
STATE = "pipeline binary"

Frames = Iterator[pd.DataFrame]
ShardFunction = Callable[[Any, Frames, "GroupState"], Frames]


class Rows(NamedTuple):
    """Rows of the source, as columns of the same length; one of them is the mark."""

    partition: Ints
    offset: Ints
    time_ms: Ints
    frame: Sequence[bytes]


def shard_function(plan: Plan) -> ShardFunction:
    """The function for applyInPandasWithState; plan is that of a shard."""
    codecs: list[Codec] = []

    def count(key: tuple[Any, ...], pdf_iter: Frames, state: GroupState) -> Frames:
        if not codecs:  # Made where it is used, once for all shards of a task: it learns the topics.
            codecs.append(Codec(plan))
            settle()
        stored = state.get[0] if state.exists else None
        counts, dumped = batch_of_shard(plan, _rows(pdf_iter), stored, codecs[0])
        state.update((dumped,))
        size = len(counts)
        yield pd.DataFrame(
            {
                "shard": np.full(size, int(key[0]), np.int32),
                "tick_s": np.array([tick_s for tick_s, _ in counts], np.int64),
                "counts": [packed for _, packed in counts],
                "state_bytes": np.full(size, len(dumped), np.int64),
            }
        )

    return count


def batch_of_shard(
    plan: Plan, rows: Rows, stored: bytes | None, codec: Codec | None = None
) -> tuple[list[tuple[int, bytes]], bytes]:
    """Count a batch of one shard.

    stored   the shard's state before; None if there is none
    codec    of the plan, to share what it has learnt of topics; None for one of its own
    returns  (tick, packed counts) of each tick of the batch, in order; and the state
    raises   IncompatibleStateError, EncodingError if the state cannot be continued
    """
    [mark] = np.flatnonzero(rows.partition == MARK).tolist()
    from_s, until_s = int(rows.offset[mark]), int(rows.time_ms[mark])
    pipeline = ShardPipeline(plan, codec=codec)
    if stored is not None:
        pipeline.load(unpack_state(stored))
    pipeline.freeze_groups(full_groups(rows.frame[mark]))
    order, arrival_s = _in_time(rows)
    frames = [rows.frame[place] for place in order.tolist()]
    counts, tick_s = [], plan.timing.tick_s
    ends = range(from_s + tick_s, until_s + 1, tick_s)
    cuts = np.searchsorted(arrival_s, list(ends)).tolist()
    for end_s, first, last in zip(ends, [0, *cuts], cuts, strict=False):
        if messages := _messages(frames[first:last], arrival_s[first:last].tolist()):
            pipeline.apply(messages)
        counts.append((end_s, pack_counts(sparse_counts(pipeline.tick(end_s)))))
    return counts, pack_state(pipeline.dump())


def _rows(pdf_iter: Frames) -> Rows:
    frames = list(pdf_iter)
    partition, offset, time_ms = (
        np.concatenate([frame[name].to_numpy(np.int64) for frame in frames])
        for name in ("partition", "offset", "time_ms")
    )
    return Rows(partition, offset, time_ms, [each for frame in frames for each in frame["frame"]])


def _in_time(rows: Rows) -> tuple[Ints, Floats]:
    """The order in which records are counted, and the arrival of each, seconds since the epoch."""
    order = np.lexsort((rows.offset, rows.partition, rows.time_ms))
    order = order[rows.partition[order] != MARK]
    return order, rows.time_ms[order] / 1000


def _messages(frames: Sequence[bytes], arrival_s: Sequence[float]) -> list[StoredMessage]:
    messages: list[StoredMessage] = []
    for frame, at_s in zip(frames, arrival_s, strict=True):
        messages += messages_of(frame, at_s)
    return messages
