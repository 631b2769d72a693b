"""The table of one machine in sizing.md, from figures that `make bench` has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.row import Part, figure
from docs.measured import medians

MARKS = "<!-- one machine: make bench, make docs -->", "<!-- end of one machine -->"

SIZES = "100 reports a message", "one report a message"
MILLION = "20,000 messages/s, 1,000,000 sessions"


class Way(NamedTuple):
    """A way to run the daemon.

    case       how its rows begin
    processes  those that read or count; broker and generator have figures of their own
    """

    name: str
    case: str
    processes: tuple[str, ...]
    use: str


WAYS = (
    Way("one process", "one process", ("daemon",), "always first"),
    Way(
        "[workers](workers.md) with a level `{shard}`",
        "2 workers, shards",
        ("daemon", "worker 0", "worker 1"),
        "on one machine with more than two cores, if one core is busy",
    ),
    Way(
        "workers without the level",
        "2 workers, routed by the parent",
        ("daemon", "worker 0", "worker 1"),
        "for shorter ticks of very many sessions: the parent reads and splits everything, and receives hardly more",
    ),
)


def table(parts: list[Part]) -> Iterator[str]:
    """Lines of the table."""
    rows = medians(parts)
    cpu, memory = (rows[f"{MILLION}: {what}"] for what in ("CPU", "memory"))
    measured = f"{cpu:.0%} of a core, with {figure(memory)} MiB".replace("%", " %")
    yield f"One process had 1,000,000 sessions and 20,000 messages a second on {measured} ({parts[0].machine})."
    yield ""
    yield f"| | {' | '.join(SIZES)} | use it |"
    yield "|---|---|---|---|"
    for way in WAYS:
        yield f"| {way.name} | {' | '.join(_cell(rows, way, size) for size in SIZES)} | {way.use} |"
    cluster = "if one machine has not enough cores or memory: several times the CPU for each report"
    yield f"| [a cluster](cluster.md) | see its [sizes](#sizes-of-a-cluster) | | {cluster} |"


def _cell(rows: Mapping[str, float], way: Way, size: str) -> str:
    """Reports a second, and what the busiest process spends for each of them."""
    case = f"{way.case}, {size}"
    busiest_us = max(rows[f"{case}: {process}"] for process in way.processes)
    return f"{rows[f'{case}: total']:,.0f} a second; {figure(busiest_us)} µs"
