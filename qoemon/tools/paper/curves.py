"""The numbers of the paper's figures and table; everything about ratings comes from qoemon.core itself.

The figures follow Hossfeld et al. 2020, arXiv:2003.12742, with simulated videos where the paper has measured ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np
from scipy import stats

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.arrays import Counts, Floats
from qoemon.core.qoe.distribution import RatingKernel, rating_cdf
from qoemon.core.qoe.mapping import WEB_IQX, RatingModel
from qoemon.core.qoe.scale import ACR5
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.inputs.inbox import Message
from qoemon.tools.curves import Curves, curves, mos_cdf
from qoemon.tools.simulate.simulate import SCENARIOS, Population

OPINIONS = np.linspace(1, 5, 161)
"""Opinions at which CDFs are drawn, scale points."""


@dataclass(frozen=True)
class Answers:
    """Ratings of the users of a system. ratings (5,) share of each; MOS in scale points; GoB, PoW shares."""

    name: str
    ratings: Floats
    mos: float
    gob: float
    pow: float


def answers(name: str, counts: Counts, kernel: RatingKernel) -> Answers:
    """Ratings of users with these counts of conditions, (B,)."""
    rated = kernel.distribution(counts[None])
    return Answers(name, rated.ratings[0], float(rated.mos[0]), float(rated.gob[0]), float(rated.pow[0]))


def same_mos() -> tuple[Answers, ...]:
    """Three services with a MOS of 3.5."""
    alike, apart = np.array([3.5]), np.array([2.0, 5.0])
    return (
        answers("all the same, users much alike (θ 0.1)", np.array([1]), RatingKernel(alike, 0.1, scale=ACR5)),
        answers("all the same, users differ (θ 0.3)", np.array([1]), RatingKernel(alike, 0.3, scale=ACR5)),
        answers("half at MOS 2, half at MOS 5 (θ 0.3)", np.array([1, 1]), RatingKernel(apart, 0.3, scale=ACR5)),
    )


@dataclass(frozen=True)
class Spread:
    """One condition at each MOS, (M,): standard deviation of its ratings in scale points, GoB and PoW."""

    theta: float
    mos: Floats
    sos: Floats
    gob: Floats
    pow: Floats


def spreads() -> tuple[Spread, ...]:
    """Spread of the ratings at each MOS, for four theta."""
    mos = np.linspace(1, 5, 161)
    return tuple(_spread(theta, mos) for theta in (0.05, 0.1, 0.3, 0.6))


def _spread(theta: float, mos: Floats) -> Spread:
    rated = RatingKernel(mos, theta, scale=ACR5).distribution(np.eye(len(mos), dtype=np.int64))
    return Spread(theta, mos, rated.sos, rated.gob, rated.pow)


@dataclass(frozen=True)
class System:
    """Users of a system: CDFs at OPINIONS, (161,), of their MOS and opinions; `exact`: of ratings, if known."""

    name: str
    mos_cdf: Floats
    beta: Floats
    exact: Floats | None
    answers: Answers


@dataclass(frozen=True)
class TableRow:
    """A row of the table: a system, the ratings model and theta of the estimate, and its figures.

    sos        scale points, of all users and their ratings
    quantiles  scale points, one for each of QUANTILES
    """

    system: str
    model: RatingModel
    theta: float
    answers: Answers
    sos: float
    quantiles: Floats


QUANTILES = (0.05, 0.1, 0.5)
"""Quantiles in the table; of Beta ratings those of the continuous opinions."""


WAITS = 4001
"""Quantiles that represent the distribution of waiting times."""


STD_S = (2.0, 4.0, 8.0)
"""Standard deviations of the waiting times, s."""


def web() -> tuple[System, ...]:
    """The paper's Figure 3: log-normal waiting times with a mean of 4 s and different standard deviations."""
    return tuple(_web(std_s) for std_s in STD_S)


def _web_mos(std_s: float) -> Floats:
    sigma = np.sqrt(np.log1p((std_s / 4) ** 2))
    waits_s = stats.lognorm(sigma, scale=4 * np.exp(-(sigma**2) / 2)).ppf((np.arange(WAITS) + 0.5) / WAITS)
    return WEB_IQX(waits_s)


def _web(std_s: float) -> System:
    mos = _web_mos(std_s)
    beta, binomial = (
        rating_cdf(mos, 0.25, OPINIONS, model, ACR5).mean(axis=0)
        for model in (RatingModel.BETA, RatingModel.BINOMIAL)
    )
    found = answers(f"σ = {std_s:g} s", np.ones(WAITS, np.int64), RatingKernel(mos, 0.25, scale=ACR5))
    return System(found.name, mos_cdf(mos, np.full(WAITS, 1 / WAITS), OPINIONS), beta, binomial, found)


