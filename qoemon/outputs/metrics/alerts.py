"""Alerts, regimes and missing sessions as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from prometheus_client.core import CounterMetricFamily, Metric

from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.presence import Presence
from qoemon.core.arrays import Ints
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.metrics.qoe import group_rows, of_groups
from qoemon.outputs.metrics.text_format import Family, LabelTexts, Rows, by_label


def detection_families(
    snapshot: Snapshot, detections: Detections, texts: LabelTexts | None = None
) -> Iterator[Family | Metric]:
    """The families of alerts, regimes and missing sessions; texts as in qoe_families()."""
    texts = texts or LabelTexts()
    yield from _presence(snapshot, detections, texts)
    yield from _alerts(snapshot, detections, texts)
    yield from _regimes(snapshot, detections, texts)


def _presence(snapshot: Snapshot, detections: Detections, texts: LabelTexts) -> Iterator[Family]:
    """Silence and falls of services; those of groups only if a rule is about them."""
    whole = _PresenceFamilies("qoemon_service", "of the service", ("service",))
    groups = _PresenceFamilies("qoemon", "of the group", ("service", *snapshot.labels))
    for service in snapshot.services:
        name, counts = service.service.name, service.counts
        if (found := detections.presence.get(name)) is None:
            continue
        whole.add(texts.rows(("service",), [(name,)]), found.whole)
        if found.groups.learns:
            used = np.flatnonzero(~counts.free)
            groups.add(group_rows(name, counts.groups, snapshot.labels, texts).take(used), found.groups, used)
    yield from (*whole.all, *groups.all)


class _PresenceFamilies:
    """The families of silence and falls, of services or of groups.

    prefix  of their names
    whose   such as "of the service", for their help texts
    """

    def __init__(self, prefix: str, whose: str, names: tuple[str, ...]) -> None:
        self._silence = Family(
            f"{prefix}_silence_seconds",
            f"Time without any report {whose}, while the daemon ran; 0 while reports arrive.",
            "gauge",
            names,
        )
        self._usual = Family(
            f"{prefix}_usual_sessions",
            f"Active sessions {whose} as usual: median of 5 to 15 rating intervals ago, or before a fall.",
            "gauge",
            names,
        )
        self._drop = Family(
            f"{prefix}_session_drop_ratio",
            f"Share by which the active sessions {whose} are fewer than expected now; negative if they are more.",
            "gauge",
            names,
        )
        self._bound = Family(
            f"{prefix}_session_drop_ratio_bound",
            "The part of the drop that is beyond the usual variation; negative if none is.",
            "gauge",
            (*names, "bound"),
        )
        self.all = (self._silence, self._usual, self._drop, self._bound)

    def add(self, rows: Rows, presence: Presence, units: Ints | None = None) -> None:
        """Add the samples of these units of a presence, which are the rows; None: of all."""
        units = np.arange(len(presence.usual)) if units is None else units
        columns = ((self._silence, presence.silence_s), (self._drop, presence.fall))
        for family, values in columns:
            known = np.flatnonzero(~np.isnan(values[units]))
            family.add(rows.take(known), values[units][known])
        heard = np.flatnonzero(~np.isnan(presence.silence_s[units]))
        self._usual.add(rows.take(heard), presence.usual[units][heard])
        known = np.flatnonzero(~np.isnan(presence.certain[units]))
        self._bound.add(rows.take(known), presence.certain[units][known], bound="lower")


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
