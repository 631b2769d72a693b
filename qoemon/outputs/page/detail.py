"""All data of one group: ratings with their theta band, conditions, the last hour, alerts and changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from qoemon.common import duration
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import ServiceSnapshot
from qoemon.outputs.doubtful import doubt
from qoemon.outputs.history import COLUMNS, Change, Past
from qoemon.outputs.page.alerts import alert_row
from qoemon.outputs.page.conditions import conditions
from qoemon.outputs.page.curves import Curves
from qoemon.outputs.page.links import NO_LINKS, Links
from qoemon.outputs.page.query import Query
from qoemon.outputs.page.trend import trend_document, trends
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import group_document


def detail(
    newest: PublishedTick, name: str, group: Labels, query: Query, curves: Curves, links: Links = NO_LINKS
) -> dict[str, Any] | None:
    """The group with these label values of this service; None if it does not exist."""
    snapshot, window_s = newest.snapshot, query.window_of(newest.snapshot)
    service = next(each for each in snapshot.services if each.service.name == name)
    if group not in service.counts.groups:
        return None
    number = service.counts.groups.index(group)
    plan, scale = service.service, service.service.scale
    group_values = group_document(service, number, snapshot, newest.detections)
    doubted = doubt(**group_values["feed"])
    return {
        "time_s": snapshot.time_s,
        "tick_s": newest.past.tick_s,
        "service": name,
        "mapping": plan.mapping.name,
        "model": str(plan.model),
        "theta": plan.theta,
        "theta_band": list(plan.theta_band),
        "scale": {"low": scale.low, "high": scale.high, "good": scale.good, "poor": scale.poor},
        "windows": query.windows(snapshot),
        "window": duration.text(window_s),
        "base_window": duration.text(query.lengths(snapshot)[0]),
        "confidence": snapshot.confidence,
        "group": group_values,
        "links": links.of_group(name, group_values["labels"]),
        "feed": doubted and {"share": doubted.share, "text": doubted.text},
        "ratings": _ratings(service, number, window_s, curves),
        "conditions": _conditions(service, number),
        "past": _past(newest.past, name, number),
        "trend": trend_document(trends(newest.past, name, np.array([number]))[0]),
        "alerts": [
            alert_row(alert, links)
            for alert in newest.detections.alerts
            if alert.rule.service == name and alert.names == snapshot.labels and alert.group == group
        ],
        "changes": [
            _change(change)
            for change in reversed(newest.past.changes)
            if change.service == name and change.names == snapshot.labels and change.group == group
        ],
    }


def _ratings(service: ServiceSnapshot, number: int, window_s: int, curves: Curves) -> dict[str, Any] | None:
    """The rating distribution and the CDF of opinions, both with the theta band; None without data."""
    counts = service.counts.windows[window_s][number]
    if not counts.any():
        return None
    curve = curves.curve(service.service, counts)
    return {
        "ratings": service.service.scale.ratings.tolist(),
        "share": service.distributions[window_s].ratings[number].tolist(),
        "lower": curve.rating_lower.tolist(),
        "upper": curve.rating_upper.tolist(),
        "cdf": {
            "opinions": np.round(curve.opinions, 3).tolist(),
            "share": np.round(curve.share, 5).tolist(),
            "lower": np.round(curve.lower, 5).tolist(),
            "upper": np.round(curve.upper, 5).tolist(),
        },
    }


def _conditions(service: ServiceSnapshot, number: int) -> dict[str, Any] | None:
    counts = service.counts.qos[number]
    return conditions(service.service, counts) if counts.any() else None


def _past(past: Past, name: str, number: int) -> dict[str, Any]:
    """Each column over the last hour; null without data."""
    groups = np.array([number])
    series = {column: past.series(name, groups, column)[0].astype(np.float64) for column in COLUMNS}
    return {"times_s": past.times_s} | {column: np.round(values, 4).tolist() for column, values in series.items()}


def _change(change: Change) -> dict[str, Any]:
    return {
        "time_s": change.time_s,
        "what": str(change.what),
        "name": change.name,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
        "began_s": change.began_s,
    }
