"""The page's table of groups and its summary: which groups are affected, how many users, since when.

A group is affected if an alert fires on it or its regime is degraded or bad. The order is by the users whom a fix
would help: those who would rate poor or worse, beyond those who would even without impairments.

All groups are sorted and filtered as columns; only the rows of the answer become plain data, so 10,000 groups cost
no more than the sorting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qoemon.common import duration
from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.decision import AlertState
from qoemon.core.alerting.regime import Regime
from qoemon.core.alerting.state import State
from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot
from qoemon.outputs.doubtful import Doubt, doubt
from qoemon.outputs.notify.notices import rule_texts
from qoemon.outputs.page.alerts import alert_row, began_s
from qoemon.outputs.page.feedback import feedback_cards
from qoemon.outputs.page.links import NO_LINKS, Links
from qoemon.outputs.page.query import Query, Sort
from qoemon.outputs.page.sums import roll_ups
from qoemon.outputs.page.trend import Trend, trend_document, trends
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import feed_document, group_document, regime_document, where_first_document
from qoemon.outputs.state_document import state_document

MOST_AFFECTED = 5
"""Number of affected groups in the summary."""

MOST_ALERTS = 50

_ALERT_ORDER = (AlertState.FIRING, AlertState.PENDING, AlertState.UNCERTAIN)

UNKNOWN = -1
"""In place of a Regime: the group has none yet."""

_STATES = tuple(State)
_URGENCY = {State.ALERT: 4, State.BAD: 3, State.DEGRADED: 2, State.NO_DATA: 1}
"""Sort key of a State, 0 for others. At night many small groups are silent: they must not hide the bad ones."""


@dataclass(frozen=True)
class _Columns:
    """The N groups of all services that are visible, or have an alert that fires; NaN without data.

    service_number  (N,) of the service in the snapshot
    number          (N,) of the group in its service
    state           (N,) State, by its place in _STATES
    regime          (N,) Regime, or UNKNOWN
    firing          (N,) alerts that fire on the group
    excess          (N,) users who would rate poor or worse, beyond those who would without impairments
    """

    snapshot: Snapshot
    service_number: Ints
    number: Ints
    state: Ints
    regime: Ints
    firing: Ints
    mos: Floats
    gob: Floats
    pow: Floats
    users: Floats
    excess: Floats
    sessions: Ints

    @property
    def poor_users(self) -> Floats:
        """(N,) users who would rate poor or worse."""
        return self.pow * self.users

    @property
    def urgency(self) -> Ints:
        """(N,) sort key of the state; a group on which an alert fires is as urgent without data."""
        of_state = np.array([_URGENCY.get(state, 0) for state in _STATES])
        return np.where(self.firing > 0, _URGENCY[State.ALERT], of_state[self.state])

    @property
    def affected(self) -> Flags:
        """(N,) where an alert fires, or the regime is degraded or bad."""
        return (self.firing > 0) | (self.regime > Regime.GOOD)

    @property
    def empty(self) -> Flags:
        """(N,) where there is nothing to show: no data, no session, and no alert."""
        return np.asarray(np.isnan(self.pow) & (self.sessions == 0) & (self.firing == 0))

    def service(self, row: int) -> ServiceSnapshot:
        return self.snapshot.services[int(self.service_number[row])]

    def group(self, row: int) -> Labels:
        return self.service(row).counts.groups[int(self.number[row])]

    def names(self, rows: Ints) -> list[tuple[str, ...]]:
        """Service and label values of these rows."""
        return [(self.service(row).service.name, *self.group(row)) for row in rows.tolist()]


def overview(
    newest: PublishedTick,
    query: Query,
    problems: list[str],
    links: Links = NO_LINKS,
    sums: PublishedTick | None = None,
) -> dict[str, Any]:
    """The table and the summary.

    problems  reasons why the numbers are not reliable
    sums      the tick with sums of groups, if these have rows instead of the groups; the summary is of groups
    """
    snapshot, shown = newest.snapshot, sums or newest
    window = duration.text(query.window_of(snapshot))
    groups = _columns(newest, query.window_of(snapshot))
    columns = groups if shown is newest else _columns(shown, query.window_of(snapshot))
    matching = _matching(columns, query.filter)
    empty = columns.empty[matching]
    rows = _sorted(columns, matching if query.empty else matching[~empty], query)
    # Groups may have gone since the page was chosen: then it is the last one.
    offset = min(query.offset, max(len(rows) - 1, 0) // query.limit * query.limit)
    return {
        "time_s": snapshot.time_s,
        "tick_s": newest.past.tick_s,
        "problems": problems,
        "labels": list(snapshot.labels),
        "by": "" if shown is newest else RollUpKey(shown.snapshot.labels).name,
        "roll_ups": roll_ups(snapshot),
        "windows": query.windows(snapshot),
        "window": window,
        "base_window": duration.text(min(query.lengths(snapshot))),
        "confidence": snapshot.confidence,
        "sort": query.sort,
        "order": query.order,
        "total": len(columns.number),
        "matching": len(rows),
        "empty": int(empty.sum()),
        "offset": offset,
        "limit": query.limit,
        "rows": _rows(shown, columns, rows[offset : offset + query.limit], window),
        "times_s": shown.past.times_s,
        "summary": _summary(newest, groups, links),
        "feed": _feed(groups),
        "alerts": list(_alerts(newest, links)),
        "feedback": feedback_cards(snapshot),
    }


def _columns(newest: PublishedTick, window_s: int) -> _Columns:
    snapshot, parts = newest.snapshot, []
    firing = _firing(newest)
    for service_number, service in enumerate(snapshot.services):
        rated, counts = service.distributions[window_s], service.counts
        users = np.where(rated.observations > 0, counts.users[window_s], np.nan)
        by_group = firing.get(service.service.name, {})
        # Alerts continue on groups that have long been silent.
        number = np.flatnonzero(service.visible | np.array([each in by_group for each in counts.groups], np.bool_))
        parts.append(
            [
                np.full(len(number), service_number),
                number,
                _states(newest, service)[number],
                _regimes(newest, service)[number],
                np.array([by_group.get(counts.groups[each], 0) for each in number.tolist()], np.int64),
                *(column[number] for column in (rated.mos, rated.gob, rated.pow, users)),
                ((rated.pow - _least_pow(service)) * users)[number],
                counts.active_sessions[number],
            ]
        )
    return _Columns(snapshot, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _least_pow(service: ServiceSnapshot) -> float:
    """The PoW without impairments, the same for all groups; NaN if no group has data."""
    base = service.distributions[min(service.distributions)]
    rated = np.flatnonzero(base.observations)[:1]
    least = base.pow[rated] - service.excess_poor[rated] / base.observations[rated]
    return float(least[0]) if len(least) else np.nan


def _regimes(newest: PublishedTick, service: ServiceSnapshot) -> Ints:
    """(G,) the regime of each group, UNKNOWN for those that have none yet."""
    out = np.full(len(service.counts.groups), UNKNOWN)
    regimes = newest.detections.regimes.get(service.service.name)
    if regimes is not None:
        out[: len(regimes.regime)] = np.where(regimes.known, regimes.regime, UNKNOWN)
    return out


def _states(newest: PublishedTick, service: ServiceSnapshot) -> Ints:
    """(G,) the state of each group, by its place in _STATES; LEARNING where it is unknown."""
    states = newest.detections.states.get(service.service.name)
    if states is None:
        return np.full(len(service.counts.groups), _STATES.index(State.LEARNING))
    return np.array([_STATES.index(group.state if group else State.LEARNING) for group in states.groups], np.int64)


def _firing(newest: PublishedTick) -> dict[str, dict[Labels, int]]:
    """The number of firing alerts of the groups, or of the sums that the tick has in place of them, by service."""
    out: dict[str, dict[Labels, int]] = {}
    for alert in newest.detections.alerts:
        if alert.firing and alert.of_users and alert.names == newest.snapshot.labels:
            of_service = out.setdefault(alert.rule.service, {})
            of_service[alert.group] = of_service.get(alert.group, 0) + 1
    return out


def _matching(columns: _Columns, text: str) -> Ints:
    """The rows that have every word of the text in their service, labels or state; case is ignored."""
    words = text.lower().split()
    if not words:
        return np.arange(len(columns.number))
    found = [all(word in row for word in words) for row in _searchable(columns)]
    return np.flatnonzero(found)


def _searchable(columns: _Columns) -> Iterator[str]:
    """The text of each row that a filter searches, in lower case."""
    names = columns.snapshot.labels
    for row, (place, firing) in enumerate(zip(columns.state.tolist(), columns.firing.tolist(), strict=True)):
        labels = (f"{name}={value}" for name, value in zip(names, columns.group(row), strict=True))
        state = f"state={_STATES[place]}"
        fires = "firing" if firing else ""
        yield " ".join((f"service={columns.service(row).service.name}", *labels, state, fires)).lower()


def _sorted(columns: _Columns, rows: Ints, query: Query) -> Ints:
    """The rows in order. Rows without data come last; ties go by excess, then by name."""
    names = columns.names(rows)
    rank = np.empty(len(rows))
    rank[sorted(range(len(rows)), key=names.__getitem__)] = np.arange(len(rows))
    by: Mapping[Sort, Floats | Ints] = {
        "state": columns.urgency,
        "mos": columns.mos,
        "gob": columns.gob,
        "pow": columns.pow,
        "poor_users": columns.poor_users,
        "excess": columns.excess,
        "users": columns.users,
    }
    key = rank if query.sort == "name" else by[query.sort][rows]
    return rows[np.lexsort((rank, -columns.excess[rows], -key if query.order == "desc" else key))]


def _rows(newest: PublishedTick, columns: _Columns, rows: Ints, window: str) -> list[dict[str, Any]]:
    documents = (_row(newest, columns, row, window) for row in rows.tolist())
    series, trends_ = _series(newest, columns, rows), _trends(newest, columns, rows)
    return [
        document | {"pow_trend": pows, "trend": trend_document(trend)}
        for document, pows, trend in zip(documents, series, trends_, strict=True)
    ]


def _row(newest: PublishedTick, columns: _Columns, row: int, window: str) -> dict[str, Any]:
    service, number = columns.service(row), int(columns.number[row])
    group = group_document(service, number, newest.snapshot, newest.detections)
    return {
        "service": service.service.name,
        "poor_users": float(columns.poor_users[row]),
        "excess": float(columns.excess[row]),
        "firing": int(columns.firing[row]),
        "judged": group["windows"].get(window),
        **{name: group[name] for name in ("labels", "state", "active_sessions", "open_stalls", "regime")},
    }


def _trends(newest: PublishedTick, columns: _Columns, rows: Ints) -> list[Trend | None]:
    """Whether the PoW of these rows is rising or falling."""
    out: list[Trend | None] = [None] * len(rows)
    for service_number, service in enumerate(newest.snapshot.services):
        mine = np.flatnonzero(columns.service_number[rows] == service_number)
        found = trends(newest.past, service.service.name, columns.number[rows[mine]])
        for place, trend in zip(mine.tolist(), found, strict=True):
            out[place] = trend
    return out


def _series(newest: PublishedTick, columns: _Columns, rows: Ints) -> list[list[float]]:
    """(N, T) PoW of these rows over the last hour, service by service as in the frames."""
    out = np.full((len(rows), len(newest.past.frames)), np.nan)
    for service_number, service in enumerate(newest.snapshot.services):
        mine = np.flatnonzero(columns.service_number[rows] == service_number)
        out[mine] = newest.past.series(service.service.name, columns.number[rows[mine]], "pow")
    series: list[list[float]] = np.round(out, 4).tolist()
    return series


def _summary(newest: PublishedTick, columns: _Columns, links: Links) -> dict[str, Any]:
    hit = np.flatnonzero(columns.affected)
    worst = hit[np.lexsort((-np.nan_to_num(columns.excess[hit]), -np.minimum(columns.firing[hit], 1)))]
    worst = worst[:MOST_AFFECTED]
    return {
        "services": _services(newest, columns),
        "regimes": {
            **{regime.name.lower(): int((columns.regime == regime).sum()) for regime in Regime},
            "unknown": int((columns.regime == UNKNOWN).sum()),
        },
        "states": {str(state): int((columns.state == place).sum()) for place, state in enumerate(_STATES)},
        "firing": sum(alert.firing for alert in newest.detections.alerts),
        "hit_total": len(hit),
        "hit": [
            _affected(newest, columns, row, links) | {"trend": trend_document(trend)}
            for row, trend in zip(worst.tolist(), _trends(newest, columns, worst), strict=True)
        ],
        "where_first": [
            {"service": service.service.name, **found}
            for service in newest.snapshot.services
            if (found := where_first_document(service))
        ],
    }


def _services(newest: PublishedTick, columns: _Columns) -> list[dict[str, Any]]:
    """State and users of each service; services are never added up, as a rating of a video and of a page differ.

    sums: the alerts that fire on sums of groups.
    """
    out, states = [], newest.detections.states
    for number, service in enumerate(columns.snapshot.services):
        mine, name = columns.service_number == number, service.service.name
        state = states[name].whole if name in states else None
        out.append(
            {
                "service": name,
                "state": state_document(state, newest.snapshot.time_s),
                "sums": [
                    {"alert": alert.rule.name, "labels": dict(alert.labels)}
                    for alert in newest.detections.alerts
                    if alert.firing and alert.rule.service == name and alert.names != newest.snapshot.labels
                ][:MOST_AFFECTED],
                "groups": int(mine.sum()),
                "hit_groups": int((columns.affected & mine).sum()),
                "users": float(np.nansum(columns.users[mine])),
                "poor_users": float(np.nansum(columns.poor_users[mine])),
            }
        )
    return out


def _feed(columns: _Columns) -> dict[str, Any] | None:
    """The group whose reports are the most doubtful, and how many more have such; None if all are trusted."""
    doubts = _doubts(columns)
    if not doubts:
        return None
    row = max(doubts, key=doubts.__getitem__)
    return {
        "service": columns.service(row).service.name,
        "labels": dict(zip(columns.snapshot.labels, columns.group(row), strict=True)),
        "share": doubts[row].share,
        "text": doubts[row].text,
        "more": len(doubts) - 1,
    }


def _doubts(columns: _Columns) -> dict[int, Doubt]:
    """The doubt about the reports of each row that has one."""
    doubts = {}
    for service_number, service in enumerate(columns.snapshot.services):
        rows, counts = np.flatnonzero(columns.service_number == service_number), service.counts
        some = rows[counts.doubtful[columns.number[rows]].any(axis=1)]
        for row, number in zip(some.tolist(), columns.number[some].tolist(), strict=True):
            feed = feed_document(int(counts.heard[number]), counts.doubtful[number].tolist())
            if one := doubt(**feed):
                doubts[row] = one
    return doubts


def _affected(newest: PublishedTick, columns: _Columns, row: int, links: Links) -> dict[str, Any]:
    """An affected group, with its alerts and their annotations, and when that began."""
    service, number, group = columns.service(row), int(columns.number[row]), columns.group(row)
    name = service.service.name
    document = group_document(service, number, newest.snapshot, newest.detections)
    presence = newest.detections.presence.get(name)
    disconnected_s = None if presence is None else presence.disconnected_s
    firing = tuple(
        alert
        for alert in newest.detections.alerts
        if alert.firing
        and alert.of_users
        and alert.rule.service == name
        and alert.names == newest.snapshot.labels
        and alert.group == group
    )
    return {
        "service": name,
        "poor_users": float(columns.poor_users[row]),
        "pow": float(columns.pow[row]),
        "users": float(columns.users[row]),
        "began_s": _began(newest, service, number, firing),
        "fired_s": min((alert.decision.since_s for alert in firing), default=None),
        "links": links.of_group(name, document["labels"]),
        "alerts": [alert.rule.name for alert in firing],
        "annotations": [rule_texts(alert, disconnected_s) for alert in firing],
        **{
            key: document[key]
            for key in (
                "labels",
                "state",
                "active_sessions",
                "open_stalls",
                "open_stall_oldest_s",
                "regime",
                "pow_contribution",
            )
        },
    }


def _began(newest: PublishedTick, service: ServiceSnapshot, number: int, firing: tuple[Alert, ...]) -> float | None:
    """When the first of its firing alerts began; without one, its regime, or the change that led to it."""
    if firing:
        return min(map(began_s, firing))
    regime = regime_document(newest.detections.regimes.get(service.service.name), number)
    if regime is None or regime["since_s"] is None:
        return None
    since_s, changed_s = float(regime["since_s"]), regime["changed_s"]
    # A change that began after the regime did not lead to it.
    return since_s if changed_s is None else min(since_s, float(changed_s))


def _alerts(newest: PublishedTick, links: Links) -> Iterator[dict[str, Any]]:
    """The alerts that are firing, pending or uncertain, in this order."""
    active = [alert for alert in newest.detections.alerts if alert.decision.state in _ALERT_ORDER]
    active.sort(key=lambda alert: (_ALERT_ORDER.index(alert.decision.state), alert.decision.since_s))
    for alert in active[:MOST_ALERTS]:
        yield alert_row(alert, links)
