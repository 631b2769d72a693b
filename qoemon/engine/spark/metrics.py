"""Metrics of the cluster: batches, lag and state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass
class ClusterStats:
    """Statistics of the query. Totals count since the start.

    partitions    of the topic
    batch         number of the newest evaluated batch; None before
    batches       evaluated and stored
    ticks         evaluated
    batch_s       duration of the last batch, seconds
    records       of Kafka, in the last batch
    behind        records that were in the topic after the last batch, when it was planned
    state_bytes   stored sessions, all shards, compressed
    memory_bytes  what Spark holds of them in memory
    restarts      of the query, after a failure
    executors     that the cluster runs; None if it is not known, or there are none beside the driver
    """

    shards: int = 0
    partitions: int = 0
    batch: int | None = None
    batches: int = 0
    ticks: int = 0
    batch_s: float = 0.0
    records: int = 0
    behind: int = 0
    state_bytes: int = 0
    memory_bytes: int = 0
    restarts: int = 0
    executors: int | None = None

    def observe(self, batch: int, state_bytes: int) -> None:
        """A batch has been evaluated and stored."""
        self.batch, self.state_bytes = batch, state_bytes
        self.batches += 1

    def follow(self, progress: Mapping[str, Any]) -> None:
        """Take over what Spark reports of its last batch; between batches it reports times without rows."""
        if not progress.get("numInputRows"):
            return
        self.batch_s = progress.get("durationMs", {}).get("triggerExecution", 0) / 1000
        self.memory_bytes = sum(each.get("memoryUsedBytes", 0) for each in progress.get("stateOperators", ()))
        [source] = progress["sources"]
        begin, end, newest = (_offsets(source.get(f"{name}Offset")) for name in ("start", "end", "latest"))
        self.records = _between(begin, end)
        self.behind = _between(end, newest)

    def text(self) -> str:
        """Executors and the last batch, for people."""
        executors = "" if self.executors is None else f"{self.executors} executors, "
        if self.batch is None:
            return f"{executors}no batch has ended yet"
        return f"{executors}batch {self.batch} took {self.batch_s:.1f} s"


def cluster_metrics(stats: ClusterStats, tick_s: int | None, now_s: float) -> Iterator[Metric]:
    """All metrics at now_s; tick_s is the newest tick, seconds since the epoch."""
    yield GaugeMetricFamily(
        "qoemon_cluster_lag_seconds",
        "Time since the newest tick that came from the cluster; of a cluster that keeps up, less than two ticks.",
        value=float("nan") if tick_s is None else max(now_s - tick_s, 0.0),
    )
    yield GaugeMetricFamily(
        "qoemon_cluster_lag_records",
        "Records of Kafka that were left for later batches when the newest batch was planned.",
        value=stats.behind,
    )
    yield CounterMetricFamily("qoemon_cluster_batches", "Batches that were evaluated.", value=stats.batches)
    yield CounterMetricFamily(
        "qoemon_cluster_ticks", "Ticks that were evaluated; a tick that comes again is not.", value=stats.ticks
    )
    yield GaugeMetricFamily(
        "qoemon_cluster_batch_seconds",
        "Duration of the newest batch, from its plan to its end.",
        value=stats.batch_s,
    )
    yield GaugeMetricFamily(
        "qoemon_cluster_batch_records", "Records of Kafka in the newest batch.", value=stats.records
    )
    yield GaugeMetricFamily(
        "qoemon_cluster_state_bytes",
        "Sessions in the checkpoint, compressed, of all shards.",
        value=stats.state_bytes,
    )
    yield GaugeMetricFamily(
        "qoemon_cluster_state_memory_bytes", "Memory that Spark uses for them.", value=stats.memory_bytes
    )
    yield GaugeMetricFamily("qoemon_cluster_shards", "Parts of the sessions.", value=stats.shards)
    yield GaugeMetricFamily("qoemon_cluster_partitions", "Partitions of the topic.", value=stats.partitions)
    yield GaugeMetricFamily(
        "qoemon_cluster_executors",
        "Executors that the cluster runs; NaN while that is not known, and with local[*], where there are none.",
        value=float("nan") if stats.executors is None else stats.executors,
    )
    yield CounterMetricFamily(
        "qoemon_cluster_query_restarts", "How often the query failed and was started again.", value=stats.restarts
    )


def _offsets(cut: str | Mapping[str, Any] | None) -> Mapping[str, int]:
    """By partition, the offset of a Cut as Spark reports it; nothing if it is not known."""
    told = json.loads(cut) if isinstance(cut, str) else cut
    return {} if told is None else told["offsets"]


def _between(begin: Mapping[str, int], end: Mapping[str, int]) -> int:
    """Number of records; of partitions that are in both."""
    return sum(max(end[each] - begin[each], 0) for each in begin.keys() & end.keys())
