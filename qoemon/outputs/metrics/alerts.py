"""Alerts and regimes as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from prometheus_client.core import CounterMetricFamily, Metric

from qoemon.core.alerting.detector import Detections
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.metrics.qoe import group_rows, of_groups
from qoemon.outputs.metrics.text_format import Family, LabelTexts, by_label


def detection_families(
    snapshot: Snapshot, detections: Detections, texts: LabelTexts | None = None
) -> Iterator[Family | Metric]:
    """The families of alerts and regimes; texts as in qoe_families()."""
    texts = texts or LabelTexts()
    yield from _alerts(snapshot, detections, texts)
    yield from _regimes(snapshot, detections, texts)


def _alerts(snapshot: Snapshot, detections: Detections, texts: LabelTexts) -> Iterator[Family | Metric]:
    state = Family(
        "qoemon_alert_state",
        "0 inactive, 1 uncertain, 2 pending, 3 firing; /api/v1/snapshot has the reason.",
        "gauge",
        ("service", *snapshot.labels, "alert", "severity"),
    )
    bound = Family(
        "qoemon_alert_bound",
        "The bound that an alert compares with its threshold: at a confidence for all its groups and ticks.",
        "gauge",
        ("service", *snapshot.labels, "alert"),
    )
    for _, of_rule in groupby(detections.alerts, lambda alert: id(alert.rule)):
        alerts = list(of_rule)
        rule = alerts[0].rule
        rows = group_rows(rule.service, tuple(alert.group for alert in alerts), alerts[0].names, texts)
        states = np.array([alert.decision.state for alert in alerts], np.int64)
        state.add(rows, states, alert=rule.name, severity=rule.severity)
        if rule.bounded:
            known = np.flatnonzero([alert.sample is not None for alert in alerts])
            values = np.array([alert.sample.confident_value for alert in alerts if alert.sample])
            bound.add(rows.take(known), values, alert=rule.name)
    transitions = CounterMetricFamily(
        "qoemon_alert_transitions",
        "Transitions of an alert to this state for this reason.",
        labels=("alert", "service", "state", "reason"),
    )
    for (name, service, entered, reason), count in detections.transitions.items():
        transitions.add_metric((name, service, entered.name.lower(), reason), count)
    yield from (state, bound, transitions)


def _regimes(snapshot: Snapshot, detections: Detections, texts: LabelTexts) -> Iterator[Family]:
    names = ("service", *snapshot.labels)
    regime = Family("qoemon_pow_regime", "PoW regime: 0 good, 1 degraded, 2 bad.", "gauge", names)
    changes = Family(
        "qoemon_pow_regime_changes",
        "Changes of PoW found by the change detector.",
        "counter",
        (*names, "direction"),
    )
    began = Family(
        "qoemon_pow_regime_change_timestamp_seconds",
        "Estimated start of the last change of PoW, seconds since the epoch.",
        "gauge",
        names,
    )
    for service in snapshot.services:
        regimes = detections.regimes.get(service.service.name)
        if regimes is None:
            continue
        size = len(regimes.regime)
        rows = group_rows(service.service.name, service.counts.groups[:size], snapshot.labels, texts)
        visible = np.flatnonzero(regimes.known & service.visible[:size])
        changed = np.flatnonzero(~np.isnan(regimes.changed_s))
        regime.add(rows.take(visible), regimes.regime[visible])
        began.add(rows.take(changed), regimes.changed_s[changed])
        of_changes = of_groups(rows, regimes.changes, service.counts.free[:size])
        changes.add(*of_changes, by_label("direction", ("up", "down")))
    yield from (regime, changes, began)
