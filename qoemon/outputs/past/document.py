"""Ratings and alerts of the past as plain data, for JSON, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.qoe.rating_sums import RatedSums
from qoemon.core.qoe.scale import Scale
from qoemon.core.snapshot.past import PastAlerts, PastRatings

DIGITS = 6

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a cell as a formula. Values of labels come from clients."""


def ratings_document(past: PastRatings, confidence: float) -> dict[str, Any]:
    """All series and their steps; ratios are from 0 to 1, times in seconds, NaN where there is no data."""
    query, kept, scale = past.query, past.kept, past.query.scale
    steps, overall = _columns(past.rated(confidence), scale), _columns(past.rated_overall(confidence), scale)
    shape = past.observations.shape
    return {
        "service": query.service,
        "by": list(query.by),
        "only": {name: sorted(values) for name, values in query.only.items()},
        "from_s": past.from_s,
        "to_s": past.to_s,
        "step_s": past.step_s,
        "confidence": confidence,
        "scale": {"low": scale.low, "high": scale.high, "good": scale.good, "poor": scale.poor},
        "kept_s": kept.kept_s,
        "fine_s": kept.fine_s,
        "interval_s": kept.interval_s,
        "block_s": kept.block_s,
        "oldest_s": kept.oldest_s,
        "newest_s": kept.newest_s,
        "times_s": past.times_s,
        "series": [
            {
                "labels": dict(zip(query.by, labels, strict=True)),
                "total": {name: column[number].item() for name, column in overall.items()},
            }
            | {name: column.reshape(shape)[number].tolist() for name, column in steps.items()}
            for number, labels in enumerate(past.series)
        ],
    }


def ratings_csv(past: PastRatings, confidence: float) -> str:
    """A line for each series and step with data; time is the end of the step."""
    steps = _columns(past.rated(confidence), past.query.scale)
    times = [(datetime.fromtimestamp(end_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), end_s) for end_s in past.times_s]
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow
    write(["time", "time_s", *past.query.by, *steps])
    rows = zip(*(column.tolist() for column in steps.values()), strict=True)
    for (labels, time), row, observations in zip(
        ((labels, time) for labels in past.series for time in times),
        rows,
        past.observations.ravel().tolist(),
        strict=True,
    ):
        if observations:
            write([*time, *map(_cell, labels), *row])
    return file.getvalue()


def alerts_document(past: PastAlerts) -> dict[str, Any]:
    """The alerts, the newest first."""
    return {
        "from_s": past.from_s,
        "to_s": past.to_s,
        "kept_s": past.kept_s,
        "more": past.more,
        "alerts": [asdict(alert) for alert in past.alerts],
    }


def _columns(rated: RatedSums, scale: Scale) -> dict[str, np.ndarray]:
    """(N,) values by name."""
    columns: dict[str, np.ndarray] = {"observations": rated.observations, "users": rated.users}
    columns |= {"mos": rated.mos, **_ends("mos", rated.mos_bounds), "sos": rated.sos}
    columns |= {"gob": rated.gob, **_ends("gob", rated.gob_bounds)}
    columns |= {"pow": rated.pow, **_ends("pow", rated.pow_bounds)}
    columns |= dict(_shares(rated, scale))
    return {name: np.round(column, DIGITS) for name, column in columns.items()}


def _ends(name: str, bounds: Floats) -> dict[str, Floats]:
    return {f"{name}_lower": bounds[:, 0], f"{name}_upper": bounds[:, 1]}


def _shares(rated: RatedSums, scale: Scale) -> Iterator[tuple[str, Floats]]:
    for rating, shares in zip(scale.ratings.tolist(), rated.ratings.T, strict=True):
        yield f"rating_{rating}", shares


def _cell(value: str) -> str:
    """The value of a label, which a spreadsheet takes as text."""
    return f"'{value}" if value.startswith(FORMULA) else value
