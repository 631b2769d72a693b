"""How often the interval of theta contains the truth: independent ratings, and users who rate everything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from benchmarks.calibration.row import Row
from benchmarks.calibration.simulated import HIGH, LOW, Panel, Simulated, panel, study
from qoemon.core.arrays import Floats
from qoemon.tools.calibrate.parabola import CentralMoments, moments, slope, standard_error
from qoemon.tools.calibrate.resampling import (
    UserPanel,
    interval_of_ratings,
    interval_of_users,
    resampled,
    user_samples,
)

STUDIES, RESAMPLES, CONFIDENCE = 400, 1000, 0.95
INDEPENDENT = tuple(itertools.product((0.1, 0.3), (8, 20), (15, 30)))
DEPENDENT = ((0.1, 40, 30), (0.2, 40, 30), (0.3, 40, 30), (0.2, 20, 15))
BAR = (92.0, 98.0)
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)

Interval = tuple[float, float]
D = TypeVar("D", Simulated, Panel)


def of_ratings(drawn: Simulated, rng: np.random.Generator) -> Iterator[tuple[str, Interval]]:
    """The interval of independent ratings, first that of qoemon."""
    ratings = drawn.ratings
    yield "bootstrap-t", interval_of_ratings(ratings, LOW, HIGH, CONFIDENCE, rng, RESAMPLES)
    within = CentralMoments(*np.concatenate([resampled(each, rng, RESAMPLES) for each in ratings], axis=2))
    yield "percentile", _percentiles(slope(within, LOW, HIGH))
    observed = moments(ratings)
    chosen = rng.integers(0, len(ratings), (RESAMPLES, len(ratings)))
    yield "conditions", _percentiles(slope(CentralMoments(*(each[chosen] for each in observed)), LOW, HIGH))
    theta = slope(observed, LOW, HIGH)
    error = standard_error(observed, theta, LOW, HIGH)
    yield "normal", (float(theta - 1.96 * error), float(theta + 1.96 * error))


def of_users(drawn: Panel, rng: np.random.Generator) -> Iterator[tuple[str, Interval]]:
    """The interval of users who rate everything, first that of qoemon."""
    ratings = drawn.ratings
    yield "users, bootstrap-t", interval_of_users(ratings, CONFIDENCE, rng, RESAMPLES)
    users = UserPanel(ratings)
    thetas = np.concatenate(
        [users.estimates(each).theta for each in user_samples(users.users, users.conditions, rng, RESAMPLES)]
    )
    yield "percentile", _percentiles(thetas)
    everyone = np.ones((1, users.users))
    theta = users.estimates(everyone).theta[0]
    yield "BCa", _bca(thetas, theta, users.influence_of_users(everyone)[0])
    apart = list(ratings.conditions.values())
    yield "ratings", interval_of_ratings(apart, LOW, HIGH, CONFIDENCE, rng, RESAMPLES)


def covered(
    method_intervals: Sequence[Sequence[tuple[str, Interval]]], truths: Sequence[float]
) -> dict[str, Floats]:
    """By method: truths below, in, and above its intervals in percent, and the mean width of these."""
    out = {}
    for at, (name, _) in enumerate(method_intervals[0]):
        ends = np.array([each[at][1] for each in method_intervals])
        below, above = (truths < ends[:, 0]).mean(), (truths > ends[:, 1]).mean()
        out[name] = np.array([100 * below, 100 * (1 - below - above), 100 * above, np.ptp(ends, axis=1).mean()])
    return out


def rows(studies: int = STUDIES) -> Iterator[Row]:
    """Print both tables; yield the coverage of the intervals that qoemon uses."""
    yield from _table("independent ratings", INDEPENDENT, studies, study, of_ratings)
    yield from _table("users who rate everything", DEPENDENT, studies, panel, of_users)


def _table(
    title: str,
    grid: Sequence[tuple[float, int, int]],
    studies: int,
    draw: Callable[[float, int, int, np.random.Generator], D],
    intervals: Callable[[D, np.random.Generator], Iterator[tuple[str, Interval]]],
) -> Iterator[Row]:
    header = ""
    for seed, (theta, conditions, raters) in enumerate(grid):
        rng = np.random.default_rng(seed)
        drawn = [draw(theta, conditions, raters, rng) for _ in range(studies)]
        found = covered([list(intervals(each, rng)) for each in drawn], [each.truth for each in drawn])
        if not header:
            header = (
                f"| opinions | ratings | conditions | raters | {' | '.join(found)} | missed below, above | width |"
            )
            print(
                f"\n{title}: {studies} studies a row, {RESAMPLES} resamples each; % covered at {CONFIDENCE:.0%}\n"
            )
            print(header, f"|{'---|' * (6 + len(found))}", sep="\n")
        truth = np.mean([each.truth for each in drawn])
        ours = next(iter(found.values()))
        share = " | ".join(f"{each[1]:.1f}" for each in found.values())
        misses = f"{ours[0]:.1f}, {ours[2]:.1f} | {ours[3]:.3f}"
        print(f"| {theta} | {truth:.3f} | {conditions} | {raters} | {share} | {misses} |", flush=True)
        name = f"coverage, {title}, theta {theta}, {conditions} conditions, {raters} raters"
        yield Row(name, float(ours[1]), *BAR, unit=" %")


def _percentiles(thetas: Floats) -> Interval:
    lower, upper = np.nanquantile(thetas, TAILS)
    return float(lower), float(upper)


def _bca(thetas: Floats, theta: float, influence: Floats) -> Interval:
    """Bias-corrected and accelerated percentiles: Efron, Tibshirani 1993, 14.3."""
    shift = ndtri(np.mean(thetas < theta))
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    normal = shift + ndtri(TAILS)
    lower, upper = np.nanquantile(thetas, ndtr(shift + normal / (1 - acceleration * normal)))
    return float(lower), float(upper)
