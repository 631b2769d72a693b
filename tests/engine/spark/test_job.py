"""One batch of one shard, as an executor counts it."""

from __future__ import annotations

import numpy as np

from qoemon.config.config import Config
from qoemon.config.plan import shard_plan
from qoemon.engine.spark.encoding import unpack_counts
from qoemon.engine.spark.job import Rows, batch_of_shard
from qoemon.engine.spark.source import MARK


def test_a_shard_without_records_has_every_tick_of_the_batch():
    plan = shard_plan(Config.model_validate({"sessions": {"tick": "10s"}}), 64)
    mark = Rows(np.array([MARK]), np.array([1000]), np.array([1030]), [b"{}"])
    counts, state = batch_of_shard(plan, mark, None)
    assert [tick_s for tick_s, _ in counts] == [1010, 1020, 1030]
    assert [unpack_counts(packed) is not None for _, packed in counts] == [True] * 3
    again, _ = batch_of_shard(plan, mark._replace(offset=np.array([1030]), time_ms=np.array([1040])), state)
    assert [tick_s for tick_s, _ in again] == [1040]
