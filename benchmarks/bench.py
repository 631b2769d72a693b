"""What all benchmarks share: a row of figures, the table, the JSON, and a line that says on which machine."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import scipy

from qoemon.engine.interpreter import tune

KILO = 1000


@dataclass(frozen=True)
class Row:
    """One figure: the median of several runs, with the least and the most.

    bar   what it is held to, in the same unit; None if nothing is promised
    floor whether the bar is the least allowed, instead of the most
    """

    name: str
    unit: str
    low: float
    middle: float
    high: float
    bar: float | None = None
    floor: bool = False

    @classmethod
    def of(
        cls, name: str, unit: str, runs: Iterable[float], bar: float | None = None, *, floor: bool = False
    ) -> Row:
        """The row of some runs."""
        values = sorted(map(float, runs))
        return cls(name, unit, values[0], statistics.median(values), values[-1], bar, floor)

    @property
    def holds(self) -> bool:
        """Whether the median keeps to the bar."""
        if self.bar is None:
            return True
        return self.middle >= self.bar if self.floor else self.middle <= self.bar


def cpu_ms(work: Callable[[], object], runs: int) -> list[float]:
    """CPU milliseconds of this process, all its threads, in each run."""
    return [_timed(work, time.process_time) * KILO for _ in range(runs)]


def wall_ms(work: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds that passed in each run."""
    return [_timed(work, time.perf_counter) * KILO for _ in range(runs)]


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    gc.collect()
    began = clock()
    work()
    return clock() - began


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(rows: Sequence[Row]) -> str:
    """The rows as text, a line each."""
    lines = [f"{'':<58} {'unit':<10} {'least':>12} {'median':>12} {'most':>12}   bar"]
    return "\n".join(lines + [_line(row) for row in rows])


def _line(row: Row) -> str:
    figures = " ".join(f"{_figure(value):>12}" for value in (row.low, row.middle, row.high))
    bar = "" if row.bar is None else f"{'>=' if row.floor else '<='} {_figure(row.bar)}"
    return f"{row.name:<58} {row.unit:<10} {figures}   {bar}{'' if row.holds else '   MISSED'}".rstrip()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def run(title: str, rows: Callable[[], Sequence[Row]]) -> None:
    """The command line of a benchmark: print its table; with --json FILE write its figures there too."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args()
    tune()  # As the processes of the daemon are.
    print(f"{title}\n{machine()}", flush=True)
    measured = rows()
    print(table(measured))
    if asked.json:
        told = {"title": title, "machine": machine(), "rows": measured}
        asked.json.write_bytes(msgspec.json.encode(told) + b"\n")
