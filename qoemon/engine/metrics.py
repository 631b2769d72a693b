"""How the workers fare, and the same as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.engine.stats import WorkerStats


def worker_metrics(workers: Sequence[WorkerStats]) -> Iterator[Metric]:
    """A sample each; without workers the families are empty."""
    up = GaugeMetricFamily(
        "qoemon_worker_up", "Whether the worker runs, has its sessions, and answers.", labels=("worker",)
    )
    memory = GaugeMetricFamily("qoemon_worker_memory_bytes", "Resident memory of the worker.", labels=("worker",))
    restarts = CounterMetricFamily(
        "qoemon_worker_restarts", "How often the worker ended and was started again.", labels=("worker",)
    )
    cpu = CounterMetricFamily("qoemon_worker_cpu_seconds", "CPU time of the worker.", labels=("worker",))
    reports = CounterMetricFamily(
        "qoemon_worker_reports", "Reports that the worker has taken in.", labels=("worker",)
    )
    for number, worker in enumerate(workers):
        of = (str(number),)
        up.add_metric(of, worker.up)
        memory.add_metric(of, worker.memory)
        restarts.add_metric(of, worker.restarts)
        cpu.add_metric(of, worker.cpu_s)
        reports.add_metric(of, worker.reports)
    yield from (up, memory, restarts, cpu, reports)
