"""Makes notices from the alerts of a tick, with their texts filled in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from qoemon.common import duration
from qoemon.common.template import placeholders, render
from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.decision import Reason
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.figures import NAMES, SINCE_S, TEXTS_OF_MODEL
from qoemon.core.alerting.rule import AlertMetric
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.where_first import sentence

WAYS = {
    Reason.RATED_LOWER: "lower",
    Reason.RATED_HIGHER: "higher",
    Reason.RATED_WIDER: "wider",
    Reason.RATED_NARROWER: "narrower",
}
"""The text {way} of a rule on the model."""

_ENDS = {
    Reason.AS_PREDICTED: "users rate as predicted again",
    Reason.TOO_FEW_RATINGS: "ended: there are too few ratings to go on",
}
"""Why an alert on the model has ended, at the end of its texts."""

WHERE_FIRST = "where_first"
"""Name of an annotation that is added to those of the rule, unless the rule has one of this name."""


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


def rule_texts(alert: Alert, disconnected_s: int | None = None) -> dict[str, str]:
    """The rule's annotations, filled in for this alert.

    disconnected_s  since when the daemon has not been connected to its broker, seconds since the epoch, if so
    """
    values = _values(alert)
    return {
        name: _text(template, alert, values, disconnected_s)
        for name, template in (alert.rule.annotations or {}).items()
    }


def _notice(alert: Alert, snapshot: Snapshot, disconnected_s: int | None) -> Notice:
    rule = alert.rule
    return Notice(
        alert=rule.name,
        service=rule.service,
        severity=rule.severity,
        groups=alert.labels,
        labels=dict(rule.labels or {}),
        annotations=_where_first(alert, snapshot) | rule_texts(alert, disconnected_s),
        starts_s=alert.decision.since_s if alert.firing else alert.before.since_s,
        ends_s=None if alert.firing else float(snapshot.time_s),
        reason=alert.decision.reason,
        figures={"threshold": _threshold(alert), **alert.figures},
    )


def _where_first(alert: Alert, snapshot: Snapshot) -> dict[str, str]:
    """While the alert fires, the labels that best explain the poor ratings of its service."""
    if not alert.rule.metric.of_conditions or not alert.firing:
        return {}
    service = next(each for each in snapshot.services if each.service.name == alert.rule.service)
    return {WHERE_FIRST: sentence(service.where_first)} if service.where_first else {}


def _threshold(alert: Alert) -> float:
    return alert.rule.threshold if alert.firing else alert.rule.recovery


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


def _text(template: str, alert: Alert, values: Mapping[str, object], disconnected_s: int | None) -> str:
    """The template filled in; without current data, with the last known values and since when there are none."""
    absent = dict.fromkeys(NAMES)
    if placeholders(template).isdisjoint((*NAMES, *TEXTS_OF_MODEL)):
        return render(template, {**absent, **values})
    if alert.rule.metric is AlertMetric.MODEL:
        return _text_of_model(template, alert, {**absent, **values})
    if alert.sample is not None:
        text = render(template, {**absent, **values, **alert.figures})
        return text if disconnected_s is None or not alert.firing else f"{text} ({_not_connected(disconnected_s)})"
    last = alert.before.last_figures
    text = render(template, {**absent, **values, **({} if last is None else last.figures)})
    return f"{text} ({_missing(alert, disconnected_s)})"


def _text_of_model(template: str, alert: Alert, values: Mapping[str, object]) -> str:
    """The template filled in with how far the model is off; once it is not, how far it was last, and why not."""
    last = alert.before.last_figures
    if alert.firing:
        known, reason = alert.figures, alert.decision.reason
    else:
        known, reason = ({} if last is None else last.figures), alert.before.reason
    since_s = known.get(SINCE_S)
    since = None if since_s is None else f"{datetime.fromtimestamp(since_s, UTC):%Y-%m-%d}"
    text = render(template, {**values, **known, "way": WAYS.get(reason), "since": since})
    ending = None if alert.firing else _ENDS.get(alert.decision.reason)
    return text if ending is None else f"{text} ({ending})"


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
