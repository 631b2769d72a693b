"""Slow rises of PoW: delays and false alarms by the limit of their detection. `python -m benchmarks.drift_limits`.

Groups of 300 sessions in the processes of benchmarks.regimes, and in one without wander. Decision 8 has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.regimes import (
    DAY,
    DAYS,
    PROCESSES,
    RAMP,
    SETTLED,
    SIZES,
    WATCHED,
    Crowd,
    Process,
    Shift,
    Table,
    delay_text,
    rate_text,
)
from qoemon.core.alerting.change_point import Change, Interval
from qoemon.core.alerting.regime import RegimeMonitor, RegimeRules

LIMITS = (np.inf, 4.1, 3.9, 3.8, 3.5)
CALM = Shift(0.05, 0.05)
EVERY = (Process("none", 0.0, 60), *PROCESSES)
SIZE = SIZES.index(300)
GROUPS_OF_RAMP, GROUPS_OF_CALM = 600, 200


class Limited:
    """qoemon's detector with another limit of slow rises."""

    def __init__(self, limit: float) -> None:
        rules = RegimeRules()
        drift = replace(rules.detector.drift, limit=limit)
        self._monitor = RegimeMonitor(replace(rules, detector=replace(rules.detector, drift=drift)))

    def close(self, interval: Interval) -> Change:
        found = self._monitor.close(interval)
        return Change(found.direction, found.changed_s)


def delays(table: Table, rng: np.random.Generator) -> list[list[str]]:
    """Delay of the ramp, by process and limit."""
    each = GROUPS_OF_RAMP
    detectors, delay = [Limited(limit) for limit in LIMITS], np.full((len(LIMITS), each * len(EVERY)), np.inf)
    crowd = Crowd([(process, SIZE, RAMP) for process in EVERY], each)
    for at, interval in enumerate(crowd.intervals(table, rng, SETTLED + WATCHED, SETTLED)):
        for number, detector in enumerate(detectors):
            rises = detector.close(interval).direction == 1
            if at >= SETTLED:
                delay[number, rises & np.isinf(delay[number])] = at - SETTLED + 1
    return [[delay_text(of[mine]) for of in delay] for mine in _cells(each)]


def alarms(table: Table, rng: np.random.Generator) -> list[list[str]]:
    """False alarms of rises a group in 30 days, by process and limit."""
    each = GROUPS_OF_CALM
    detectors, found = [Limited(limit) for limit in LIMITS], np.zeros((len(LIMITS), each * len(EVERY)))
    crowd = Crowd([(process, SIZE, CALM) for process in EVERY], each)
    for interval in crowd.intervals(table, rng, DAYS * DAY, 0):
        for number, detector in enumerate(detectors):
            found[number] += detector.close(interval).direction == 1
    return [[rate_text(of[mine]) for of in found] for mine in _cells(each)]


def _cells(each: int) -> Sequence[slice]:
    return [slice(number * each, (number + 1) * each) for number in range(len(EVERY))]


def main() -> None:
    """Print the table, a row for each process."""
    rng = np.random.default_rng(7)
    table = Table(rng)
    for title, rows in (
        (f"Delay of {RAMP}: median / 95 % in rating intervals, share missed in {WATCHED}", delays(table, rng)),
        (f"False alarms of rises a group in {DAYS} days at a PoW of 0.05 (95 % upper bound)", alarms(table, rng)),
    ):
        print(f"\n{title}\n")
        print(f"| wander | {' | '.join('none' if np.isinf(limit) else f'{limit:g}' for limit in LIMITS)} |")
        print("|---|" + "---|" * len(LIMITS))
        for process, texts in zip(EVERY, rows, strict=True):
            print(f"| {process.name} | {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    main()
