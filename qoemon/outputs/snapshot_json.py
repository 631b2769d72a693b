"""A Snapshot as plain data, for the JSON of the API, tables and the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from qoemon.common import duration
from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.regime import Regime, Regimes
from qoemon.core.alerting.state import ServiceStates, sum_states
from qoemon.core.arrays import Floats, Ints
from qoemon.core.counting.counts import DOUBTS, Event
from qoemon.core.counting.quality import UNMEASURED, rates_quality
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.roll_up import roll_up
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot
from qoemon.outputs.feedback_document import feedback_document
from qoemon.outputs.state_document import state_document
from qoemon.outputs.where_first import sentence

MOST_EXCESS = 10
"""Number of groups listed as those with the most excess poor ratings."""

AT_ONCE = 50
"""Number of groups or alerts that become JSON at a time: few enough not to trigger the garbage collector."""

DOUBT_KINDS = tuple(str(event).removeprefix("reports_").removeprefix("implausible_") for event in DOUBTS)
"""Names of the kinds of doubtful reports, in the order of the columns of `doubtful`."""

_encode = msgspec.json.encode


def snapshot_document(snapshot: Snapshot, detections: Detections) -> dict[str, Any]:
    """The numbers of a snapshot, named like the metrics; ratios are from 0 to 1, times in seconds."""
    services = [
        _service(service, snapshot, detections) | {"groups": list(_groups(service, snapshot, detections))}
        for service in snapshot.services
    ]
    return _header(snapshot) | {"services": services, "alerts": list(_alerts(detections))} | _totals(snapshot)


def snapshot_json(snapshot: Snapshot, detections: Detections) -> Iterator[bytes]:
    """The same as JSON, in pieces: encoding all at once would block the other threads of the process."""
    yield _encode(_header(snapshot))[:-1] + b',"services":['
    for number, service in enumerate(snapshot.services):
        yield b"," * (number > 0) + _encode(_service(service, snapshot, detections))[:-1] + b',"groups":['
        yield from _json_items(_groups(service, snapshot, detections))
        yield b"]}"
    yield b'],"alerts":['
    yield from _json_items(_alerts(detections))
    yield b"]," + _encode(_totals(snapshot))[1:]


def rolled_up(snapshot: Snapshot, detections: Detections, by: tuple[str, ...]) -> tuple[Snapshot, Detections]:
    """The same tick with sums over all labels but these in place of the groups; by: in the order of the labels.

    Sums that the plan has no roll-up for have no regimes. All alerts stay, with their own labels.
    """
    if by == snapshot.labels:
        return snapshot, detections
    key = RollUpKey(by)
    services = tuple(roll_up(snapshot, key, service) for service in snapshot.services)
    regimes = detections.of_roll_ups.get(key, {})
    states = {
        (name := service.service.name): _sum_states(service, sums, snapshot, detections, by, regimes.get(name))
        for service, sums in zip(snapshot.services, services, strict=True)
        if service.service.name in detections.states
    }
    rolled = replace(detections, regimes=regimes, states=states)
    return replace(snapshot, labels=by, services=services), rolled


def _sum_states(
    service: ServiceSnapshot,
    sums: ServiceSnapshot,
    snapshot: Snapshot,
    detections: Detections,
    by: tuple[str, ...],
    regimes: Regimes | None,
) -> ServiceStates:
    """The states of the sums of a service; that of the whole service stays."""
    name = service.service.name
    firing = [
        alert for alert in detections.alerts if alert.firing and alert.of_users and alert.rule.service == name
    ]
    of_sums = sum_states(
        service, sums, by, snapshot.labels, regimes, detections.presence[name], firing, detections.rules
    )
    return replace(detections.states[name], groups=of_sums)


def _json_items(items: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The items of a JSON array, without its brackets."""
    rest, comma = iter(items), b""
    while some := list(islice(rest, AT_ONCE)):
        yield comma + _encode(some)[1:-1]
        comma = b","


def _header(snapshot: Snapshot) -> dict[str, Any]:
    return {"time_s": snapshot.time_s, "labels": list(snapshot.labels)}


def _totals(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "sessions": snapshot.sessions,
        "events": {str(event): snapshot.events.get(event, 0) for event in Event},
    }


