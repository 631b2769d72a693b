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
    since_s = {name: found.disconnected_s for name, found in detections.presence.items()}
    for alert in detections.alerts:
        if not (alert.firing or alert.ended):
            continue
        notice = _notice(alert, snapshot, since_s.get(alert.rule.service))
        if alert.firing:
            firing.append(notice)
        if alert.changed:
            changed.append(notice)
    return firing, changed


def _notice(alert: Alert, snapshot: Snapshot, disconnected_s: int | None) -> Notice:
    """The notice of an alert. disconnected_s: since when the daemon has not been connected to its broker, if so."""
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
        annotations={
            name: _text(template, alert, values, disconnected_s)
            for name, template in (rule.annotations or {}).items()
        },
        starts_s=alert.decision.since_s if alert.firing else alert.before.since_s,
        ends_s=None if alert.firing else float(snapshot.time_s),
        reason=alert.decision.reason,
        figures={"threshold": threshold, **alert.figures},
    )


def _text(template: str, alert: Alert, values: Mapping[str, object], disconnected_s: int | None) -> str:
    """The template filled in; without current data, with the last known values and since when there are none."""
    absent = dict.fromkeys(NAMES)
    if placeholders(template).isdisjoint(NAMES):
        return render(template, {**absent, **values})
    if alert.sample is not None:
        text = render(template, {**absent, **values, **alert.figures})
        return text if disconnected_s is None or not alert.firing else f"{text} ({_not_connected(disconnected_s)})"
    last = alert.before.last_figures
    text = render(template, {**absent, **values, **({} if last is None else last.figures)})
    return f"{text} ({_missing(alert, disconnected_s)})"


def _missing(alert: Alert, disconnected_s: int | None) -> str:
    """Why there are no data, and since when."""
    if disconnected_s is not None:
        return _not_connected(disconnected_s)
    last = alert.before.last_figures
    since_s = alert.silent_s if alert.silent_s is not None or last is None else last.time_s
    return "no data now" if since_s is None else f"no data since {_clock(since_s)}"


def _not_connected(since_s: float) -> str:
    return f"qoemon has not been connected to its broker since {_clock(since_s)}"


def _clock(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
