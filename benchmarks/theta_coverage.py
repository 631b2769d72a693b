"""Coverage of the confidence interval of the SOS parameter. `python -m benchmarks.theta_coverage`.

Simulated studies: conditions with a MOS drawn from 1.3 to 4.8, whose users have Beta opinions with SOS parameter
theta, and rate them rounded to 1..5. Rounding changes the variance, so the truth to cover is not the theta of the
opinions but that of the ratings: least squares on the exact means and variances of their distribution.
The exit code is 1 if the interval that qoemon uses covers less than 92 % or more than 98 % in any row.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.sos import Moments, bootstrap_t, moments, resampled, slope, standard_error

STUDIES, RESAMPLES, CONFIDENCE = 500, 2000, 0.95
GRID = tuple(itertools.product((0.1, 0.3), (8, 20), (15, 30)))
BAR = (92, 98)
LOW, HIGH = float(ACR5.low), float(ACR5.high)
METHODS = ("bootstrap-t", "percentile", "conditions", "normal")


class Simulated(NamedTuple):
    """A study, and the SOS parameter of the population that it is drawn from."""

    ratings: list[Floats]
    truth: float


def study(theta: float, conditions: int, raters: int, rng: np.random.Generator) -> Simulated:
    mos = rng.uniform(1.3, 4.8, conditions)
    cdf = rating_cdf(mos, theta, ACR5.cuts, RatingModel.BETA, ACR5)
    shares = np.diff(cdf, axis=1)
    mean = shares @ ACR5.ratings
    variance = shares @ ACR5.ratings**2 - mean**2
    none = np.zeros(conditions)
    truth = slope(Moments(none + 1, mean, variance, none, none), LOW, HIGH, ddof=0)
    ratings = [rng.choice(ACR5.ratings, raters, p=each / each.sum()).astype(np.float64) for each in shares]
    return Simulated(ratings, float(truth))


def intervals(ratings: list[Floats], rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """The interval of each of METHODS."""
    yield bootstrap_t(ratings, LOW, HIGH, CONFIDENCE, rng, RESAMPLES)
    within = Moments(*np.concatenate([resampled(each, rng, RESAMPLES) for each in ratings], axis=2))
    yield _percentiles(slope(within, LOW, HIGH))
    observed = moments(ratings)
    chosen = rng.integers(0, len(ratings), (RESAMPLES, len(ratings)))
    yield _percentiles(slope(Moments(*(each[chosen] for each in observed)), LOW, HIGH))
    theta = slope(observed, LOW, HIGH)
    error = standard_error(observed, theta, LOW, HIGH)
    yield float(theta - 1.96 * error), float(theta + 1.96 * error)


def _percentiles(thetas: Floats) -> tuple[float, float]:
    lower, upper = np.quantile(thetas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(lower), float(upper)


class Row(NamedTuple):
    """The mean truth; studies covered by each method, and truths below and above the intervals of the first,
    in percent; and how wide these are on average.
    """

    truth: float
    covered: Floats
    below: float
    above: float
    width: float


def row(theta: float, conditions: int, raters: int, rng: np.random.Generator, studies: int = STUDIES) -> Row:
    missed, width, mean_truth = np.zeros((len(METHODS), 2)), 0.0, 0.0
    for _ in range(studies):
        ratings, truth = study(theta, conditions, raters, rng)
        ends = np.array(list(intervals(ratings, rng)))
        missed += np.column_stack([truth < ends[:, 0], truth > ends[:, 1]])
        width += float(np.ptp(ends[0])) / studies
        mean_truth += truth / studies
    missed *= 100 / studies
    return Row(mean_truth, 100 - missed.sum(axis=1), float(missed[0, 0]), float(missed[0, 1]), width)


def main() -> int:
    print(f"{STUDIES} studies a row, {RESAMPLES} resamples each: % of {CONFIDENCE:.0%} intervals that cover\n")
    print(f"| opinions | ratings | conditions | raters | {' | '.join(METHODS)} | missed below, above | width |")
    print(f"|{'---|' * (6 + len(METHODS))}")
    kept = True
    for seed, (theta, conditions, raters) in enumerate(GRID):
        found = row(theta, conditions, raters, np.random.default_rng(seed))
        covered = " | ".join(f"{each:.1f}" for each in found.covered)
        misses = f"{found.below:.1f}, {found.above:.1f}"
        of = f"{theta} | {found.truth:.3f} | {conditions} | {raters}"
        print(f"| {of} | {covered} | {misses} | {found.width:.3f} |", flush=True)
        kept &= bool(BAR[0] <= found.covered[0] <= BAR[1])
    print(f"\n{METHODS[0]}, the one in use, is {'' if kept else 'NOT '}within {BAR[0]} to {BAR[1]} %")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
