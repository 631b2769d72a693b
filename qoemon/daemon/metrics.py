"""Metrics of the tick loop, of reloads and of the version; and the list of all own metrics of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import qoemon
from qoemon.engine.metrics import engine_metrics
from qoemon.engine.spark.metrics import ClusterStats, cluster_metrics
from qoemon.engine.stats import EngineStats
from qoemon.inputs.stats import CollectorStats, MqttStats
from qoemon.net.http.stats import HttpStats, http_metrics
from qoemon.outputs.notify.metrics import receiver_metrics
from qoemon.outputs.pair.metrics import PairStats, pair_metrics
from qoemon.state.kept_history import HistoryStats
from qoemon.state.metrics import disk_metrics, history_metrics


@dataclass
class LoopStats:
    """Statistics of the tick loop. Totals count since the start.

    loop_lag_s     longest delay of the event loop since the last tick, seconds
    loop_tasks     tasks of the event loop at the last tick
    tick_lag_s     delay of the last tick's beginning, seconds
    ticks_skipped  ticks that were not made
    clock_steps    steps of the wall clock by a tick or more
    """

    loop_lag_s: float = 0.0
    loop_tasks: int = 0
    tick_lag_s: float = 0.0
    ticks_skipped: int = 0
    clock_steps: int = 0


def loop_metrics(stats: LoopStats) -> Iterator[Metric]:
    """Metrics of the tick loop."""
    yield GaugeMetricFamily(
        "qoemon_event_loop_lag_seconds",
        "Longest delay of the event loop since the last tick.",
        value=stats.loop_lag_s,
    )
    yield GaugeMetricFamily(
        "qoemon_event_loop_tasks",
        "Tasks of the event loop: those of the daemon, and one for each connection to its HTTP server.",
        value=stats.loop_tasks,
    )
    yield GaugeMetricFamily(
        "qoemon_tick_lag_seconds", "Delay of the beginning of this tick.", value=stats.tick_lag_s
    )
    yield CounterMetricFamily(
        "qoemon_clock_steps", "Times that the wall clock was set by a tick or more.", value=stats.clock_steps
    )
    yield CounterMetricFamily(
        "qoemon_tick_skipped",
        "Ticks skipped because an earlier one took too long.",
        value=stats.ticks_skipped,
    )


def reload_metrics(*, successful: bool) -> Iterator[Metric]:
    """Metrics of the configuration's reload."""
    yield GaugeMetricFamily(
        "qoemon_config_last_reload_successful", "Whether the last reload succeeded.", value=float(successful)
    )


def memory_metrics(limit: int | None) -> Iterator[Metric]:
    """Metrics of the memory limit; none without one."""
    if limit is not None:
        yield GaugeMetricFamily(
            "qoemon_memory_limit_bytes",
            "Memory limit of the daemon and its workers together, by its unit or container.",
            value=limit,
        )


def build_metrics() -> Iterator[Metric]:
    """Metrics of the version."""
    build = GaugeMetricFamily("qoemon_build_info", "1, with the version that runs.", labels=("version",))
    build.add_metric((qoemon.__version__,), 1)
    yield build


def initial_metrics() -> list[Metric]:
    """Own metrics of a daemon that has just been started, with all families: for documentation and tests."""
    return [
        *build_metrics(),
        *loop_metrics(LoopStats()),
        *reload_metrics(successful=True),
        *engine_metrics(_all_inputs(), {}, (), 0.0),
        *cluster_metrics(ClusterStats(), None, 0.0),
        *history_metrics(HistoryStats()),
        *disk_metrics(Path("/")),
        *memory_metrics(0),
        *http_metrics(HttpStats()),
        *receiver_metrics(()),
        *pair_metrics(PairStats(leading=False, peer_up=False, online=False, takeovers=0)),
    ]


def _all_inputs() -> EngineStats:
    mqtt = MqttStats(session_expiry_s=0, granted_qos=0, last_message_s=0.0)
    return EngineStats(mqtt, CollectorStats(last_request_s=0.0))
