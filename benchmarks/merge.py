"""CPU and memory of a tick in the driver of a cluster, with counts of many shards. `python -m benchmarks.merge`.

SESSIONS sessions in each shard, spread over all groups. The counts are those of real shards, sparse and as bytes;
there are DISTINCT of these, each of which stands for several shards. So there are 10 million sessions in 1,024.
"""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import dataclass, field

from benchmarks.bench import cpu_ms, run
from benchmarks.population import Population, plan
from benchmarks.row import Row
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.monitor import Monitor
from qoemon.core.evaluation import Evaluation
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.engine.spark.encoding import pack_counts, unpack_counts

SESSIONS, GROUPS, DISTINCT = 9_766, 1000, 8
SHARDS = (1, 64, 1024)
TICKS, TICKS_BEFORE = 18, 7
"""Of those, the first are not measured: groups are new, windows empty."""
INTERVAL_S = 60
BARS_MS = {1: (None, None), 64: (40, 80), 1024: (250, 500)}
"""Most for a tick, and for one that ends an interval: twice to three times what was measured."""
MOST_MB = 1000
MEGA = 1e6


def counts_of(seed: int) -> list[bytes]:
    """The counts of one shard at each tick."""
    population, told = Population(SESSIONS, GROUPS, seed=seed), plan(SESSIONS, GROUPS)
    monitor, packed = Monitor(told), []
    for _ in range(TICKS):
        for batch in population.tick():
            monitor.apply(batch, batch.arrival_s[0])
        counts = ShardCounts(
            time_s=population.now_s,
            services=monitor.counts(population.now_s),
            closed=tuple(monitor.drain_closed()),
            events=monitor.events,
            rejected={},
            sessions=monitor.sessions,
        )
        packed.append(pack_counts(counts))
    return packed


@dataclass
class Runs:
    """Of some ticks: CPU milliseconds to decode all counts and to evaluate them, and megabytes encoded."""

    decode_ms: list[float] = field(default_factory=list)
    tick_ms: list[float] = field(default_factory=list)
    encoded_mb: list[float] = field(default_factory=list)


def measure(packed: list[list[bytes]], shards: int) -> tuple[Runs, Runs]:
    """Ticks within a rating interval, and those that end one."""
    evaluation = Evaluation(plan(SESSIONS, GROUPS), (), RegimeRules())
    within, ending = Runs(), Runs()
    for tick in range(TICKS):
        mine = [packed[shard % DISTINCT][tick] for shard in range(shards)]
        counts: list[ShardCounts] = []
        decode_ms = cpu_ms(lambda: counts.extend(map(unpack_counts, mine)), 1)  # noqa: B023 - called at once
        tick_ms = cpu_ms(lambda: evaluation.tick(counts), 1)  # noqa: B023
        if tick >= TICKS_BEFORE:
            runs = ending if counts[0].time_s % INTERVAL_S == 0 else within
            runs.decode_ms += decode_ms
            runs.tick_ms += tick_ms
            runs.encoded_mb.append(sum(map(len, mine)) / MEGA)
    return within, ending


def memory_mb(packed: list[list[bytes]], shards: int) -> float:
    """Peak of the memory of Python and numpy, up to the end of a tick that ends an interval, megabytes."""
    evaluation = Evaluation(plan(SESSIONS, GROUPS), (), RegimeRules())
    tracemalloc.start()
    for tick in range(INTERVAL_S // 10 + 1):
        evaluation.tick([unpack_counts(packed[shard % DISTINCT][tick]) for shard in range(shards)])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / MEGA


def rows() -> list[Row]:
    """All figures."""
    packed = [counts_of(seed) for seed in range(1, DISTINCT + 1)]
    table = []
    for shards in SHARDS:
        within, ending = measure(packed, shards)
        of = f"{shards:,} shard{'s' if shards > 1 else ''}"
        table += [
            Row.of(f"{of}: decoding", "ms CPU", within.decode_ms),
            Row.of(f"{of}: decoding, of a tick that ends an interval", "ms CPU", ending.decode_ms),
            Row.of(f"{of}: tick", "ms CPU", within.tick_ms, at_most=BARS_MS[shards][0]),
            Row.of(f"{of}: tick that ends an interval", "ms CPU", ending.tick_ms, at_most=BARS_MS[shards][1]),
            Row.of(f"{of}: encoded counts", "MB", within.encoded_mb),
            Row.of(f"{of}: encoded counts, of a tick that ends an interval", "MB", ending.encoded_mb),
            Row.of(f"{of}: memory", "MB", [memory_mb(packed, shards)], at_most=MOST_MB),
        ]
    return table


if __name__ == "__main__":
    sys.exit(run(f"The driver's tick with {SESSIONS:,} sessions a shard in {GROUPS:,} groups", rows))
