"""The groups as the page's table shows them, and what matters most: who is hit, how many users, since when.

All groups are sorted and filtered as columns; only the rows that are shown are turned into plain data, so that ten
thousand groups cost no more than the sorting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qoemon.common import duration
from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.regime import Regime
from qoemon.core.alerting.rule import AlertState
from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot
from qoemon.outputs.notify.notices import notices
from qoemon.outputs.page.query import Query, Sort
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import alert_document, group_document, regime_document

MOST_HIT = 5
"""So many groups that are hit are told in words."""

MOST_ALERTS = 50

_ALERT_ORDER = (AlertState.FIRING, AlertState.PENDING, AlertState.UNCERTAIN)

UNKNOWN = -1
"""In place of a regime."""


@dataclass(frozen=True)
class _Columns:
    """All groups that are shown, of all services, N of them; NaN where nobody is judged.

    place   (N,) the number of the service
    number  (N,) of the group in it
    regime  (N,) Regime, or UNKNOWN
    firing  (N,) alerts that fire on it
    """

    snapshot: Snapshot
    place: Ints
    number: Ints
    regime: Ints
    firing: Ints
    mos: Floats
    gob: Floats
    pow: Floats
    users: Floats
    sessions: Ints

    @property
    def poor_users(self) -> Floats:
        """(N,) how many users would rate poor or worse."""
        return self.pow * self.users

    @property
    def hit(self) -> Flags:
        """Where an alert fires, or the regime is not good."""
        return (self.firing > 0) | (self.regime > Regime.GOOD)

    def service(self, row: int) -> ServiceSnapshot:
        return self.snapshot.services[int(self.place[row])]

    def group(self, row: int) -> Labels:
        return self.service(row).tally.groups[int(self.number[row])]

    def names(self, rows: Ints) -> list[tuple[str, ...]]:
        """Service and label values of these rows."""
        return [(self.service(row).service.name, *self.group(row)) for row in rows.tolist()]


def overview(newest: PublishedTick, query: Query, problems: list[str]) -> dict[str, Any]:
    """The table and the summary. problems: why the numbers should not be relied on, in words."""
    snapshot = newest.snapshot
    window = duration.text(query.window_of(snapshot))
    columns = _columns(newest, query.window_of(snapshot))
    rows = _sorted(columns, _matching(columns, query.filter), query)
    return {
        "time_s": snapshot.time_s,
        "tick_s": newest.past.tick_s,
        "problems": problems,
        "labels": list(snapshot.labels),
        "windows": query.windows(snapshot),
        "window": window,
        "base_window": duration.text(min(query.lengths(snapshot))),
        "sort": query.sort,
        "order": query.order,
        "total": len(columns.number),
        "matching": len(rows),
        "rows": _rows(newest, columns, rows[: query.limit], window),
        "times_s": newest.past.times_s,
        "summary": _summary(newest, columns),
        "alerts": list(_alerts(newest)),
    }


def _columns(newest: PublishedTick, window_s: int) -> _Columns:
    snapshot, parts = newest.snapshot, []
    firing = _firing(newest)
    for place, service in enumerate(snapshot.services):
        number = np.flatnonzero(service.visible)
        judged, tally = service.distributions[window_s], service.tally
        users = np.where(judged.observations > 0, tally.users[window_s], np.nan)
        fires = firing.get(service.service.name, {})
        parts.append(
            [
                np.full(len(number), place),
                number,
                _regimes(newest, service)[number],
                np.array([fires.get(tally.groups[each], 0) for each in number.tolist()], np.int64),
                *(column[number] for column in (judged.mos, judged.gob, judged.pow, users, tally.active_sessions)),
            ]
        )
    return _Columns(snapshot, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _regimes(newest: PublishedTick, service: ServiceSnapshot) -> Ints:
    """(G,) the regime of each group, UNKNOWN of those that have none yet."""
    out = np.full(len(service.tally.groups), UNKNOWN)
    told = newest.watched.regimes.get(service.service.name)
    if told is not None:
        out[: len(told.regime)] = np.where(told.known, told.regime, UNKNOWN)
    return out


def _firing(newest: PublishedTick) -> dict[str, dict[Labels, int]]:
    """How many alerts fire, by service and group."""
    out: dict[str, dict[Labels, int]] = {}
    for alert in newest.watched.alerts:
        if alert.firing:
            of_service = out.setdefault(alert.rule.service, {})
            of_service[alert.group] = of_service.get(alert.group, 0) + 1
    return out


def _matching(columns: _Columns, text: str) -> Ints:
    """The rows that have every word of the text, in any case, in their service, labels or state."""
    words = text.lower().split()
    if not words:
        return np.arange(len(columns.number))
    found = [all(word in told for word in words) for told in _told(columns)]
    return np.flatnonzero(found)


def _told(columns: _Columns) -> Iterator[str]:
    names = columns.snapshot.labels
    for row, (regime, firing) in enumerate(zip(columns.regime.tolist(), columns.firing.tolist(), strict=True)):
        labels = (f"{name}={value}" for name, value in zip(names, columns.group(row), strict=True))
        state = "" if regime == UNKNOWN else f"state={Regime(regime).name}"
        fires = "firing" if firing else ""
        yield " ".join((f"service={columns.service(row).service.name}", *labels, state, fires)).lower()


def _sorted(columns: _Columns, rows: Ints, query: Query) -> Ints:
    """The same rows in order: those without a figure come last, equals by users who suffer, then by name."""
    names = columns.names(rows)
    rank = np.empty(len(rows))
    rank[sorted(range(len(rows)), key=names.__getitem__)] = np.arange(len(rows))
    by: Mapping[Sort, Floats | Ints] = {
        "state": np.maximum(columns.regime, int(Regime.GOOD)) + 10 * np.minimum(columns.firing, 1),
        "mos": columns.mos,
        "gob": columns.gob,
        "pow": columns.pow,
        "poor_users": columns.poor_users,
        "sessions": columns.sessions,
    }
    key = rank if query.sort == "name" else by[query.sort][rows]
    return rows[np.lexsort((rank, -columns.poor_users[rows], -key if query.order == "desc" else key))]


def _rows(newest: PublishedTick, columns: _Columns, rows: Ints, window: str) -> list[dict[str, Any]]:
    trends = zip(rows.tolist(), _trends(newest, columns, rows), strict=True)
    return [_row(newest, columns, row, window) | {"pow_trend": trend} for row, trend in trends]


def _row(newest: PublishedTick, columns: _Columns, row: int, window: str) -> dict[str, Any]:
    service, number = columns.service(row), int(columns.number[row])
    told = group_document(service, number, newest.snapshot, newest.watched.regimes.get(service.service.name))
    return {
        "service": service.service.name,
        "poor_users": float(columns.poor_users[row]),
        "firing": int(columns.firing[row]),
        "judged": told["windows"].get(window),
        **{name: told[name] for name in ("labels", "active_sessions", "open_stalls", "regime")},
    }


def _trends(newest: PublishedTick, columns: _Columns, rows: Ints) -> list[list[float]]:
    """(N, T) PoW over the last hour, as frames hold it; by service, since a frame holds services apart."""
    out = np.full((len(rows), len(newest.past.frames)), np.nan)
    for place, service in enumerate(newest.snapshot.services):
        mine = np.flatnonzero(columns.place[rows] == place)
        out[mine] = newest.past.series(service.service.name, columns.number[rows[mine]], "pow")
    trends: list[list[float]] = np.round(out, 4).tolist()
    return trends


def _summary(newest: PublishedTick, columns: _Columns) -> dict[str, Any]:
    hit = np.flatnonzero(columns.hit)
    worst = hit[np.lexsort((-np.nan_to_num(columns.poor_users[hit]), -np.minimum(columns.firing[hit], 1)))]
    return {
        "users": float(np.nansum(columns.users)),
        "poor_users": float(np.nansum(columns.poor_users)),
        "sessions": int(columns.sessions.sum()),
        "regimes": {
            **{regime.name.lower(): int((columns.regime == regime).sum()) for regime in Regime},
            "unknown": int((columns.regime == UNKNOWN).sum()),
        },
        "firing": int(columns.firing.sum()),
        "hit_total": len(hit),
        "hit_users": float(np.nansum(columns.poor_users[hit])),
        "hit": [_hit(newest, columns, row) for row in worst[:MOST_HIT].tolist()],
        "shared": _shared(columns),
    }


def _shared(columns: _Columns) -> dict[str, str]:
    """What all groups that are hit have in common, if no group that is well has all of it: where to look first.

    Groups that nobody is judged in say nothing. One group alone shares everything with itself, which is no news.
    """
    hit, well = columns.hit, ~columns.hit & ~np.isnan(columns.pow)
    if hit.sum() < 2 or not well.any():
        return {}
    hits, wells = columns.names(np.flatnonzero(hit)), columns.names(np.flatnonzero(well))
    common = [value if len(set(values)) == 1 else None for value, *values in zip(hits[0], *hits, strict=True)]
    if any(all(want in {None, has} for want, has in zip(common, name, strict=True)) for name in wells):
        return {}
    names = ("service", *columns.snapshot.labels)
    return {name: value for name, value in zip(names, common, strict=True) if value is not None}


def _hit(newest: PublishedTick, columns: _Columns, row: int) -> dict[str, Any]:
    """A group that is hit, with what its alerts say, and since when it is."""
    service, number, group = columns.service(row), int(columns.number[row]), columns.group(row)
    name = service.service.name
    told = group_document(service, number, newest.snapshot, newest.watched.regimes.get(name))
    firing = tuple(
        alert
        for alert in newest.watched.alerts
        if alert.firing and alert.rule.service == name and alert.group == group
    )
    notes = notices(newest.snapshot, replace(newest.watched, alerts=firing))[0]
    return {
        "service": name,
        "poor_users": float(columns.poor_users[row]),
        "pow": float(columns.pow[row]),
        "users": float(columns.users[row]),
        "since_s": _since(newest, service, number, firing),
        "alerts": [alert.rule.name for alert in firing],
        "annotations": [dict(note.annotations) for note in notes],
        **{key: told[key] for key in ("labels", "active_sessions", "open_stalls", "open_stall_oldest_s", "regime")},
        "pow_contribution": told["pow_contribution"],
    }


def _since(newest: PublishedTick, service: ServiceSnapshot, number: int, firing: tuple[Alert, ...]) -> float | None:
    """When it began, as far back as anyone says: an alert, the regime, or the change that led to the regime."""
    told = [since for alert in firing if (since := alert.decision.breach_since_s or alert.decision.since_s)]
    regime = regime_document(newest.watched.regimes.get(service.service.name), number)
    if regime and regime["regime"] not in {None, "good"} and regime["since_s"] is not None:
        told.append(regime["since_s"])
        began_s = regime["changed_s"]
        # A change that was established long after the regime began is another story.
        if began_s is not None and began_s <= regime["since_s"]:
            told.append(began_s)
    return min(told, default=None)


def _alerts(newest: PublishedTick) -> Iterator[dict[str, Any]]:
    """Those that fire, or are about to, or would if there were more sessions; those that fire come first."""
    told = [alert for alert in newest.watched.alerts if alert.decision.state in _ALERT_ORDER]
    told.sort(key=lambda alert: (_ALERT_ORDER.index(alert.decision.state), alert.decision.since_s))
    for alert in told[:MOST_ALERTS]:
        yield alert_document(alert, newest.snapshot) | {"what": str(alert.rule.what)}
