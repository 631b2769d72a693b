"""Metrics of the journal and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.state.writer import WriterStats


def writer_metrics(stats: WriterStats) -> Iterator[Metric]:
    """Metrics of a journal writer."""
    yield GaugeMetricFamily(
        "qoemon_journal_bytes",
        "Size of the stored messages that no checkpoint covers yet.",
        value=stats.journal_bytes,
    )
    yield GaugeMetricFamily(
        "qoemon_state_writable",
        "1 while accepted messages can be stored, 0 while they cannot: messages wait at the broker.",
        value=float(stats.problem is None),
    )
    yield CounterMetricFamily("qoemon_journal_commits", "Commits of messages to the journal.", value=stats.commits)
    yield CounterMetricFamily("qoemon_state_failures", "Attempts to store that failed.", value=stats.failures)
    yield CounterMetricFamily("qoemon_checkpoints", "Checkpoints stored.", value=stats.checkpoints)
