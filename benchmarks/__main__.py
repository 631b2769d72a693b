"""`make bench`: all that is measured of how fast and how large qoemon is; the figures go to docs/performance.md.

Each part runs in a process of its own and writes its rows as JSON; these stand together in benchmarks/last.json.
Of docs/performance.md only what is between MARKS is written anew.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
LAST = HERE / "last.json"
MARKS = "<!-- figures: make bench -->", "<!-- end of figures -->"

HEAD = "| | median | least to most | unit | bar |", "|---|---|---|---|---|"

PARTS = ("wire", "tick", "memory", "render", "recovery", "start", "authors")
"""Modules of this package, each with --json FILE."""


def main() -> None:
    """Run all parts; exits with 1 if a figure misses its bar."""
    told = [measured(part) for part in PARTS]
    LAST.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    begin, end = MARKS
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text("\n".join([before + begin, "", *page(told), "", end + after]), encoding="utf-8")
    missed = [row["name"] for part in told for row in part["rows"] if not holds(row)]
    sys.exit(f"missed: {'; '.join(missed)}" if missed else 0)


def measured(part: str) -> dict[str, Any]:
    """What one part tells, printed on the way."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "rows.json"
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}", "--json", file], check=True)
        rows: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return rows


def page(told: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The tables, as Markdown."""
    yield f"{told[0]['machine']}; {datetime.now(UTC):%Y-%m-%d}."
    for part in told:
        yield from (
            "",
            f"{part['title']}:",
            "",
            "| | median | least to most | unit | bar |",
            "|---|---|---|---|---|",
        )
        yield from map(line, part["rows"])


def line(row: dict[str, Any]) -> str:
    """One row of a table."""
    low, middle, high = (figure(row[name]) for name in ("low", "middle", "high"))
    bar = "" if row["bar"] is None else f"{'at least' if row['floor'] else 'at most'} {figure(row['bar'])}"
    return (
        f"| {row['name']} | {middle} | {low} to {high} | {row['unit']} | {bar}{'' if holds(row) else ' (missed)'} |"
    )


def holds(row: dict[str, Any]) -> bool:
    """Whether the median keeps to its bar."""
    bar, middle = row["bar"], row["middle"]
    return bar is None or bool(middle >= bar if row["floor"] else middle <= bar)


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
