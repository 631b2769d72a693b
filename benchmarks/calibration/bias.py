"""How far theta is off on average, with few ratings a condition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.calibration.row import Row
from benchmarks.calibration.simulated import BEST, HIGH, LOW, WORST, true_theta
from qoemon.core.arrays import Floats
from qoemon.core.qoe.scale import ACR5
from qoemon.tools.calibrate.opinions import rating_shares
from qoemon.tools.calibrate.parabola import CentralMoments, slope

STUDIES, CONDITIONS, MOST = 4000, 40, 0.003
THETAS, RATERS = (0.1, 0.2, 0.3), (4, 6, 15)
HELD_FROM = 6
"""Ratings a condition from which the bias has a bar; with fewer, `qoemon theta` warns."""


def rows() -> Iterator[Row]:
    """Print the bias with and without its correction; yield that with it."""
    print(f"\nbias of theta: {STUDIES:,} studies of {CONDITIONS} conditions a row\n")
    print("| opinions | ratings | raters | bias | not corrected |\n|---|---|---|---|---|")
    shares_at = np.linspace(WORST, BEST, CONDITIONS)
    for theta in THETAS:
        shares = rating_shares(shares_at, theta, ACR5)
        truth = true_theta(shares)
        for raters in RATERS:
            of = drawn(shares, raters, np.random.default_rng(raters))
            bias, plain = (float(each.mean() - truth) for each in (slope(of, LOW, HIGH), plain_slope(of)))
            print(f"| {theta} | {truth:.4f} | {raters} | {bias:+.4f} | {plain:+.4f} |", flush=True)
            if raters >= HELD_FROM:
                yield Row(f"bias, theta {theta}, {raters} ratings a condition", bias, -MOST, MOST)


def drawn(shares: Floats, raters: int, rng: np.random.Generator) -> CentralMoments:
    """Moments (STUDIES, C) of studies that are drawn from these shares of ratings, (C, K)."""
    counts = np.stack([rng.multinomial(raters, each / each.sum(), STUDIES) for each in shares], axis=1)
    mean, square, cube = (counts @ ACR5.ratings**power / raters for power in (1, 2, 3))
    third = cube - 3 * mean * square + 2 * mean**3
    return CentralMoments(np.full(mean.shape, raters), mean, square - mean**2, third, np.full_like(mean, np.nan))


def plain_slope(of: CentralMoments) -> Floats:
    """Least squares as published, with the parabola at the mean of the ratings."""
    parabola = (HIGH - of.mean) * (of.mean - LOW)
    variance = of.second * of.size / (of.size - 1)
    return np.asarray((parabola * variance).sum(axis=-1) / (parabola**2).sum(axis=-1))
