"""Constants refitted to few ratings, beside published constants that are off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.feedback.simulated import BETWEEN_DAYS, SERVICES, THETA
from qoemon.core.feedback.prediction import predicted
from qoemon.tools.calibrate.refit import Model, Rated, fitted, refit
from tests.support.feedback import drawn

RUNS, FEW, MANY, DAYS = 100, 30, 1000, 20


class Truth(NamedTuple):
    """A service, and factors on its published constants that give what its users think."""

    service: str
    factors: Mapping[str, float]


OFF = (
    Truth("video", {"scale": 0.85}),
    Truth("video", {"scale": 0.93, "time": 1.5, "count": 1.5}),
    Truth("web", {"beta": 1.6}),
)
HOLDS = Truth("video", {})


def rows() -> Iterator[Row]:
    """How often the fit is nearer to the truth than the published constants; how often it is proposed."""
    for truth in OFF:
        before, after = _models(truth)
        rng = np.random.default_rng(3)
        apart = _distance(before, after, truth.service)
        nearer = [
            _distance(fitted(_rated(truth, FEW, rng), before), after, truth.service) < apart for _ in range(RUNS)
        ]
        name = f"{truth.service}, constants off by {apart:.2f} MOS"
        yield Row(f"{name}: nearer after {FEW} ratings", 100 * float(np.mean(nearer)), 88, unit=" %")
        proposed = [refit(_rated(truth, MANY, rng), before).proposed for _ in range(RUNS)]
        yield Row(
            f"{name}: proposed with {MANY:,} ratings of {DAYS} days", 100 * float(np.mean(proposed)), 90, unit=" %"
        )
    before, _ = _models(HOLDS)
    rng = np.random.default_rng(4)
    wrongly = [refit(_rated(HOLDS, MANY, rng), before).proposed for _ in range(RUNS)]
    yield Row("video, constants that hold: others are proposed", 100 * float(np.mean(wrongly)), most=15, unit=" %")


def _models(truth: Truth) -> tuple[Model, Model]:
    mapping, _ = SERVICES[truth.service]
    changed = {name: factor * mapping.parameters[name] for name, factor in truth.factors.items()}
    return Model(mapping, THETA), Model(mapping.with_parameters(changed), THETA)


def _distance(one: Model, other: Model, service: str) -> float:
    """Root mean square of the difference of the MOS over the sessions of the service."""
    axes = SERVICES[service][1](5000, np.random.default_rng(0))
    return float(np.sqrt(np.mean((one.mapping(*axes) - other.mapping(*axes)) ** 2)))


def _rated(truth: Truth, ratings: int, rng: np.random.Generator) -> Rated:
    """Ratings by users of this truth; days differ."""
    _, after = _models(truth)
    axes = SERVICES[truth.service][1](ratings, rng)
    day = rng.integers(0, DAYS, ratings)
    mos = np.clip(after.mapping(*axes) + rng.normal(0, BETWEEN_DAYS, DAYS)[day], 1, 5)
    rating = drawn(predicted(mos, after.theta).shares, rng).astype(np.int64)
    return Rated(axes, rating, np.ones(ratings, np.int64), day)
