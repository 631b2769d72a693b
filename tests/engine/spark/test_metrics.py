"""What Spark reports of a batch, as metrics."""

from __future__ import annotations

import math
from typing import Any

from qoemon.engine.spark.metrics import ClusterStats, cluster_metrics

Offsets = tuple[int, ...]


def progress(begin: Offsets, end: Offsets, newest: Offsets | None, rows: int = 70) -> dict[str, Any]:
    """As Spark reports it, with the source's own form of offsets."""
    each = {"startOffset": begin, "endOffset": end, "latestOffset": newest}
    cuts = {name: None if offsets is None else cut(offsets) for name, offsets in each.items()}
    return {
        "numInputRows": rows,
        "durationMs": {"triggerExecution": 2500},
        "stateOperators": [{"memoryUsedBytes": 1000}],
        "sources": [cuts],
    }


def cut(offsets: Offsets) -> dict[str, Any]:
    return {"tick_s": 20, "offsets": {str(number): offset for number, offset in enumerate(offsets)}}


BEGIN, END, NEWEST = (5, 0, 7), (9, 0, 7), (12, 1, 7)


def exported(stats: ClusterStats, tick_s: int | None = None, now_s: float = 100.0) -> dict[str, float]:
    return {
        sample.name: sample.value for metric in cluster_metrics(stats, tick_s, now_s) for sample in metric.samples
    }


def test_records_of_the_newest_batch_and_those_behind_it_are_counted_by_offsets():
    stats = ClusterStats(partitions=3)
    stats.follow(progress(BEGIN, END, NEWEST))
    told = exported(stats)
    assert told["qoemon_cluster_batch_records"] == 4
    assert told["qoemon_cluster_lag_records"] == 4
    assert told["qoemon_cluster_batch_seconds"] == 2.5
    assert told["qoemon_cluster_state_memory_bytes"] == 1000


def test_partitions_that_were_added_count_once_they_are_in_both():
    stats = ClusterStats()
    stats.follow(progress((5,), (9, 3), (9, 8)))
    assert (stats.records, stats.behind) == (4, 5)


def test_reports_between_batches_do_not_hide_the_newest_batch():
    stats = ClusterStats()
    stats.follow(progress(BEGIN, END, NEWEST))
    idle = progress(END, END, None, rows=0) | {"durationMs": {"triggerExecution": 101}, "sources": []}
    stats.follow(idle)
    stats.follow({})
    assert (stats.batch_s, stats.records, stats.behind) == (2.5, 4, 4)


def test_without_an_end_of_the_topic_nothing_is_behind():
    stats = ClusterStats()
    stats.follow(progress(BEGIN, END, None))
    assert stats.behind == 0


def test_the_lag_is_unknown_before_the_first_tick():
    assert math.isnan(exported(ClusterStats())["qoemon_cluster_lag_seconds"])
    assert exported(ClusterStats(), tick_s=88)["qoemon_cluster_lag_seconds"] == 12
