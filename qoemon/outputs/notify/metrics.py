"""Metrics of the receivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.outputs.notify.receiver_stats import ReceiverStats


def receiver_metrics(receivers: Sequence[ReceiverStats]) -> Iterator[Metric]:
    """Metrics of notification delivery, a sample per receiver."""
    sent = CounterMetricFamily(
        "qoemon_notifications", "Notifications accepted by the receiver.", labels=("receiver",)
    )
    failed = CounterMetricFamily(
        "qoemon_notifications_failed", "Failed attempts to deliver; most are retried.", labels=("receiver",)
    )
    dropped = CounterMetricFamily(
        "qoemon_notifications_dropped", "Notifications discarded without delivery.", labels=("receiver",)
    )
    queue = GaugeMetricFamily(
        "qoemon_notification_queue", "Notifications waiting for delivery.", labels=("receiver",)
    )
    for receiver in receivers:
        sent.add_metric((receiver.name,), receiver.sent)
        failed.add_metric((receiver.name,), receiver.failed)
        dropped.add_metric((receiver.name,), receiver.dropped)
        queue.add_metric((receiver.name,), receiver.queue)
    yield from (sent, failed, dropped, queue)
