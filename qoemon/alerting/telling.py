"""From alerts as decided to what receivers are told: figures looked up, texts filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qoemon import duration
from qoemon.alerting.notice import Notice, render
from qoemon.core.alert import What
from qoemon.core.alerts import Alert
from qoemon.core.snapshot import ServiceSnapshot, Snapshot
from qoemon.core.watch import Watched


def notices(snapshot: Snapshot, watched: Watched) -> tuple[list[Notice], list[Notice]]:
    """All alerts that fire, and those of them that began or ended to with this snapshot."""
    services = {service.service.name: service for service in snapshot.services}
    firing, changed = [], []
    for alert in watched.alerts:
        if not (alert.firing or alert.ended):
            continue
        told = _notice(alert, services[alert.rule.service], snapshot)
        if alert.firing:
            firing.append(told)
        if alert.changed:
            changed.append(told)
    return firing, changed


def _notice(alert: Alert, service: ServiceSnapshot, snapshot: Snapshot) -> Notice:
    rule, groups = alert.rule, dict(zip(snapshot.labels, alert.group, strict=True))
    figures = dict(_figures(alert, service))
    words = {
        **groups,
        "alert": rule.name,
        "service": rule.service,
        "severity": rule.severity,
        "window": duration.text(rule.window_s),
    }
    missing = dict.fromkeys(("value", "lower", "upper", "mos", "gob", "pow", "users"))
    values: Mapping[str, object] = {**missing, **words, **figures}
    return Notice(
        alert=rule.name,
        service=rule.service,
        severity=rule.severity,
        groups=groups,
        labels=dict(rule.labels or {}),
        annotations={name: render(text, values) for name, text in (rule.annotations or {}).items()},
        starts_s=alert.decision.since_s if alert.firing else alert.before.since_s,
        ends_s=None if alert.firing else float(snapshot.time_s),
        reason=alert.decision.reason,
        figures=figures,
    )


def _figures(alert: Alert, service: ServiceSnapshot) -> Iterator[tuple[str, float]]:
    """What there is to tell: a group that has gone has only its threshold."""
    rule = alert.rule
    yield "threshold", rule.enter if alert.firing else rule.leave
    if alert.reading is None:
        return
    yield "value", alert.reading.figure
    yield "users", alert.reading.users
    judged = service.distributions[rule.window_s]
    number = service.tally.groups.index(alert.group)
    if not judged.observations[number]:
        return
    for name in ("mos", "gob", "pow"):
        yield name, float(getattr(judged, name)[number])
    if rule.what in {What.MOS, What.GOB, What.POW}:
        bounds = {What.MOS: judged.mos_bounds, What.GOB: judged.gob_bounds, What.POW: judged.pow_bounds}[rule.what]
        yield from zip(("lower", "upper"), bounds[number].tolist(), strict=True)
