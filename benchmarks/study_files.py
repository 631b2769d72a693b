"""CPU and memory of the commands on studies for a file of a million rows. `python -m benchmarks.study_files`.

The ratings are those of 2,500 users who rated 400 conditions each, the conditions those of a million sessions in 20
groups. CPU and memory are those of the whole process, with its start and its computation.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import run
from benchmarks.row import Row

ROWS, CONDITIONS, GROUPS = 1_000_000, 400, 20
MEGA = 1e6
CPU_S, MEMORY_MB = 15, 250
"""Bars of each command."""


def rows() -> list[Row]:
    """CPU seconds and memory of each command."""
    names = ["--condition", "video", "--user", "subject", "--rating", "score"]
    fitted = ["--mapping", "web-iqx", "--user", "subject"]
    return [
        *_measured("theta, a million ratings with users", "theta", _ratings(), *names),
        *_measured("fit, a million ratings", "fit", _waits(), *fitted),
        *_measured("validate, a million ratings", "validate", _waits(), "--service", "web"),
        *_measured("analyze, a million sessions in 20 groups", "analyze", _sessions(), "--service", "video"),
    ]


def _ratings() -> Iterator[str]:
    rng = random.Random(1)
    yield "video,subject,score,time\n"
    for at in range(ROWS):
        yield f"v{at % CONDITIONS},s{at // CONDITIONS},{rng.choice('12345')},{at / 4}\n"


def _waits() -> Iterator[str]:
    rng = random.Random(1)
    yield "response_s,subject,rating\n"
    for at in range(ROWS):
        wait_s = 0.05 * (1 + at % CONDITIONS)
        yield f"{wait_s:.2f},s{at // CONDITIONS},{min(5, max(1, round(5 - wait_s / 4 + rng.gauss(0, 0.8))))}\n"


def _sessions() -> Iterator[str]:
    rng = random.Random(1)
    yield "session,stall_count,stall_s,play_s,group\n"
    for at in range(ROWS):
        stalls = rng.choice((0, 0, 0, 0, 0, 1, 2))
        stall_s = stalls * (0.01 + 4 * rng.random())
        yield f"x{at},{stalls},{stall_s:.3f},{1 + 300 * rng.random():.3f},g{at % GROUPS}\n"


def _measured(name: str, command: str, lines: Iterator[str], *options: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "study.csv"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        arguments = [sys.executable, "-m", "qoemon", command, str(path), *options, "--json"]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ChildProcessError(f"{command} ended with {process.returncode}")
    return [
        Row.of(name, "CPU s", [used.ru_utime + used.ru_stime], at_most=CPU_S),
        Row.of(f"memory of that, {command}", "MB", [used.ru_maxrss * 1024 / MEGA], at_most=MEMORY_MB),
    ]


if __name__ == "__main__":
    sys.exit(run("Files of studies", rows))
