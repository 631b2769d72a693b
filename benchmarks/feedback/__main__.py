"""What the comparison of ratings with predictions claims, measured. `python -m benchmarks.feedback`.

Each figure stands beside the bar that it has to hold. The exit code is 1 if one is missed. The tables in
docs/feedback-measured.md are replaced by those of this run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from types import ModuleType

from benchmarks.calibration.row import Row
from benchmarks.feedback import asking, coverage, detector, fit, scores

PARTS = (detector, coverage, asking, fit, scores)
PAGE = Path(__file__).parents[2] / "docs" / "feedback-measured.md"
MARKS = "<!-- figures: make feedback -->", "<!-- end of figures -->"


def main() -> int:
    """Print all figures as they are found, and write them into the page; 1 if a figure misses its bar."""
    tables: dict[str, list[Row]] = {}
    for part in PARTS:
        print(f"\n{title(part)}\n")
        tables[title(part)] = []
        for row in part.rows():
            print(row, flush=True)
            tables[title(part)].append(row)
    begin, end = MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text("\n".join([before + begin, "", *markdown(tables.items()), "", end + after]), encoding="utf-8")
    rows = [row for table in tables.values() for row in table]
    missed = sum(not row.held for row in rows)
    print(f"\n{len(rows)} figures, {missed} missed")
    return int(missed > 0)


def title(part: ModuleType) -> str:
    """What a part measures: the first line of its docstring."""
    return (part.__doc__ or "").splitlines()[0]


def markdown(tables: Iterable[tuple[str, list[Row]]]) -> Iterator[str]:
    """The tables, each with its title, as lines of Markdown."""
    for name, rows in tables:
        yield from ("", name.removesuffix(".") + ":", "", "| | measured | bar |", "|---|---:|---|")
        for row in rows:
            bar = [
                f"{word} {end:g}" for word, end in (("at least", row.least), ("at most", row.most)) if isfinite(end)
            ]
            missed = "" if row.held else ", **missed**"
            yield f"| {row.name} | {row.value:.3g}{row.unit} | {', '.join(bar)}{missed} |"


if __name__ == "__main__":
    sys.exit(main())
