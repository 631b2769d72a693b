"""Metrics of the journal, its checkpoints, and the history."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.state.kept_history import HistoryStats
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
        "1 while accepted messages can be stored, 0 while they cannot: messages wait at the broker, and "
        "requests to the collector are not answered.",
        value=float(stats.problem is None),
    )
    yield CounterMetricFamily("qoemon_journal_commits", "Commits of messages to the journal.", value=stats.commits)
    yield CounterMetricFamily("qoemon_state_failures", "Attempts to store that failed.", value=stats.failures)
    yield CounterMetricFamily("qoemon_checkpoints", "Checkpoints stored.", value=stats.checkpoints)


def disk_metrics(directory: Path | None) -> Iterator[Metric]:
    """Metrics of the disk of the state directory; none without one, or while it cannot be read."""
    with contextlib.suppress(OSError):
        if directory is not None:
            disk = os.statvfs(directory)
            yield GaugeMetricFamily(
                "qoemon_state_free_bytes",
                "Free space for the daemon on the disk of the state directory.",
                value=disk.f_bavail * disk.f_frsize,
            )


def history_metrics(stats: HistoryStats) -> Iterator[Metric]:
    """Metrics of the history."""
    yield GaugeMetricFamily(
        "qoemon_history_bytes",
        "Size of the history: of its files in the state directory, or in memory.",
        value=stats.bytes,
    )
    yield CounterMetricFamily(
        "qoemon_history_intervals",
        "Rating intervals written to the history, one for each service.",
        value=stats.intervals,
    )
    yield CounterMetricFamily(
        "qoemon_history_failures", "Attempts to write to the history that failed.", value=stats.failures
    )
    yield CounterMetricFamily(
        "qoemon_history_intervals_lost",
        "Rating intervals missing in the history, since writing failed for too long.",
        value=stats.lost,
    )
