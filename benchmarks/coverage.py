"""Coverage and width of the confidence intervals, with one observation a user. `python -m benchmarks.coverage`.

Each population is known exactly: the share of users in each bin that the daemon rates. N users are drawn from it
many times. A cell is below the bar if

- its coverage is below 94 %, or
- the mean width exceeds 1.1 times that of the normal interval where the normal interval is valid:
  N min(mu, 1 - mu) >= 30 (mu the GoB, the PoW, or the MOS on [0, 1]) and N Var(g) >= 3. The second condition
  excludes only users who are almost identical; the table marks their width with *: docs/uncertainty-measured.md.

The last block of the table has no bar. The lines that are marked are those that the last line counts; the exit code
is 1 if there are any.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from qoemon.core.arrays import Flags, Floats
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mos_level, response_bin
from qoemon.core.qoe.confidence import interval
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import MEDIA_S, VIDEO_STALL, WEB_IQX, RatingModel
from qoemon.core.qoe.scale import ACR5

USERS = (10, 30, 100, 300, 1000, 3000, 10_000)
REPETITIONS = 20_000
"""Samples of each cell: the standard error of a coverage is .0015."""
POPULATION = 1_000_000
LEAST_COVERAGE, MOST_WIDTH, FROM_COUNT, FROM_VARIANCE = 0.94, 1.1, 30, 3
FIGURES = ("GoB", "PoW", "MOS")

SERVICES = {
    "video-stall": (Service("video", VIDEO_STALL, 0.1), Service("video", VIDEO_STALL, 0.3)),
    "web-iqx": (
        Service("web", WEB_IQX, 0.25),
        Service("web", WEB_IQX, 0.25, model=RatingModel.BINOMIAL),
    ),
}


@dataclass(frozen=True)
class Population:
    """Users of a mapping: share (B,) of them in each bin of rated_at."""

    mapping: str
    users: str
    share: Floats


@dataclass(frozen=True)
class Cell:
    """Result of many samples; (3,) each, in the order of FIGURES.

    truth, variance  of g in the population
    users            effective number of users
    coverage, width  of the bounds; the width as a multiple of that of the normal interval
    other            coverage of other bounds, to compare with
    least, widest    the bars: of the coverage, and of the width where the normal interval is valid
    """

    truth: Floats
    variance: Floats
    users: float
    coverage: Floats
    width: Floats
    other: Floats
    least: float = LEAST_COVERAGE
    widest: float = MOST_WIDTH

    @property
    def count(self) -> Floats:
        return np.asarray(self.users * np.minimum(self.truth, 1 - self.truth))

    @property
    def alike(self) -> Flags:
        """Where the normal interval is valid by the count, but not by the variance."""
        return (self.count >= FROM_COUNT) & (self.users * self.variance < FROM_VARIANCE)

    @property
    def held(self) -> Flags:
        """Where the width has to keep to the bar."""
        return np.asarray((self.count >= FROM_COUNT) & ~self.alike & np.isfinite(self.widest))

    @property
    def fails(self) -> bool:
        """Whether the cell is below the bar."""
        wide = self.held & (self.width > self.widest)
        return bool(np.any(wide | (self.coverage < self.least)))


def players(stalls: float, stall_mean_s: float, outage: float = 0.0) -> Population:
    """Stalls a minute, whose rate differs between users; a share of users is stalled the whole time."""
    rng = np.random.default_rng(1)
    n = rng.poisson(stalls * rng.exponential(size=POPULATION))
    t = np.where(n > 0, rng.gamma(np.maximum(n, 1), stall_mean_s), 0)
    still = rng.random(POPULATION) < outage
    mos = VIDEO_STALL(np.where(still, 1.0, n), np.where(still, np.inf, np.minimum(t, MEDIA_S)))
    label = f"{stalls:g} stalls of {stall_mean_s:g} s" + (f", {outage:.1%} out" if outage else "")
    return Population("video-stall", label, _shares(mos_level(mos, ACR5), SERVICES["video-stall"][0]))


def readers(mean_s: float, spread: float, outage: float = 0.0) -> Population:
    """Lognormal response times, standard deviation `spread` times the mean; a share never gets a response."""
    rng = np.random.default_rng(1)
    sigma = np.sqrt(np.log1p(spread**2))
    x = mean_s * np.exp(rng.normal(-(sigma**2) / 2, sigma, POPULATION))
    x[rng.random(POPULATION) < outage] = np.inf
    label = f"{mean_s:g} s ± {spread:.0%}" + (f", {outage:.1%} out" if outage else "")
    return Population("web-iqx", label, _shares(response_bin(x), SERVICES["web-iqx"][0]))


def _shares(bins: np.ndarray, service: Service) -> Floats:
    return np.bincount(bins, minlength=len(service.rated_at)) / POPULATION


def populations() -> Iterator[Population]:
    """PoW from .001 to .5; users differ, or are almost identical but for a few in an outage."""
    for stalls, stall_mean_s in ((0.05, 3), (0.1, 3), (0.3, 4), (1, 4), (3, 5)):
        yield players(stalls, stall_mean_s)
    for outage in (0.0025, 0.01, 0.05):
        yield players(0, 1, outage)
    yield players(0.2, 3, 0.005)
    yield players(0.5, 2, 0.3)
    for mean_s, spread in ((0.3, 1), (0.5, 2), (1, 1), (2, 1), (4, 0.5), (4, 2), (0.5, 0.5), (1, 0.3)):
        yield readers(mean_s, spread)
    for mean_s, spread, outage in ((0.001, 0.1, 0.002), (0.001, 0.1, 0.05), (0.2, 1, 0.002), (0.2, 1, 0.02)):
        yield readers(mean_s, spread, outage)


def answers(service: Service) -> Floats:
    """(B, 3) probability of good, of poor, and unit MOS in each bin: the g of FIGURES."""
    mos = service.rated_at
    cdf = rating_cdf(mos, service.theta, ACR5.cuts, service.model, ACR5)
    return np.column_stack([1 - cdf[:, 3], cdf[:, 2], ACR5.unit(mos)])


def normal_interval(mean: Floats, square: Floats, users: int) -> Floats:
    """The textbook interval, mean ± z sd / sqrt(N): (R,) to (R, 2)."""
    reach = ndtri(0.975) * np.sqrt(np.maximum(square - mean**2, 0) / users)
    return np.column_stack([mean - reach, mean + reach])


def covered(bounds: Floats, truth: float) -> float:
    """Share of the (R, 2) intervals that contain the truth, within rounding."""
    inside = (bounds[:, 0] <= truth + 1e-12) & (truth <= bounds[:, 1] + 1e-12)
    return float(inside.mean())


def measure(counts: np.ndarray, share: Floats, g: Floats) -> Cell:
    """The cell of samples: counts (R, B) of users drawn, share (B,) of the population, g (B, 3)."""
    users = int(counts[0].sum())
    truth = share @ g
    means, squares = counts @ g / users, counts @ g**2 / users
    columns = []
    for mean, square, true in zip(means.T, squares.T, truth, strict=True):
        ours = interval(mean, square, np.full(len(mean), users))
        normal = normal_interval(mean, square, users)
        width = np.ptp(ours, axis=1).mean() / np.ptp(normal, axis=1).mean()
        columns.append((covered(ours, true), width, covered(normal, true)))
    coverage, relative, plain = np.array(columns).T
    return Cell(truth, share @ g**2 - truth**2, users, coverage, relative, plain)


def cells(
    population: Population, repetitions: int, sizes: Sequence[int], seed: int
) -> Iterator[tuple[Service, Cell]]:
    """All cells of one population. Both its services get the same samples."""
    rng = np.random.default_rng(seed)
    nonzero = population.share > 0
    share = population.share[nonzero]
    for users in sizes:
        counts = rng.multinomial(users, share, size=repetitions)
        for service in SERVICES[population.mapping]:
            yield service, measure(counts, share, answers(service)[nonzero])


def row(service: Service, cell: Cell) -> str:
    """A line of the table."""
    name = f"{service.mapping.name} {service.theta:g} {service.model}"
    return f"{name:24} {cell.truth[1]:6.4f} {cell.users:6}  {figures(cell)}"


def figures(cell: Cell) -> str:
    """The columns of coverage and width, and the mark of a cell below the bar."""

    def widths() -> Iterator[str]:
        for width, held, alike in zip(cell.width, cell.held, cell.alike, strict=True):
            yield f"{width:5.2f}{'=' if held else '*' if alike else ' '}"

    mark = "   below the bar" if cell.fails else ""
    return f"{_percent(cell.coverage)}   {' '.join(widths())}   {_percent(cell.other)}{mark}"


def verdict(done: Sequence[Cell]) -> int:
    """Print how many cells are below the bar; returns the exit code."""
    failed = sum(cell.fails for cell in done)
    print(f"\n{len(done)} cells of three figures, {failed} below the bar")
    return int(failed > 0)


def _percent(shares: Floats) -> str:
    return " ".join(f"{100 * share:5.1f}" for share in shares)


def summary(done: list[Cell]) -> Iterator[str]:
    """The worst of all populations and figures, by number of users, as a Markdown table."""
    yield "| users | least coverage | of the normal interval | widest where held to 1.1 | of users all alike (*) |"
    yield "|---|---|---|---|---|"
    for users in USERS:
        some = [cell for cell in done if cell.users == users]
        least, plain = (100 * np.min(all_) for all_ in ([c.coverage for c in some], [c.other for c in some]))
        held, alike = _widest([c.width[c.held] for c in some]), _widest([c.width[c.alike] for c in some])
        yield f"| {users:,} | {least:.1f} % | {plain:.1f} % | {held} | {alike} |"


def _widest(widths: Sequence[Floats]) -> str:
    every = np.concatenate(widths)
    return f"{every.max():.2f}" if every.size else "–"


def measured(population: Population, seed: int, *, barred: bool = True) -> list[Cell]:
    """Print the lines of one population; returns its cells."""
    print(f"\n{population.users}")
    done = []
    for service, cell in cells(population, REPETITIONS, USERS, seed):
        done.append(cell if barred else replace(cell, least=0, widest=np.inf))
        print(row(service, done[-1]), flush=True)
    return done


def main() -> int:
    """Print the tables; 1 if a cell fails."""
    columns = " ".join(f"{name:>5}" for name in FIGURES)
    widths = "  ".join(f"{name:>5}" for name in FIGURES)
    print(f"{REPETITIONS:,} samples a cell; coverage in %, mean width over that of the normal interval")
    print("(= where the bar of 1.1 applies, * where users are too similar for it)\n")
    print(f"{'':40}{'coverage':17}   {'width':20}   coverage of the normal interval")
    print(f"{'service, theta, ratings':24} {'PoW':>6} {'N':>6}  {columns}   {widths}    {columns}")
    done = [cell for seed, population in enumerate(populations()) for cell in measured(population, seed)]
    print("", *summary(done), sep="\n")
    print("\nWithout a bar: users who are almost identical, but for a few whom most samples miss")
    for population in (readers(1, 0.1), readers(1, 0.1, 0.002)):
        done += measured(population, seed=0, barred=False)
    return verdict(done)


if __name__ == "__main__":
    sys.exit(main())
