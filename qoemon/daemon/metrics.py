"""Metrics of the daemon itself, and all its own metrics together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import qoemon
from qoemon.engine.metrics import engine_metrics
from qoemon.engine.stats import EngineStats
from qoemon.inputs.stats import MqttStats
from qoemon.net.http.stats import HttpStats, http_metrics
from qoemon.outputs.notify.metrics import receiver_metrics


@dataclass
class LoopStats:
    """What the tick loop notes about itself. Totals count since the start.

    loop_lag_s  longest delay of the event loop since the last tick
    tick_lag_s  how late after its time the last tick began
    """

    loop_lag_s: float = 0.0
    tick_lag_s: float = 0.0
    ticks_skipped: int = 0
    clock_steps: int = 0


def loop_metrics(stats: LoopStats) -> Iterator[Metric]:
    """The tick loop."""
    yield GaugeMetricFamily(
        "qoemon_event_loop_lag_seconds",
        "Longest delay of the event loop since the last tick.",
        value=stats.loop_lag_s,
    )
    yield GaugeMetricFamily(
        "qoemon_tick_lag_seconds", "How late after its time this tick began.", value=stats.tick_lag_s
    )
    yield CounterMetricFamily(
        "qoemon_clock_steps", "Times that the wall clock was set by a tick or more.", value=stats.clock_steps
    )
    yield CounterMetricFamily(
        "qoemon_tick_skipped",
        "Ticks that were left out because one before took too long.",
        value=stats.ticks_skipped,
    )


def reload_metrics(*, successful: bool) -> Iterator[Metric]:
    """The reload of the configuration."""
    yield GaugeMetricFamily(
        "qoemon_config_last_reload_successful", "Whether the last reload succeeded.", value=float(successful)
    )


def build_metrics() -> Iterator[Metric]:
    """The version."""
    build = GaugeMetricFamily("qoemon_build_info", "1, with the version that runs.", labels=("version",))
    build.add_metric((qoemon.__version__,), 1)
    yield build


def initial_metrics() -> list[Metric]:
    """Own metrics of a daemon that has just been started: all families, for documentation and tests."""
    return [
        *build_metrics(),
        *loop_metrics(LoopStats()),
        *reload_metrics(successful=True),
        *engine_metrics(EngineStats(MqttStats(last_message_s=0.0)), {}, (), 0.0),
        *http_metrics(HttpStats()),
        *receiver_metrics(()),
    ]
