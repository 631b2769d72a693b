"""A Snapshot as plain data: what the API serves as JSON, and what tables and pages show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qoemon import duration
from qoemon.core.rating import Distribution
from qoemon.core.snapshot import ServiceSnapshot, Snapshot


def view(snapshot: Snapshot) -> dict[str, Any]:
    """The numbers of a snapshot, named as the metrics are; ratios are shares, times are seconds."""
    return {
        "time_s": snapshot.time_s,
        "labels": list(snapshot.labels),
        "services": [_service(service, snapshot) for service in snapshot.services],
        "sessions": snapshot.sessions,
        "events": {str(event): count for event, count in snapshot.events.items()},
    }


def _service(service: ServiceSnapshot, snapshot: Snapshot) -> dict[str, Any]:
    told = service.service
    return {
        "service": told.name,
        "mapping": told.mapping.name,
        "ratings": str(told.model),
        "theta": told.theta,
        "scale": {"low": told.scale.low, "high": told.scale.high, "good": told.scale.good, "poor": told.scale.poor},
        "groups": list(_groups(service, snapshot)),
    }


def _groups(service: ServiceSnapshot, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    tally = service.tally
    for group in sorted(np.flatnonzero(service.shown).tolist(), key=tally.groups.__getitem__):
        yield {
            "labels": dict(zip(snapshot.labels, tally.groups[group], strict=True)),
            "active_sessions": int(tally.active_sessions[group]),
            "open_stalls": int(tally.open_stalls[group]),
            "open_stall_oldest_s": float(tally.oldest_stall_s[group]),
            "windows": {
                duration.text(length): _window(judged, group, service, snapshot)
                for length, judged in service.distributions.items()
                if judged.observations[group]
            },
            "expected_ratings": _by_rating(tally.expected_ratings[group], service),
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
        "ratings": _by_rating(judged.ratings[group], service),
        "quantiles": {
            f"{q:g}": value for q, value in zip(snapshot.quantiles, judged.quantiles[group].tolist(), strict=True)
        },
        "theta_band": {f"{theta:g}": {"gob": gob, "pow": pow_} for theta, gob, pow_ in band},
    }


def _by_rating(values: Any, service: ServiceSnapshot) -> dict[str, float]:
    ratings = service.service.scale.ratings.tolist()
    return {str(rating): value for rating, value in zip(ratings, values.tolist(), strict=True)}
