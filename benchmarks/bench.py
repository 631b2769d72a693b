"""Shared by all benchmarks: timing in this process, the machine, and the command line of a benchmark."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import scipy

from benchmarks.row import Part, Row, exit_code, plain, summary
from qoemon.engine.interpreter import tune

KILO = 1000


def cpu_ms(work: Callable[[], object], runs: int) -> list[float]:
    """CPU milliseconds of this process, all its threads, in each run."""
    return [_timed(work, time.process_time) * KILO for _ in range(runs)]


def wall_ms(work: Callable[[], object], runs: int) -> list[float]:
    """Wall milliseconds of each run."""
    return [_timed(work, time.perf_counter) * KILO for _ in range(runs)]


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    gc.collect()
    began = clock()
    work()
    return clock() - began


def machine() -> str:
    """Processor, cores and versions, as one line."""
    return (
        f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def run(title: str, rows: Callable[[], Sequence[Row]]) -> int:
    """Run a benchmark from the command line: print its table, with --json write it too; returns the exit code."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    arguments = parser.parse_args()
    tune()  # As the daemon's processes do.
    print(f"{title}\n{machine()}", flush=True)
    part = Part(title, machine(), list(rows()))
    print(*plain(part.rows), summary(part.rows), sep="\n")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.encode(part.plain()) + b"\n")
    return exit_code(part.rows)