def table() -> tuple[TableRow, ...]:
    """Each system with each way to estimate its ratings: the web pages of web(), the video users of watched()."""
    waits = np.ones(WAITS, np.int64)
    web_rows = [
        _row(f"web, waits of mean 4 s, σ {std_s:g} s", waits, _web_mos(std_s), 0.25, model)
        for std_s in STD_S
        for model in (RatingModel.BINOMIAL, RatingModel.BETA)
    ]
    video = core_plan(Config()).services[0]
    video_rows = [
        _row(f"video, {name}", counts, video.rated_at, theta, RatingModel.BETA)
        for name, counts in watched().items()
        for theta in (0.1, 0.3)
    ]
    return (*web_rows, *video_rows)


def _row(system: str, counts: Counts, mos: Floats, theta: float, model: RatingModel) -> TableRow:
    kernel = RatingKernel(mos, theta, scale=ACR5, model=model, quantiles=QUANTILES)
    rated = kernel.distribution(counts[None])
    return TableRow(system, model, theta, answers(system, counts, kernel), float(rated.sos[0]), rated.quantiles[0])


GROUPS = [{"region": region, "cdn": cdn} for region in ("eu", "us") for cdn in ("a", "b")]
START_S, TICK_S, STEP_S, LENGTH_S = 1_700_000_040, 10, 5, 1200
WATCHED_S = {300: "normal operation", 650: "the CDN degraded"}
"""Times of the video figure: before, and when eu/a is at its worst before its outage."""


@dataclass(frozen=True)
class Story:
    """A simulated service, tick by tick, (T,): the affected group, and all users together.

    minutes    since the start
    pow_bounds (T, 2) of the group
    mean_mos   of all users
    """

    minutes: Floats
    hit_mos: Floats
    hit_pow: Floats
    pow_bounds: Floats
    mean_mos: Floats
    all_pow: Floats
    systems: tuple[System, ...]


@cache
def story() -> Story:
    """20 minutes of 2,000 simulated users: the CDN of one of four groups degrades, fails, and recovers."""
    plan = core_plan(Config())
    video = plan.services[0]
    kernel = video.kernel()
    rows, systems = [], []
    for snapshot in snapshots():
        now_s, tally = snapshot.time_s - START_S, snapshot.services[0].counts
        groups, counts = list(tally.groups), tally.windows[60]
        rated, everyone = kernel.distribution(counts), kernel.distribution(counts.sum(axis=0, keepdims=True))
        hit = groups.index(("eu", "a"))
        rows.append(
            (now_s / 60, rated.mos[hit], rated.pow[hit], *rated.pow_bounds[hit], everyone.mos[0], everyone.pow[0])
        )
        if name := WATCHED_S.get(now_s):
            cdf = rating_cdf(video.rated_at, video.theta, OPINIONS, video.model, video.scale)
            weights = counts[hit] / counts[hit].sum()
            at_most = mos_cdf(video.rated_at, weights, OPINIONS)
            systems.append(System(name, at_most, weights @ cdf, None, answers(name, counts[hit], kernel)))
    minutes, hit_mos, hit_pow, lower, upper, mean_mos, all_pow = np.array(rows).T
    return Story(minutes, hit_mos, hit_pow, np.column_stack([lower, upper]), mean_mos, all_pow, tuple(systems))


@cache
def watched() -> Mapping[str, Counts]:
    """(B,) conditions of the affected group at each of the times WATCHED_S, by its name."""
    found = {}
    for snapshot in snapshots():
        if name := WATCHED_S.get(snapshot.time_s - START_S):
            tally = snapshot.services[0].counts
            found[name] = tally.windows[60][list(tally.groups).index(("eu", "a"))]
    return found


def by_theta() -> Mapping[str, Curves]:
    """The curves of the systems of the video figure, by name: GoB and PoW over theta."""
    video = core_plan(Config()).services[0]
    return {name: curves(counts, video) for name, counts in watched().items()}


@cache
def snapshots() -> tuple[Snapshot, ...]:
    """Snapshots of the core at each tick, from the first full minute on."""
    return tuple(_snapshots())


def _snapshots() -> Iterator[Snapshot]:
    plan = core_plan(Config())
    pipeline, evaluation = ShardPipeline(plan), new_evaluation(Config())
    crowd = Population(GROUPS, sessions=2000, scenario=SCENARIOS["demo"], seed=1, start_s=START_S)
    for elapsed_s in range(STEP_S, LENGTH_S + 1, STEP_S):
        # A report at the very end of a tick still belongs to it.
        messages = list(_messages(crowd, elapsed_s))
        pipeline.apply(messages)
        if elapsed_s % TICK_S == 0:
            tick = evaluation.tick([pipeline.tick(START_S + elapsed_s)])
            if elapsed_s >= 60:
                yield tick.snapshot


def _messages(crowd: Population, elapsed_s: int) -> Iterator[Message]:
    for reported in crowd.step(START_S + elapsed_s):
        topic = "/".join(["qoe/v1", reported.service, *reported.labels.values()])
        payload = msgspec.json.encode(reported.report)
        yield Message(topic, payload, START_S + elapsed_s - 0.001, 1, 1, 1)
