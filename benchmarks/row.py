"""A row of a table: the median of several runs with its bar and verdict, or the reason why there is no figure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a row says about its bar. Only MISSED and FAILED make a benchmark exit with 1."""

    NONE = ""
    HOLDS = "holds"
    MISSED = "missed"
    FAILED = "failed"
    RIVAL_FAILED = "rival failed"
    NOT_MEASURABLE = "not measurable"


@dataclass(frozen=True)
class Row:
    """One figure: median, least and most of several runs; None if there is no figure.

    at_most, at_least  bar of the median, in the same unit; None if nothing is promised
    problem            FAILED, RIVAL_FAILED or NOT_MEASURABLE if there is no figure
    reason             why there is none
    """

    name: str
    unit: str
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    problem: Verdict = Verdict.NONE
    reason: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        unit: str,
        runs: Iterable[float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Row:
        """Row of one or more runs."""
        values = sorted(map(float, runs))
        return cls(name, unit, values[0], statistics.median(values), values[-1], at_most, at_least)

    @classmethod
    def ratio(
        cls,
        name: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Row:
        """Row of the ratios of runs that were measured in pairs; not measurable if a divisor is 0."""
        if not all(theirs):
            reason = "the divisor took no measurable time"
            return cls(
                name, "times", at_most=at_most, at_least=at_least, problem=Verdict.NOT_MEASURABLE, reason=reason
            )
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        return cls.of(name, "times", ratios, at_most=at_most, at_least=at_least)

    @property
    def verdict(self) -> Verdict:
        """The problem if there is one, otherwise whether the median keeps to the bar."""
        if self.problem or self.middle is None:
            return self.problem
        if self.at_most is None and self.at_least is None:
            return Verdict.NONE
        above = self.at_most is not None and self.middle > self.at_most
        below = self.at_least is not None and self.middle < self.at_least
        return Verdict.MISSED if above or below else Verdict.HOLDS

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, median, range, unit and bar, as text. The reason takes the place of a missing median."""
        if self.low is None or self.middle is None or self.high is None:
            return self.name, f"{self.problem}: {self.reason}", "", self.unit, self._bar
        return self.name, figure(self.middle), f"{figure(self.low)} to {figure(self.high)}", self.unit, self._bar

    @property
    def _bar(self) -> str:
        bars = (("at most", self.at_most), ("at least", self.at_least))
        return ", ".join(f"{word} {figure(bar)}" for word, bar in bars if bar is not None)


@dataclass(frozen=True)
class Part:
    """The table of one benchmark."""

    title: str
    machine: str
    rows: list[Row]

    def plain(self) -> dict[str, Any]:
        """The table for JSON; each row has its verdict beside its fields."""
        rows = [asdict(row) | {"verdict": row.verdict} for row in self.rows]
        return {"title": self.title, "machine": self.machine, "rows": rows}


HEAD = ("", "median", "least to most", "unit", "bar", "verdict")


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield f"| {' | '.join(HEAD)} |".replace("|  |", "| |")
    yield "|---" * len(HEAD) + "|"
    for row in rows:
        yield f"| {' | '.join([*row.cells, row.verdict])} |"


def plain(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of a table for the terminal."""
    for name, middle, spread, unit, bar, verdict in (HEAD, *((*row.cells, row.verdict) for row in rows)):
        yield f"{name:<66} {middle:>12} {spread:>26} {unit:<10} {bar:<14} {verdict}".rstrip()


def summary(rows: Iterable[Row]) -> str:
    """How many rows there are of each verdict, and the names of those that are not as they should be."""
    rows = list(rows)
    count = Counter(row.verdict for row in rows)
    words = {
        Verdict.HOLDS: "bars hold",
        Verdict.MISSED: "bars missed",
        Verdict.FAILED: "failed",
        Verdict.RIVAL_FAILED: "of rivals failed",
        Verdict.NOT_MEASURABLE: "not measurable",
    }
    lines = [f"{len(rows)} rows: " + ", ".join(f"{count[verdict]} {word}" for verdict, word in words.items())]
    lines += [
        f"  {row.verdict}: {row.name}{f' ({row.reason})' if row.reason else ''}"
        for row in rows
        if row.verdict not in {Verdict.NONE, Verdict.HOLDS}
    ]
    return "\n".join(lines)


def exit_code(rows: Iterable[Row]) -> int:
    """1 if a bar is missed or a case of qoemon failed, otherwise 0, also if a rival failed."""
    return int(any(row.verdict in {Verdict.MISSED, Verdict.FAILED} for row in rows))


def figure(value: float) -> str:
    """Three digits, or all digits before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
