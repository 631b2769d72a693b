"""Metrics of the receivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.outputs.notify.receiver_stats import ReceiverStats


def receiver_metrics(receivers: Sequence[ReceiverStats]) -> Iterator[Metric]:
    """How it goes with those who are told."""
    told = CounterMetricFamily("qoemon_notifications", "Notifications that were taken.", labels=("receiver",))
    failed = CounterMetricFamily(
        "qoemon_notifications_failed", "Attempts to notify that failed; most are tried again.", labels=("receiver",)
    )
    dropped = CounterMetricFamily(
        "qoemon_notifications_dropped", "Notifications that were given up.", labels=("receiver",)
    )
    queue = GaugeMetricFamily("qoemon_notification_queue", "Notifications that wait.", labels=("receiver",))
    for receiver in receivers:
        told.add_metric((receiver.name,), receiver.sent)
        failed.add_metric((receiver.name,), receiver.failed)
        dropped.add_metric((receiver.name,), receiver.dropped)
        queue.add_metric((receiver.name,), receiver.queue)
    yield from (told, failed, dropped, queue)
