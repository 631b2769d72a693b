"""Run all benchmarks of cost (`make bench`) and write their figures into docs/performance.md.

Each part runs in a process of its own and writes its rows as JSON. benchmarks/last.json has the rows of all parts.
In docs/performance.md only the text between MARKS is replaced.

`python -m benchmarks cluster` (`make bench-cluster`) runs the parts of a cluster instead, and writes their rows
into benchmarks/cluster.json, from which `make docs` makes the table of sizes in docs/sizing.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.bench import machine
from benchmarks.row import Part, Row, Verdict, exit_code, markdown, summary

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
LAST = HERE / "last.json"
OF_CLUSTER = HERE / "cluster.json"
MARKS = "<!-- figures: make bench -->", "<!-- end of figures -->"

PARTS = (
    "wire",
    "cmcd",
    "collector",
    "tick",
    "roll_ups",
    "memory",
    "render",
    "recovery",
    "history",
    "start",
    "simulator",
    "authors",
)
"""Modules of this package, each with --json FILE."""
PARTS_OF_CLUSTER = ("shards", "merge", "bridging", "cluster")
"""The same, of a cluster; the last two need Java and Kafka's jars, the last one the extra spark as well."""


def main() -> int:
    """Run all parts; 1 if a bar is missed or a part or case failed."""
    clustered = sys.argv[1:] == ["cluster"]
    parts = [measured(name) for name in (PARTS_OF_CLUSTER if clustered else PARTS)]
    text = msgspec.json.format(msgspec.json.encode([part.plain() for part in parts]), indent=1) + b"\n"
    (OF_CLUSTER if clustered else LAST).write_bytes(text)
    if not clustered:
        begin, end = MARKS
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
        after = rest.partition(end)[2]
        PAGE.write_text("\n".join([before + begin, "", *page(parts), "", end + after]), encoding="utf-8")
    rows = [row for part in parts for row in part.rows]
    print(f"\nAll parts, {summary(rows)}")
    return exit_code(rows)


def measured(name: str) -> Part:
    """Table of one part, which prints it too. A part that ends without figures is a failed row."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "rows.json"
        ended = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", file], check=False)
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=Part)
    reason = f"python -m benchmarks.{name} ended with exit code {ended.returncode} and without figures"
    return Part(name, machine(), [Row(name, "", problem=Verdict.FAILED, reason=reason)])


def page(parts: Sequence[Part]) -> Iterator[str]:
    """The tables, as lines of Markdown."""
    yield f"{parts[0].machine}; {datetime.now(UTC):%Y-%m-%d}."
    for part in parts:
        yield from ("", f"{part.title}:", "", *markdown(part.rows))


if __name__ == "__main__":
    sys.exit(main())
