"""CPU of roll-ups and history in a tick, and of the search where to look first: `python -m benchmarks.roll_ups`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.bench import cpu_ms, run
from benchmarks.population import TICK_S, Population, plan
from benchmarks.row import Row
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.monitor import Monitor
from qoemon.core.evaluation import Evaluation, Tick
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.snapshot.where_first import where_first
from qoemon.state.history_store import HistoryStore, Written

SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 9
SLICES = 6
ROLL_UPS = (("cdn",), ())


@dataclass
class Runs:
    """CPU milliseconds of some ticks, without roll-ups and history, and with both."""

    without_ms: list[float] = field(default_factory=list)
    with_ms: list[float] = field(default_factory=list)


def measure() -> tuple[Runs, Runs]:
    """Ticks within a rating interval, and ticks that end one: the same counts, evaluated twice."""
    with tempfile.TemporaryDirectory() as directory:
        store = HistoryStore(Path(directory) / "history.sqlite3", 60, 30 * 86_400)
        try:
            return _measured(store)
        finally:
            store.close()


def _measured(store: HistoryStore) -> tuple[Runs, Runs]:
    usual = plan(SESSIONS, GROUPS)
    population, monitor = Population(SESSIONS, GROUPS), Monitor(usual)
    within, closing = Runs(), Runs()
    plain, summed = (
        Evaluation(replace(usual, roll_ups=roll_ups), (), RegimeRules()) for roll_ups in ((), ROLL_UPS)
    )
    counts: list[ShardCounts] = []

    def keep(tick: Tick) -> None:
        if tick.snapshot.closed:
            store.write(Written(tick.snapshot.time_s, tick.snapshot.labels, tick.snapshot.closed, (), ()))

    evaluations: tuple[Callable[[], object], Callable[[], object]] = (
        lambda: plain.tick([counts[-1]]),
        lambda: keep(summed.tick([counts[-1]])),
    )
    for _ in range(SLICES * (REPEATS + 1)):
        for batch in population.tick():
            monitor.apply(batch, batch.arrival_s[0])
        counted_ms = cpu_ms(lambda: counts.append(_counts(monitor, population.now_s)), 1)[0]
        without_ms, with_ms = (counted_ms + cpu_ms(evaluate, 1)[0] for evaluate in evaluations)
        if population.ticks > SLICES:
            runs = within if population.now_s % 60 else closing
            runs.without_ms.append(without_ms)
            runs.with_ms.append(with_ms)
        counts.clear()
    return within, closing


def _counts(monitor: Monitor, now_s: int) -> ShardCounts:
    services = monitor.counts(now_s)
    assert monitor.tick is not None
    closed = tuple(monitor.drain_closed())
    return ShardCounts(monitor.tick * TICK_S, services, closed, monitor.events, {}, monitor.sessions)


def searches() -> Iterator[tuple[str, list[float]]]:
    """By number of labels, CPU milliseconds of searches with one value hit, and with all hit alike."""
    rng = np.random.default_rng(1)
    for sizes in ((50, 20), (10, 10, 5, 2)):
        groups: list[Labels] = [tuple(map(str, values)) for values in product(*map(range, sizes))]
        names = [f"label-{place}" for place in range(len(sizes))]
        users = rng.integers(1, 2000, len(groups))
        for what, rate in (
            ("one value affected", np.array([0.5 if group[1] == "7" else 0.01 for group in groups])),
            ("all affected alike", np.full(len(groups), 0.3)),
        ):
            excess = 0.9 * rng.binomial(users, rate)

            def search(
                names: list[str] = names,
                groups: list[Labels] = groups,
                excess: np.ndarray = excess,
                users: np.ndarray = users,
            ) -> None:
                for _ in range(10):
                    where_first(names, groups, excess, users, users)

            yield (
                f"{len(groups):,} groups, {len(sizes)} labels, {what}",
                [ms / 10 for ms in cpu_ms(search, REPEATS)],
            )


def rows() -> list[Row]:
    """All figures."""
    of = f"{SESSIONS:,} sessions, {GROUPS:,} groups"
    named = zip(("tick", "tick that ends an interval"), measure(), strict=True)
    return [
        *(
            row
            for what, runs in named
            for row in (
                Row.of(f"{of}: {what} without roll-ups and history", "ms CPU", runs.without_ms),
                Row.of(f"{of}: {what} with {len(ROLL_UPS)} roll-ups and history", "ms CPU", runs.with_ms),
                Row.ratio(f"{what} with both / without", runs.with_ms, runs.without_ms, at_most=1.4),
            )
        ),
        *(Row.of(f"where to look first: {name}", "ms CPU", took_ms) for name, took_ms in searches()),
    ]


if __name__ == "__main__":
    sys.exit(run("Roll-ups, evaluation alone", rows))
