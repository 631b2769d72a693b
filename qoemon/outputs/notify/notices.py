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


def _notice(alert: Alert, snapshot: Snapshot) -> Notice:
    rule, groups = alert.rule, dict(zip(snapshot.labels, alert.group, strict=True))
    threshold = rule.enter if alert.firing else rule.leave
    values = {
        **groups,
        "alert": rule.name,
        "service": rule.service,
        "severity": rule.severity,
        "window": duration.text(rule.window_s),
        "threshold": threshold,
    }
    return Notice(
        alert=rule.name,
        service=rule.service,
        severity=rule.severity,
        groups=groups,
        labels=dict(rule.labels or {}),
        annotations={name: _text(template, alert, values) for name, template in (rule.annotations or {}).items()},
        starts_s=alert.decision.since_s if alert.firing else alert.before.since_s,
        ends_s=None if alert.firing else float(snapshot.time_s),
        reason=alert.decision.reason,
        figures={"threshold": threshold, **alert.figures},
    )


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
