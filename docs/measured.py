"""What pages have of the figures that a benchmark stored, between two marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from benchmarks.row import Part

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

Table = Callable[[list[Part]], Iterable[str]]
"""Lines from the parts of a run."""


def with_table(page: str, marks: tuple[str, str], file: str, table: Table) -> str:
    """The page with the table of a file of benchmarks between its marks."""
    begin, end = marks
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    parts = msgspec.json.decode((BENCHMARKS / file).read_bytes(), type=list[Part])
    return "\n".join([before + begin, "", *table(parts), "", end + after])


def medians(parts: Iterable[Part]) -> Mapping[str, float]:
    """The median of each row, by its name."""
    return {row.name: row.middle for part in parts for row in part.rows if row.middle is not None}
