"""What runs on executors: one batch of one shard, from records to the counts of its ticks.

Spark keys the state by shard, not by session: a session's reports meet in one pipeline, whose dump is the state. So
each batch restores the pipeline, counts, and stores it again; a batch that is repeated begins with the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.engine.spark.encoding import pack_counts, pack_state, unpack_state
from qoemon.engine.spark.offsets import full_groups
from qoemon.engine.spark.records import messages_of
from qoemon.engine.spark.source import MARK
from qoemon.state.frames import StoredMessage

if TYPE_CHECKING:
    from pyspark.sql.streaming.state import GroupState

COUNTS = "shard int, tick_s bigint, counts binary, state_bytes bigint"
STATE = "pipeline binary"

Rows = Iterator[pd.DataFrame]
ShardFunction = Callable[[Any, Rows, "GroupState"], Rows]


def shard_function(plan: Plan) -> ShardFunction:
    """The function for applyInPandasWithState; plan is that of a shard."""

    def count(key: tuple[Any, ...], pdf_iter: Rows, state: GroupState) -> Rows:
        rows = pd.concat(list(pdf_iter), ignore_index=True)
        stored = state.get[0] if state.exists else None
        counts, dumped = batch_of_shard(plan, rows, stored)
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


def batch_of_shard(plan: Plan, rows: pd.DataFrame, stored: bytes | None) -> tuple[list[tuple[int, bytes]], bytes]:
    """Count a batch of one shard.

    rows     as of the source, with one mark
    stored   the shard's state before; None if there is none
    returns  (tick, packed counts) of each tick of the batch, in order; and the state
    """
    partition = rows["partition"].to_numpy()
    [mark] = np.flatnonzero(partition == MARK).tolist()
    from_s, until_s = int(rows["offset"].iat[mark]), int(rows["time_ms"].iat[mark])
    pipeline = ShardPipeline(plan)
    if stored is not None:
        pipeline.load(unpack_state(stored))
    pipeline.freeze_groups(full_groups(rows["frame"].iat[mark].decode()))
    order, arrival_s = _in_time(rows, from_s, until_s)
    frames, counts = rows["frame"].to_numpy()[order], []
    tick_s = plan.timing.tick_s
    ends = range(from_s + tick_s, until_s + 1, tick_s)
    cuts = np.searchsorted(arrival_s, list(ends)).tolist()
    for end_s, first, last in zip(ends, [0, *cuts], cuts, strict=False):
        if messages := _messages(frames[first:last], arrival_s[first:last].tolist()):
            pipeline.apply(messages)
        counts.append((end_s, pack_counts(sparse_counts(pipeline.tick(end_s)))))
    return counts, pack_state(pipeline.dump())


def _in_time(rows: pd.DataFrame, from_s: int, until_s: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The order in which records are counted, and the arrival of each, seconds since the epoch.

    Kafka's time may step back where the leader of a partition changes; here it does not, and it stays in the batch.
    """
    partition, offset = rows["partition"].to_numpy(), rows["offset"].to_numpy()
    order = np.lexsort((offset, partition))
    order = order[partition[order] != MARK]
    time_ms = np.clip(rows["time_ms"].to_numpy()[order], from_s * 1000, until_s * 1000 - 1)
    starts = np.flatnonzero(np.diff(partition[order], prepend=MARK))
    for first, last in zip(starts, [*starts[1:], len(order)], strict=True):
        time_ms[first:last] = np.maximum.accumulate(time_ms[first:last])
    by_time = np.argsort(time_ms, kind="stable")
    return order[by_time], time_ms[by_time] / 1000


def _messages(frames: Sequence[bytes], arrival_s: Sequence[float]) -> list[StoredMessage]:
    return [message for frame, at_s in zip(frames, arrival_s, strict=True) for message in messages_of(frame, at_s)]