def _alerts(detections: Detections) -> Iterator[dict[str, Any]]:
    return map(alert_document, detections.alerts)


def _service(service: ServiceSnapshot, snapshot: Snapshot, detections: Detections) -> dict[str, Any]:
    """A service without its groups."""
    plan, scale = service.service, service.service.scale
    states = detections.states.get(plan.name)
    whole = None if states is None else states.whole
    return {
        "service": plan.name,
        "state": state_document(whole, snapshot.time_s),
        "mapping": plan.mapping.name,
        "ratings": str(plan.model),
        "theta": plan.theta,
        "scale": {"low": scale.low, "high": scale.high, "good": scale.good, "poor": scale.poor},
        "most_excess_poor": _most_excess(service, snapshot),
        "where_first": where_first_document(service),
        "feedback": feedback_document(snapshot.feedback.get(plan.name), plan, snapshot.confidence),
    }


def _most_excess(service: ServiceSnapshot, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The groups with the most excess poor ratings: where a fix helps most users."""
    excess = np.nan_to_num(service.excess_poor)
    total = excess.sum()
    order = np.argsort(-excess, kind="stable")[:MOST_EXCESS]
    return [
        {
            "labels": dict(zip(snapshot.labels, service.counts.groups[group], strict=True)),
            "excess_poor": float(excess[group]),
            "share": float(excess[group] / total),
        }
        for group in order.tolist()
        if excess[group] > 0
    ]


def where_first_document(service: ServiceSnapshot) -> dict[str, Any] | None:
    """The labels that best explain the service's excess poor ratings; None if there are hardly any."""
    found = service.where_first
    if found is None:
        return None
    return {
        "labels": dict(found.labels),
        "excess_share": found.excess_share,
        "users_share": found.users_share,
        "text": sentence(found),
    }


def _groups(service: ServiceSnapshot, snapshot: Snapshot, detections: Detections) -> Iterator[dict[str, Any]]:
    """The visible groups, ordered by their labels."""
    visible = sorted(np.flatnonzero(service.visible).tolist(), key=service.counts.groups.__getitem__)
    for begin in range(0, len(visible), AT_ONCE):
        yield from group_documents(service, visible[begin : begin + AT_ONCE], snapshot, detections)


def group_document(
    service: ServiceSnapshot, group: int, snapshot: Snapshot, detections: Detections
) -> dict[str, Any]:
    """One group of a service, by its number."""
    return next(group_documents(service, [group], snapshot, detections))


def group_documents(
    service: ServiceSnapshot, groups: Sequence[int], snapshot: Snapshot, detections: Detections
) -> Iterator[dict[str, Any]]:
    """Groups of a service, by their numbers.

    Columns are converted to lists once for all groups: reading one number from an array costs as much as ten from a
    list.
    """
    tally, rows = service.counts, np.array(groups, np.int64)
    name = service.service.name
    regimes, states = detections.regimes.get(name), detections.states.get(name)
    ratings = _names(service.service.scale.ratings.tolist())
    windows = {
        duration.text(length): _windows(service, length, rows, snapshot.quantiles)
        for length in service.distributions
    }
    columns = zip(
        groups,
        tally.active_sessions[rows].tolist(),
        tally.open_stalls[rows].tolist(),
        tally.oldest_stall_s[rows].tolist(),
        tally.heard[rows].tolist(),
        tally.doubtful[rows].tolist(),
        zip(*windows.values(), strict=True),
        tally.exported_ratings[rows].tolist(),
        _null(service.contributions[rows]),
        _quality_documents(service, rows),
        strict=True,
    )
    for group, active, stalls, oldest_s, heard, doubtful, by_window, expected, contributions, quality in columns:
        yield {
            "labels": dict(zip(snapshot.labels, tally.groups[group], strict=True)),
            "state": state_document(None if states is None else states.groups[group], snapshot.time_s),
            "active_sessions": active,
            "open_stalls": stalls,
            "open_stall_oldest_s": oldest_s,
            "feed": feed_document(heard, doubtful),
            "windows": {name: window for name, window in zip(windows, by_window, strict=True) if window},
            "expected_ratings": dict(zip(ratings, expected, strict=True)),
            "regime": regime_document(regimes, group),
            "pow_contribution": dict(zip(service.factors, contributions, strict=True)),
            **quality,
        }


def _quality_documents(service: ServiceSnapshot, rows: Ints) -> list[dict[str, Any]]:
    """The fields of each of these groups about what was shown; none if the service rates no quality."""
    if not rates_quality(service.service):
        return [{} for _ in rows]
    unmeasured = service.counts.quality[rows, UNMEASURED].tolist()
    return [
        {"media_quality_mos": mos, "sessions_without_measures": sessions}
        for (mos,), sessions in zip(_null(service.quality_mos[rows, None]), unmeasured, strict=True)
    ]


def feed_document(heard: int, doubtful: Sequence[int]) -> dict[str, Any]:
    """Reports of a group in the last rating interval, and those that conflict or are impossible, by their kind."""
    return {"reports": heard, "doubtful": {kind: n for kind, n in zip(DOUBT_KINDS, doubtful, strict=True) if n}}


def regime_document(regimes: Regimes | None, group: int) -> dict[str, Any] | None:
    """The regime of a group; None before its first whole rating interval."""
    if regimes is None or group >= len(regimes.regime):
        return None
    changed_s, since_s = float(regimes.changed_s[group]), float(regimes.since_s[group])
    return {
        "regime": Regime(int(regimes.regime[group])).name.lower() if regimes.known[group] else None,
        "reason": str(regimes.reason[group]),
        "since_s": None if np.isnan(since_s) else since_s,
        "changes": {"up": int(regimes.changes[group, 0]), "down": int(regimes.changes[group, 1])},
        "changed_s": None if np.isnan(changed_s) else changed_s,
    }


def alert_document(alert: Alert) -> dict[str, Any]:
    """The state of one alert."""
    sample = alert.sample
    return {
        "alert": alert.rule.name,
        "service": alert.rule.service,
        "severity": alert.rule.severity,
        "metric": str(alert.rule.metric),
        "labels": dict(alert.labels),
        "state": alert.decision.state.name.lower(),
        "reason": str(alert.decision.reason),
        "since_s": alert.decision.since_s,
        "threshold": alert.rule.threshold,
        "recovery": alert.rule.recovery,
        "value": None if sample is None else sample.value,
        "surest": None if sample is None else sample.confident_value,
        "users": None if sample is None else sample.users,
        "silent_since_s": alert.silent_s,
    }


def _windows(
    service: ServiceSnapshot, length: int, rows: Ints, quantiles: tuple[float, ...]
) -> Iterator[dict[str, Any] | None]:
    """One window of each of these groups; None without data."""
    rated = service.distributions[length]
    ratings, thetas = _names(service.service.scale.ratings.tolist()), _names(service.service.theta_band)
    levels = _names(quantiles)
    columns = (
        rated.observations,
        rated.mos,
        rated.sos,
        rated.gob,
        rated.pow,
        rated.mos_bounds,
        rated.gob_bounds,
        rated.pow_bounds,
        rated.ratings,
        rated.quantiles,
        np.stack([rated.band_gob, rated.band_pow], axis=2),
        service.counts.users[length],
    )
    shares = ("gob", "pow")
    for row in zip(*(column[rows].tolist() for column in columns), strict=True):
        observations, mos, sos, gob, pow_, mos_ends, gob_ends, pow_ends, by_rating, by_quantile, band, users = row
        yield observations and {
            "observations": observations,
            "mos": mos,
            "sos": sos,
            "gob": gob,
            "pow": pow_,
            "mos_bounds": mos_ends,
            "gob_bounds": gob_ends,
            "pow_bounds": pow_ends,
            "ratings": dict(zip(ratings, by_rating, strict=True)),
            "opinion_quantiles": dict(zip(levels, by_quantile, strict=True)),
            "theta_band": {
                theta: dict(zip(shares, pair, strict=True)) for theta, pair in zip(thetas, band, strict=True)
            },
            "users": users,
        }


def _names(numbers: Iterable[float]) -> list[str]:
    return [f"{number:g}" for number in numbers]


def _null(values: Floats) -> list[list[float | None]]:
    """The rows with None for NaN."""
    objects = values.astype(object)
    objects[np.isnan(values)] = None
    rows: list[list[float | None]] = objects.tolist()
    return rows
