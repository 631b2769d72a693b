"""Makes notices from the alerts of a tick, with their texts filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from qoemon.common import duration
from qoemon.common.template import placeholders, render
from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.figures import NAMES
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.where_first import sentence

WHERE_FIRST = "where_first"
"""Name of an annotation that is added to those of the rule, unless the rule has one of this name."""


def notices(snapshot: Snapshot, detections: Detections) -> tuple[list[Notice], list[Notice]]:
    """Notices of all firing alerts, and of those that started firing or resolved at this tick."""
    firing, changed = [], []
    for alert in detections.alerts:
        if not (alert.firing or alert.ended):
            continue
        notice = _notice(alert, snapshot)
        if alert.firing:
            firing.append(notice)
        if alert.changed:
            changed.append(notice)
    return firing, changed


def rule_texts(alert: Alert) -> dict[str, str]:
    """The rule's annotations, filled in for this alert."""
    values = _values(alert)
    return {name: _text(template, alert, values) for name, template in (alert.rule.annotations or {}).items()}


def _notice(alert: Alert, snapshot: Snapshot) -> Notice:
    rule = alert.rule
    return Notice(
        alert=rule.name,
        service=rule.service,
        severity=rule.severity,
        groups=alert.labels,
        labels=dict(rule.labels or {}),
        annotations=_where_first(alert, snapshot) | rule_texts(alert),
        starts_s=alert.decision.since_s if alert.firing else alert.before.since_s,
        ends_s=None if alert.firing else float(snapshot.time_s),
        reason=alert.decision.reason,
        figures={"threshold": _threshold(alert), **alert.figures},
    )


def _where_first(alert: Alert, snapshot: Snapshot) -> dict[str, str]:
    """While the alert fires, the labels that best explain the poor ratings of its service."""
    service = next(each for each in snapshot.services if each.service.name == alert.rule.service)
    return {WHERE_FIRST: sentence(service.where_first)} if alert.firing and service.where_first else {}


def _threshold(alert: Alert) -> float:
    return alert.rule.enter if alert.firing else alert.rule.leave


def _values(alert: Alert) -> dict[str, object]:
    """Everything but figures that texts can name."""
    rule = alert.rule
    return {
        **alert.labels,
        "alert": rule.name,
        "service": rule.service,
        "severity": rule.severity,
        "window": duration.text(rule.window_s),
        "threshold": _threshold(alert),
    }


def _text(template: str, alert: Alert, values: Mapping[str, object]) -> str:
    """The template filled in; without current data, with the last known values and their time."""
    absent = dict.fromkeys(NAMES)
    if alert.sample is not None or placeholders(template).isdisjoint(NAMES):
        return render(template, {**absent, **values, **alert.figures})
    last = alert.before.last_figures
    if last is None:
        return f"{render(template, {**absent, **values})} (no data now)"
    at = f"{datetime.fromtimestamp(last.time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{render(template, {**absent, **values, **last.figures})} (as of {at}, no data now)"
