"""Memory of a session: resident bytes with and without a million of them. `python -m benchmarks.memory`.

The bytes include what the allocator keeps and the spare room of tables that grow.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import run
from benchmarks.population import Population, plan
from benchmarks.row import Row
from benchmarks.shard import Shard
from qoemon.core.qoe.mapping import LINEAR, MEDIA_STALL, VIDEO_STALL, QosMapping

SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 3
MAPPINGS: Mapping[str, QosMapping] = {
    "stalls": VIDEO_STALL,
    "media": MEDIA_STALL.with_quality(LINEAR.with_inputs(["score"])),
}
TICKS = 7
"""One rating interval ends, so every column is in use."""


def resident_bytes() -> int:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def per_session(sessions: int, mapping: QosMapping = VIDEO_STALL) -> float:
    """Bytes a session: a full shard minus one with the same groups and a session in each."""
    # Made first: its memory is not that of the sessions.
    population = Population(sessions, GROUPS, measures=mapping.measures)
    shard = _run(Population(GROUPS, GROUPS, measures=mapping.measures), mapping)
    before = resident_bytes()
    del shard
    shard = _run(population, mapping)
    after = resident_bytes()
    assert shard.sessions == sessions
    return (after - before) / (sessions - GROUPS)


def _run(population: Population, mapping: QosMapping) -> Shard:
    shard = Shard(plan(population.sessions, population.groups, mapping))
    for _ in range(TICKS):
        for batch in population.tick():
            shard.apply(batch, batch.arrival_s[0])
        shard.tick(population.now_s)
    return shard


def rows() -> list[Row]:
    """The figures; each run in a process of its own."""
    stalls, media = ([_once(name) for _ in range(REPEATS)] for name in MAPPINGS)
    more = [one - other for one, other in zip(media, stalls, strict=True)]
    return [
        Row.of(f"memory a session, of {SESSIONS:,}", "bytes", stalls, at_most=390),
        Row.of("memory a session, more where quality is rated with stalls", "bytes", more, at_most=60),
    ]


def _once(mapping: str) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", "--once", mapping]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> int:
    """Print the table; with --once only the figure of one run, measured in this process."""
    if sys.argv[1:2] == ["--once"]:
        print(per_session(SESSIONS, MAPPINGS[sys.argv[2]]))
        return 0
    return run("Memory of the sessions, resident", rows)


if __name__ == "__main__":
    sys.exit(main())
