"""Metrics of an engine: its inputs, inbox and store, rejected reports, and its workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.core.wire.report import Reject
from qoemon.engine.stats import EngineStats, WorkerStats
from qoemon.inputs.metrics import collector_metrics, inbox_metrics, mqtt_metrics
from qoemon.state.metrics import writer_metrics


def engine_metrics(
    stats: EngineStats, rejected: Mapping[Reject, int], workers: Sequence[WorkerStats], now_s: float
) -> Iterator[Metric]:
    """All metrics at now_s, seconds since the epoch; with a sample for every reason of a reject."""
    family = CounterMetricFamily(
        "qoemon_reports_rejected", "Reports that could not be accepted.", labels=("reason",)
    )
    for reason in Reject:
        family.add_metric((reason,), rejected.get(reason, 0))
    yield family
    # Of an input that is not configured there is no metric: 0 would say that it is broken.
    if stats.mqtt is not None:
        yield from mqtt_metrics(stats.mqtt, now_s)
    if stats.collector is not None:
        yield from collector_metrics(stats.collector, now_s)
    yield from inbox_metrics(stats.inbox_messages, stats.inbox_bytes, stats.dropped, stats.withheld)
    yield from writer_metrics(stats.writer)
    yield from worker_metrics(workers)


def worker_metrics(workers: Sequence[WorkerStats]) -> Iterator[Metric]:
    """Metrics of the workers, a sample per worker; without workers the families are empty."""
    up = GaugeMetricFamily(
        "qoemon_worker_up", "Whether the worker runs, has its sessions, and responds.", labels=("worker",)
    )
    memory = GaugeMetricFamily("qoemon_worker_memory_bytes", "Resident memory of the worker.", labels=("worker",))
    restarts = CounterMetricFamily(
        "qoemon_worker_restarts", "How often the worker ended and was started again.", labels=("worker",)
    )
    cpu = CounterMetricFamily("qoemon_worker_cpu_seconds", "CPU time of the worker.", labels=("worker",))
    reports = CounterMetricFamily("qoemon_worker_reports", "Reports that the worker accepted.", labels=("worker",))
    for number, worker in enumerate(workers):
        of = (str(number),)
        up.add_metric(of, worker.up)
        memory.add_metric(of, worker.memory)
        restarts.add_metric(of, worker.restarts)
        cpu.add_metric(of, worker.cpu_s)
        reports.add_metric(of, worker.reports)
    yield from (up, memory, restarts, cpu, reports)
