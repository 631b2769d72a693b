"""Alerts, regimes and who was told, as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.alerting.notice import ReceiverState
from qoemon.core.snapshot import Snapshot
from qoemon.core.watch import Watched


def watch_families(snapshot: Snapshot, watched: Watched) -> Iterator[Metric]:
    """What is thought of a snapshot."""
    yield from _alerts(snapshot, watched)
    yield from _regimes(snapshot, watched)


def receiver_families(receivers: Sequence[ReceiverState]) -> Iterator[Metric]:
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


def _alerts(snapshot: Snapshot, watched: Watched) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "qoemon_alert_state",
        "0 inactive, 1 uncertain, 2 pending, 3 firing; the snapshot says why.",
        labels=("service", *snapshot.labels, "alert", "severity"),
    )
    for alert in watched.alerts:
        labels = (alert.rule.service, *alert.group, alert.rule.name, alert.rule.severity)
        state.add_metric(labels, alert.decision.state)
    transitions = CounterMetricFamily(
        "qoemon_alert_transitions",
        "How often an alert came to this state for this reason.",
        labels=("alert", "service", "state", "reason"),
    )
    for (name, service, to, reason), count in watched.transitions.items():
        transitions.add_metric((name, service, to.name.lower(), reason), count)
    yield from (state, transitions)


def _regimes(snapshot: Snapshot, watched: Watched) -> Iterator[Metric]:
    names = ("service", *snapshot.labels)
    regime = GaugeMetricFamily("qoemon_pow_regime", "0 good, 1 degraded, 2 bad.", labels=names)
    changes = CounterMetricFamily(
        "qoemon_pow_regime_changes", "Changes of PoW that were established.", labels=(*names, "direction")
    )
    began = GaugeMetricFamily(
        "qoemon_pow_regime_change_timestamp_seconds", "When the last of them began, as estimated.", labels=names
    )
    for service in snapshot.services:
        told = watched.regimes.get(service.service.name)
        for group, values in enumerate(service.tally.groups[: 0 if told is None else len(told.regime)]):
            assert told is not None  # noqa: S101 - for mypy: else there are no groups
            labels = (service.service.name, *values)
            if told.known[group] and service.shown[group]:
                regime.add_metric(labels, told.regime[group])
            if not np.isnan(told.changed_s[group]):
                began.add_metric(labels, told.changed_s[group])
            for direction, count in zip(("up", "down"), told.changes[group], strict=True):
                changes.add_metric((*labels, direction), count)
    yield from (regime, changes, began)
