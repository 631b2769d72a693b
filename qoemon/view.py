"""A Snapshot as plain data: what the API serves as JSON, and what tables and pages show."""

from __future__ import annotations

from typing import Any

import numpy as np

from qoemon import duration
from qoemon.core.alerts import Alert
from qoemon.core.rating import Distribution
from qoemon.core.regime import Regime, Regimes
from qoemon.core.snapshot import ServiceSnapshot, Snapshot
from qoemon.core.tally import Event
from qoemon.core.watch import Watched

MOST_EXCESS = 10
"""So many groups are named as those with the most excess poor ratings."""


def view(snapshot: Snapshot, watched: Watched) -> dict[str, Any]:
    """The numbers of a snapshot, named as the metrics are; ratios are shares, times are seconds."""
    return {
        "time_s": snapshot.time_s,
        "labels": list(snapshot.labels),
        "services": [
            _service(service, snapshot, watched.regimes.get(service.service.name)) for service in snapshot.services
        ],
        "alerts": [alert_view(alert, snapshot) for alert in watched.alerts],
        "sessions": snapshot.sessions,
        "events": {str(event): snapshot.events.get(event, 0) for event in Event},
    }


def _service(service: ServiceSnapshot, snapshot: Snapshot, regimes: Regimes | None) -> dict[str, Any]:
    told = service.service
    return {
        "service": told.name,
        "mapping": told.mapping.name,
        "ratings": str(told.model),
        "theta": told.theta,
        "scale": {"low": told.scale.low, "high": told.scale.high, "good": told.scale.good, "poor": told.scale.poor},
        "most_excess_poor": _most_excess(service, snapshot),
        "groups": [
            group_view(service, group, snapshot, regimes)
            for group in sorted(np.flatnonzero(service.shown).tolist(), key=service.tally.groups.__getitem__)
        ],
    }


def _most_excess(service: ServiceSnapshot, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The groups that hold most of the poor ratings that need not be: where mending helps most users."""
    excess = np.nan_to_num(service.excess_poor)
    total = excess.sum()
    order = np.argsort(-excess, kind="stable")[:MOST_EXCESS]
    return [
        {
            "labels": dict(zip(snapshot.labels, service.tally.groups[group], strict=True)),
            "excess_poor": float(excess[group]),
            "share": float(excess[group] / total),
        }
        for group in order.tolist()
        if excess[group] > 0
    ]


def group_view(service: ServiceSnapshot, group: int, snapshot: Snapshot, regimes: Regimes | None) -> dict[str, Any]:
    """One group of a service, by its number; regimes are those of the service."""
    tally = service.tally
    return {
        "labels": dict(zip(snapshot.labels, tally.groups[group], strict=True)),
        "active_sessions": int(tally.active_sessions[group]),
        "open_stalls": int(tally.open_stalls[group]),
        "open_stall_oldest_s": float(tally.oldest_stall_s[group]),
        "windows": {
            duration.text(length): _window(judged, group, service, snapshot)
            | {"users": int(tally.users[length][group])}
            for length, judged in service.distributions.items()
            if judged.observations[group]
        },
        "expected_ratings": _by_rating(tally.expected_ratings[group], service),
        "regime": regime_view(regimes, group),
        "pow_contribution": {
            factor: None if np.isnan(share) else share
            for factor, share in zip(service.factors, service.contributions[group].tolist(), strict=True)
        },
    }


def regime_view(regimes: Regimes | None, group: int) -> dict[str, Any] | None:
    """The regime of a group; None of one that has not seen a whole rating interval."""
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


def alert_view(alert: Alert, snapshot: Snapshot) -> dict[str, Any]:
    """One alert as it stands."""
    reading = alert.reading
    return {
        "alert": alert.rule.name,
        "service": alert.rule.service,
        "severity": alert.rule.severity,
        "labels": dict(zip(snapshot.labels, alert.group, strict=True)),
        "state": alert.decision.state.name.lower(),
        "reason": str(alert.decision.reason),
        "since_s": alert.decision.since_s,
        "enter": alert.rule.enter,
        "leave": alert.rule.leave,
        "value": None if reading is None else reading.figure,
        "surest": None if reading is None else reading.surest,
        "users": None if reading is None else reading.users,
    }


def _window(judged: Distribution, group: int, service: ServiceSnapshot, snapshot: Snapshot) -> dict[str, Any]:
    band = zip(
        service.service.theta_band, judged.band_gob[group].tolist(), judged.band_pow[group].tolist(), strict=True
    )
    return {
        "observations": int(judged.observations[group]),
        "mos": float(judged.mos[group]),
        "sos": float(judged.sos[group]),
        "gob": float(judged.gob[group]),
        "pow": float(judged.pow[group]),
        "mos_bounds": judged.mos_bounds[group].tolist(),
        "gob_bounds": judged.gob_bounds[group].tolist(),
        "pow_bounds": judged.pow_bounds[group].tolist(),
        "ratings": _by_rating(judged.ratings[group], service),
        "quantiles": {
            f"{q:g}": value for q, value in zip(snapshot.quantiles, judged.quantiles[group].tolist(), strict=True)
        },
        "theta_band": {f"{theta:g}": {"gob": gob, "pow": pow_} for theta, gob, pow_ in band},
    }


def _by_rating(values: Any, service: ServiceSnapshot) -> dict[str, float]:
    ratings = service.service.scale.ratings.tolist()
    return {str(rating): value for rating, value in zip(ratings, values.tolist(), strict=True)}
