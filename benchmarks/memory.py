"""Memory of a session: resident bytes with and without a million of them. `python -m benchmarks.memory`.

The bytes include what the allocator keeps and the spare room of tables that grow.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import run
from benchmarks.population import Population, plan
from benchmarks.row import Row
from benchmarks.shard import Shard

SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 3
TICKS = 7
"""One rating interval ends, so every column is in use."""


def resident_bytes() -> int:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def per_session(sessions: int) -> float:
    """Bytes a session: a full shard minus one with the same groups and a session in each."""
    population = Population(sessions, GROUPS)  # Made first: its memory is not that of the sessions.
    shard = _run(Population(GROUPS, GROUPS))
    before = resident_bytes()
    del shard
    shard = _run(population)
    after = resident_bytes()
    assert shard.sessions == sessions
    return (after - before) / (sessions - GROUPS)


def _run(population: Population) -> Shard:
    shard = Shard(plan(population.sessions, population.groups))
    for _ in range(TICKS):
        for batch in population.tick():
            shard.apply(batch, batch.arrival_s[0])
        shard.tick(population.now_s)
    return shard


def rows() -> list[Row]:
    """The figure; each run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--once"]
    runs = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(REPEATS)]
    return [Row.of(f"memory a session, of {SESSIONS:,}", "bytes", runs, at_most=375)]


def main() -> int:
    """Print the table; with --once only the figure of one run, measured in this process."""
    if sys.argv[1:] == ["--once"]:
        print(per_session(SESSIONS))
        return 0
    return run("Memory of the sessions, resident", rows)


if __name__ == "__main__":
    sys.exit(main())
