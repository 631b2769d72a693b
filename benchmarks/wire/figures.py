"""Collects figures and failures over the rounds; no case stops the others."""

from __future__ import annotations

import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from benchmarks.row import Row, Verdict
from benchmarks.wire.cpu import RESOLUTION_S

MICRO = 1e6
TOO_SHORT = f"less than {RESOLUTION_S * 1000:g} ms, the resolution of /proc"
FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""The servers of tests/support raise pytest's outcomes, which are no Exceptions."""

Here = TypeVar("Here")


@dataclass
class _Runs:
    """The row as it grows. at_most: its bar."""

    unit: str = ""
    at_most: float | None = None
    values: list[float] = field(default_factory=list)
    problem: Verdict = Verdict.NONE
    reason: str = ""


class Figures:
    """Runs of each row by its name. A time below the resolution of /proc is never a divisor, nor a figure."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, _Runs] = defaultdict(_Runs)

    def add(self, name: str, unit: str, value: float) -> None:
        """A value that is measured directly."""
        self._runs(name, unit).values.append(value)

    def cost(self, name: str, unit: str, spent_s: float, count: int) -> None:
        """CPU time of each of `count` messages or reports, in microseconds."""
        self._divided(name, f"us/{unit}", spent_s * MICRO, count, short=_short(spent_s))

    def rate(self, name: str, unit: str, count: int, spent_s: float) -> None:
        """How many fit into a second of this time."""
        self._divided(name, f"{unit}/s", count, spent_s, short=_short(spent_s))

    def load(self, name: str, spent_s: float, length_s: float) -> None:
        """CPU time as a share of the time that passed."""
        self._divided(name, "of a core", spent_s, length_s, short=_short(spent_s))

    def ratio(
        self,
        name: str,
        ours_s: float,
        theirs_s: float | None,
        *,
        at_most: float | None = None,
        resolution_s: float = RESOLUTION_S,
    ) -> None:
        """Our time over another one of the same round, which is None if the rival failed."""
        self._runs(name, "times", at_most)
        if theirs_s is None:
            self.not_measurable(name, "times", "the rival failed")
        else:
            self._divided(name, "times", ours_s, theirs_s, short=_short(min(ours_s, theirs_s), resolution_s))

    def not_measurable(self, name: str, unit: str, reason: str) -> None:
        """A figure that this round could not measure."""
        self._problem(self._runs(name, unit), Verdict.NOT_MEASURABLE, reason)

    def fail(self, name: str, error: BaseException, *, verdict: Verdict = Verdict.FAILED) -> None:
        """A case, or a receiver in it, that failed; figures of other rounds do not count any more."""
        traceback.print_exception(error, file=sys.stderr)
        lines = str(error).splitlines() or [type(error).__name__]
        self._problem(self._rows[name], verdict, lines[0])

    def rows(self) -> list[Row]:
        """The rows in the order in which their names came up."""
        return [_row(name, runs) for name, runs in self._rows.items()]

    def _divided(self, name: str, unit: str, value: float, divisor: float, *, short: bool) -> None:
        runs = self._runs(name, unit)
        if short:
            self.not_measurable(name, unit, TOO_SHORT)
        else:
            runs.values.append(value / divisor)

    def _runs(self, name: str, unit: str, at_most: float | None = None) -> _Runs:
        runs = self._rows[name]
        runs.unit, runs.at_most = unit, runs.at_most if at_most is None else at_most
        return runs

    @staticmethod
    def _problem(runs: _Runs, verdict: Verdict, reason: str) -> None:
        if runs.problem in {Verdict.NONE, Verdict.NOT_MEASURABLE}:
            runs.problem, runs.reason = verdict, reason


def _row(name: str, runs: _Runs) -> Row:
    """Not measurable only if no round could be measured; failed if any round failed."""
    if runs.values and runs.problem in {Verdict.NONE, Verdict.NOT_MEASURABLE}:
        return Row.of(name, runs.unit, runs.values, at_most=runs.at_most)
    return Row(name, runs.unit, at_most=runs.at_most, problem=runs.problem, reason=runs.reason)


def _short(spent_s: float, resolution_s: float = RESOLUTION_S) -> bool:
    """Whether it is less than a step of the clock. Half a step, since differences have rounding errors."""
    return spent_s <= resolution_s / 2


def attempt(cases: Mapping[str, Callable[[Here, Figures], None]], here: Here, figures: Figures) -> None:
    """Run one round of all cases. A case that fails becomes a row of its name."""
    for name, case in cases.items():
        try:
            case(here, figures)
        except FAILURES as error:
            figures.fail(name, error)
        print(".", end="", flush=True)


def rival_cost(figures: Figures, name: str, measure: Callable[[], float]) -> float | None:
    """CPU seconds of a rival; None if it failed, which its row reports."""
    try:
        return measure()
    except FAILURES as error:
        figures.fail(name, error, verdict=Verdict.RIVAL_FAILED)
        return None
