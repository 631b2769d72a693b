"""The alerts of the history: each that fired, with its reasons, until long after it ended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from qoemon.core.alerting.rule import AlertMetric
from qoemon.core.snapshot.past import MOST_ALERTS, PastAlert
from qoemon.state.history_sql import labels_text

SCHEMA = """
CREATE TABLE alert (
  alert TEXT NOT NULL, service TEXT NOT NULL, labels TEXT NOT NULL, fired_s INTEGER NOT NULL, ended_s INTEGER,
  ended_reason TEXT, peak REAL, rest TEXT NOT NULL, UNIQUE (alert, service, labels, fired_s));
CREATE INDEX alert_fired ON alert (fired_s);
CREATE INDEX alert_ended ON alert (ended_s);
"""

KEPT = 10_000
"""Alerts kept at most, the newest."""

RESET = "reset"
"""Reason of the end of an alert that the daemon no longer knows."""

_COLUMNS = ("alert", "service", "labels", "fired_s", "ended_s", "ended_reason", "peak")


def put(database: sqlite3.Connection, alert: PastAlert) -> None:
    """Add an alert, or bring its peak and end up to date; what it was when it fired stays."""
    rest = {name: value for name, value in asdict(alert).items() if name not in _COLUMNS}
    worst = "max" if AlertMetric(alert.metric).high_is_bad else "min"
    database.execute(
        "INSERT INTO alert VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "  # noqa: S608 - max or min
        "ended_s = excluded.ended_s, ended_reason = excluded.ended_reason, "
        f"peak = {worst}(coalesce(peak, excluded.peak), coalesce(excluded.peak, peak))",
        (
            alert.alert,
            alert.service,
            labels_text(alert.labels),
            alert.fired_s,
            alert.ended_s,
            alert.ended_reason,
            alert.peak,
            json.dumps(rest),
        ),
    )


def end_unknown(database: sqlite3.Connection, time_s: int, firing: Sequence[PastAlert]) -> None:
    """End the alerts that do not fire at time_s any more; those that fired later are still to be replayed."""
    known = {(alert.alert, alert.service, labels_text(alert.labels), alert.fired_s) for alert in firing}
    fired = database.execute(
        "SELECT alert, service, labels, fired_s FROM alert WHERE ended_s IS NULL AND fired_s <= ?", (time_s,)
    )
    for key in [key for key in fired if key not in known]:
        database.execute(
            "UPDATE alert SET ended_s = ?, ended_reason = ? "
            "WHERE alert = ? AND service = ? AND labels = ? AND fired_s = ?",
            (time_s, RESET, *key),
        )


def delete_old(database: sqlite3.Connection, before_s: int) -> None:
    """Delete alerts that ended before this time, and the oldest beyond KEPT."""
    database.execute(
        "DELETE FROM alert WHERE ended_s < ? OR rowid <= (SELECT max(rowid) FROM alert) - ?", (before_s, KEPT)
    )


def found(database: sqlite3.Connection, from_s: int, to_s: int, service: str | None) -> list[PastAlert]:
    """The alerts that fired at some time in this range, the newest first; one more than MOST_ALERTS at most."""
    rows = database.execute(
        f"SELECT {', '.join(_COLUMNS)}, rest FROM alert "  # noqa: S608 - constants
        "WHERE fired_s <= ? AND (ended_s IS NULL OR ended_s >= ?) AND service = coalesce(?, service) "
        "ORDER BY fired_s DESC, rowid DESC LIMIT ?",
        (to_s, from_s, service, MOST_ALERTS + 1),
    )
    return [_alert(row) for row in rows]


def _alert(row: Sequence[Any]) -> PastAlert:
    *columns, rest = row
    values: dict[str, Any] = dict(zip(_COLUMNS, columns, strict=True)) | json.loads(rest)
    return PastAlert(**values | {"labels": json.loads(values["labels"])})
