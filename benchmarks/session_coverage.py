"""Confidence intervals where sessions have unequal weights. `python -m benchmarks.session_coverage`.

In a window of an hour, a session of an hour weighs 60 times one of a minute. The bounds are those for the effective
number of users (sum of w)^2 / (sum of w^2), with w the observations of each session (Kish 1965). The right columns
show how often bounds for the number of sessions would contain the truth.

A session draws its condition from the population, keeps it in a share of its minutes, and draws a new one in each
of the others. If all minutes are alike, the effective number is exact. If they differ, it is less than what the
sessions tell, and the bounds are wider than need be. A cell is below the bar by the rule of benchmarks.coverage,
with the effective number for N; the width has a bar where all minutes are alike. It is compared with the normal
interval for the standard deviation that the mean has over all samples.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from scipy.special import ndtri

from benchmarks.coverage import (
    FIGURES,
    MOST_WIDTH,
    SERVICES,
    Cell,
    Population,
    answers,
    covered,
    figures,
    players,
    readers,
    verdict,
)
from qoemon.core.arrays import Floats, Ints
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.confidence import interval

SESSIONS = (30, 100, 300, 1000)
REPETITIONS = 10_000
"""Samples of each cell: the standard error of a coverage is .002."""
LONGEST = 60
ALIKE = (1.0, 0.5, 0.1)
"""Share of its minutes in which a session keeps its first condition."""


class Draw(Protocol):
    """Draws lengths of sessions in the window, minutes."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int]) -> Ints: ...


def _even(rng: np.random.Generator, shape: tuple[int, int]) -> Ints:
    return rng.integers(1, LONGEST + 1, shape)


def _exponential(rng: np.random.Generator, shape: tuple[int, int]) -> Ints:
    return np.minimum(np.ceil(rng.exponential(10, shape)), LONGEST).astype(np.int64)


def _short_or_long(rng: np.random.Generator, shape: tuple[int, int]) -> Ints:
    return np.where(rng.random(shape) < 0.9, 1, LONGEST)


LENGTHS: Mapping[str, Draw] = {
    "1 to 60 min, evenly": _even,
    "10 min, exponential": _exponential,
    "1 min, a tenth 60 min": _short_or_long,
}


def populations() -> Iterator[Population]:
    """Rare and frequent impairments, and a few users in an outage."""
    yield players(0.1, 3)
    yield players(1, 4)
    yield players(0, 1, 0.01)
    yield players(0.5, 2, 0.3)
    yield readers(2, 1)
    yield readers(0.2, 1, 0.02)


def cells(
    population: Population, lengths: Draw, alike: float, sessions: int, repetitions: int, seed: int
) -> Iterator[tuple[Service, Cell]]:
    """The cells of a population. All its services get the same samples."""
    rng = np.random.default_rng(seed)
    nonzero = population.share > 0
    share = population.share[nonzero]
    weight = lengths(rng, (repetitions, sessions))
    first = rng.choice(len(share), weight.shape, p=share)
    keeps = weight if alike == 1 else rng.binomial(weight, alike)
    others = rng.multinomial((weight - keeps).sum(axis=1), share)
    total = weight.sum(axis=1)
    effective = total**2 / (weight**2).sum(axis=1)
    for service in SERVICES[population.mapping]:
        g = answers(service)[nonzero]
        sums = [((keeps * column[first]).sum(axis=1) + others @ column) / total for column in (*g.T, *(g**2).T)]
        columns = [
            _measured(sums[each], sums[len(FIGURES) + each], effective, sessions, float(share @ g[:, each]))
            for each in range(len(FIGURES))
        ]
        coverage, width, heads = np.array(columns).T
        truth = share @ g
        yield (
            service,
            Cell(
                truth=truth,
                variance=share @ g**2 - truth**2,
                users=float(effective.mean()),
                coverage=coverage,
                width=width,
                other=heads,
                widest=MOST_WIDTH if alike == 1 else np.inf,
            ),
        )


def _measured(
    mean: Floats, square: Floats, effective: Floats, sessions: int, truth: float
) -> tuple[float, float, float]:
    """Coverage and width with the effective number of users, and coverage with the number of sessions."""
    bounds = interval(mean, square, effective)
    heads = interval(mean, square, np.full(len(mean), sessions))
    normal = 2 * ndtri(0.975) * mean.std()
    return covered(bounds, truth), float(np.ptp(bounds, axis=1).mean() / normal), covered(heads, truth)


def row(service: Service, alike: float, sessions: int, cell: Cell) -> str:
    """A line of the table."""
    name = f"{service.mapping.name} {service.theta:g} {service.model}"
    return f"{name:24} {cell.truth[1]:6.4f} {alike:5.0%} {sessions:6} {cell.users:6.0f}  {figures(cell)}"


def summary(done: list[tuple[str, float, Cell]]) -> Iterator[str]:
    """The extremes of all populations, sizes and figures, by length and likeness, as a Markdown table."""
    yield (
        "| sessions | minutes alike | coverage: least / median | with the number of sessions | width: median "
        "| widest where held to 1.1 |"
    )
    yield "|---|---|---|---|---|---|"
    for lengths in LENGTHS:
        for alike in ALIKE:
            some = [cell for name, share, cell in done if (name, share) == (lengths, alike)]
            ours, heads, width = (
                np.concatenate(each)
                for each in ([c.coverage for c in some], [c.other for c in some], [c.width for c in some])
            )
            held = np.concatenate([c.width[c.held] for c in some])
            yield (
                f"| {lengths} | {alike:.0%} | {100 * ours.min():.1f} / {100 * np.median(ours):.1f} % "
                f"| {100 * heads.min():.1f} / {100 * np.median(heads):.1f} % | {np.median(width):.2f} "
                f"| {f'{held.max():.2f}' if held.size else '–'} |"
            )


def main() -> int:
    """Print the tables; 1 if a cell is below the bar."""
    print(f"{REPETITIONS:,} samples a cell; coverage in %, mean width over that of the normal interval")
    print("(= where the bar of 1.1 applies, * where users are too similar for it)\n")
    columns = " ".join(f"{name:>5}" for name in FIGURES)
    widths = "  ".join(f"{name:>5}" for name in FIGURES)
    print(f"{'':53}{'coverage':17}   {'width':20}   coverage with the number of sessions")
    print(f"{'service, theta, ratings':24} {'PoW':>6} {'alike':>5} {'N':>6} {'eff.':>6}  ", end="")
    print(f"{columns}   {widths}    {columns}")
    done = []
    for seed, population in enumerate(populations()):
        for name, lengths in LENGTHS.items():
            print(f"\n{population.users}; sessions of {name}")
            for alike in ALIKE:
                for sessions in SESSIONS:
                    for service, cell in cells(population, lengths, alike, sessions, REPETITIONS, seed):
                        done.append((name, alike, cell))
                        print(row(service, alike, sessions, cell), flush=True)
    print("", *summary(done), sep="\n")
    return verdict([cell for _, _, cell in done])


if __name__ == "__main__":
    sys.exit(main())
