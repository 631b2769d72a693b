"""Whether simulated sessions keep up with the clock, as a load test must. `python -m benchmarks.simulator`.

100,000 sessions live through a demo story of ten seconds. CPU seconds per simulated second; above 1 the simulator
would fall behind on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from benchmarks.bench import run
from benchmarks.row import Row
from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Population, Reported

SESSIONS, SPAN_S, STEP_S, REPEATS = 100_000, 10, 0.5, 5
START_S = 1_700_000_000.0


def rows() -> list[Row]:
    """CPU seconds of this process and reports, per simulated second."""
    runs = [_lived() for _ in range(REPEATS)]
    return [
        Row.of("100,000 simulated sessions", "CPU s/s", [used_s / SPAN_S for used_s, _ in runs], at_most=1.0),
        Row.of("reports of them", "1/s", [reports / SPAN_S for _, reports in runs], at_least=12_000),
    ]


def _lived() -> tuple[float, int]:
    """CPU seconds of the whole story, and how many reports it has."""
    scenario = SCENARIOS["demo"].lasting(SPAN_S)
    users = Population(GROUPS, sessions=SESSIONS, scenario=scenario, seed=1, start_s=START_S)
    began_s = time.process_time()
    reports = sum(1 for _ in _reported(users))
    return time.process_time() - began_s, reports


def _reported(users: Population) -> Iterator[Reported]:
    for step in range(1, round(SPAN_S / STEP_S) + 1):
        yield from users.step(START_S + step * STEP_S)


if __name__ == "__main__":
    sys.exit(run("Simulator", rows))
