"""What a session costs in memory: a process before and after a million of them. `python -m benchmarks.memory`.

The whole process counts as the system sees it, so what the allocator keeps and the slack of growing are in it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Row, run
from benchmarks.population import Population, plan
from qoemon.core.counting.monitor import Monitor

SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 3
TICKS = 7
"""One rating interval closes, so every column is in use."""


def resident_bytes() -> int:
    """The memory of this process that is there."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def per_session(sessions: int) -> float:
    """Bytes a session in this process: a full Monitor, against one with the same groups and a session in each."""
    population = Population(sessions, GROUPS)  # its own memory is no session's
    monitor = _run(Population(GROUPS, GROUPS))
    before = resident_bytes()
    del monitor
    monitor = _run(population)
    after = resident_bytes()
    assert monitor.sessions == sessions
    return (after - before) / (sessions - GROUPS)


def _run(population: Population) -> Monitor:
    monitor = Monitor(plan(population.sessions, population.groups))
    for _ in range(TICKS):
        for batch in population.tick():
            monitor.apply(batch, batch.arrival_s[0])
        monitor.snapshot(population.now_s)
    return monitor


def rows() -> list[Row]:
    """The figure, each run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--once"]
    runs = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(REPEATS)]
    return [Row.of(f"memory a session, {SESSIONS:,} of them", "bytes", runs, bar=350)]


def main() -> None:
    """Print the table; with --once the figure of this process alone."""
    if sys.argv[1:] == ["--once"]:
        print(per_session(SESSIONS))
    else:
        run("Memory of the sessions, resident", rows)


if __name__ == "__main__":
    main()
