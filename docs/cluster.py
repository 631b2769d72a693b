"""The table of sizes of a cluster in sizing.md, from figures that `make bench-cluster` has measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from benchmarks.row import Part, figure
from docs.measured import medians

MARKS = "<!-- sizes: make bench-cluster, make docs -->", "<!-- end of sizes -->"

SESSIONS, EVERY_S, SHARDS, GROUPS, TICK_S = 10_000_000, 10, 1024, 1000, 10
"""What is reckoned: sessions that report every so often, divided among shards and groups; a tick every so often."""

_REPORTS = 2_300
"""Reports in a batch of benchmarks/shards.py."""
_SIZES = (1_800, 15_600)
"""Its sessions in a shard."""

Medians = Mapping[str, float]
"""The median of each row, by its name."""


class Line(NamedTuple):
    """A line of the table.

    needs  names of the rows from which it is reckoned; without one of them there is no line
    """

    part: str
    needs: tuple[str, ...]
    measured: Callable[[Medians], str]
    reckoned: Callable[[Medians], str]
    limit: str


def table(parts: list[Part]) -> Iterator[str]:
    """Lines of the table, of the costs that were measured."""
    rows = medians(parts)
    yield f"{parts[0].machine}."
    yield ""
    yield "| part | measured | ten million sessions | where it saturates |"
    yield "|---|---|---|---|"
    for line in LINES:
        if all(name in rows for name in line.needs):
            yield f"| {line.part} | {line.measured(rows)} | {line.reckoned(rows)} | {line.limit} |"


def _of_size(sessions: int, what: str) -> str:
    """Name of a row of benchmarks/shards.py."""
    return f"{sessions:,} sessions, {GROUPS:,} groups: {what}"


def _of_driver(what: str) -> str:
    """Name of a row of benchmarks/merge.py."""
    return f"{SHARDS:,} shards: {what}"


_APPLY, _STATE, _COUNTS = (_of_size(_SIZES[1], what) for what in ("apply", "state", "counts"))
_FIXED = tuple(_of_size(sessions, "all but apply") for sessions in _SIZES)
_DECODING, _TICK, _ENDING_DECODING, _ENDING, _ENCODED, _MEMORY = (
    _of_driver(what)
    for what in (
        "decoding",
        "tick",
        "decoding, of a tick that ends an interval",
        "tick that ends an interval",
        "encoded counts",
        "memory",
    )
)
_WHOLE, _RECORD, _SERVED = (
    f"60,000 reports/s: {what}" for what in ("cluster", "bytes in Kafka", "a tick is served after")
)
_RESIDENT = tuple(f"60,000 reports/s: memory of {part}" for part in ("the driver", "its JVM", "Python workers"))
_BRIDGE = "60,000 reports/s: bridge"
_START = "start, until the first tick"

_PER_S = SESSIONS / EVERY_S
"""Reports a second."""


def _apply_us(medians: Medians) -> float:
    """Decoding and counting a report."""
    return medians[_APPLY] * 1000 / _REPORTS


def _fixed_ms(medians: Medians) -> float:
    """A batch of a shard with its share of the sessions, without reports: on the line through both sizes."""
    low, high = (medians[name] for name in _FIXED)
    return low + (high - low) * (SESSIONS / SHARDS - _SIZES[0]) / (_SIZES[1] - _SIZES[0])


def _rewrite_cores(medians: Medians) -> float:
    return _fixed_ms(medians) * SHARDS / 1000 / TICK_S


def _driver_s(medians: Medians) -> float:
    """A tick that ends an interval, the longest."""
    return (medians[_ENDING_DECODING] + medians[_ENDING]) / 1000


LINES = (
    Line(
        "bridges: decode, divide, write",
        (_BRIDGE,),
        lambda rows: f"{figure(rows[_BRIDGE])} µs a report",
        lambda rows: f"{figure(rows[_BRIDGE] * _PER_S / 1e6)} cores",
        "one bridge at a core: more bridges, each with its own topics",
    ),
    Line(
        "Kafka: what is written",
        (_RECORD,),
        lambda rows: f"{figure(rows[_RECORD])} bytes a report",
        lambda rows: (
            f"{figure(rows[_RECORD] * _PER_S / 1e6)} MB/s, {figure(rows[_RECORD] * _PER_S * 3.6e-6)} GB an hour,"
            " times the replication"
        ),
        "network and disks of the brokers: compression.type, more brokers and partitions",
    ),
    Line(
        "executors: decode and count reports",
        (_APPLY,),
        lambda rows: f"{figure(_apply_us(rows))} µs a report",
        lambda rows: f"{figure(_apply_us(rows) * _PER_S / 1e6)} cores",
        "cores: more executors, and as many `spark.sql.shuffle.partitions`",
    ),
    Line(
        "executors: load, tick and dump of each shard at each tick",
        _FIXED,
        lambda rows: (
            f"{figure(rows[_FIXED[0]])} ms with {_SIZES[0]:,} sessions, {figure(rows[_FIXED[1]])} ms with "
            f"{_SIZES[1]:,}"
        ),
        lambda rows: f"{figure(_fixed_ms(rows))} ms a shard, together {figure(_rewrite_cores(rows))} cores",
        "the same; fewer shards or a longer sessions.tick cost less",
    ),
    Line(
        "executors: all of it, with Spark",
        (_WHOLE,),
        lambda rows: f"{figure(rows[_WHOLE])} µs a report",
        lambda rows: f"{figure(rows[_WHOLE] * _PER_S / 1e6)} cores",
        "the same",
    ),
    Line(
        "checkpoint: state, written at each tick",
        (_STATE,),
        lambda rows: f"{figure(rows[_STATE])} bytes a session",
        lambda rows: (
            f"{figure(rows[_STATE] * SESSIONS / 1e6)} MB, {figure(rows[_STATE] * SESSIONS / TICK_S / 1e6)} MB/s"
        ),
        "the storage of the checkpoint: a longer sessions.tick",
    ),
    Line(
        "memory of all of it on one machine, a million sessions",
        _RESIDENT,
        lambda rows: (
            f"{figure(rows[_RESIDENT[0]])} MB the driver, {figure(rows[_RESIDENT[1]])} its JVM, "
            f"{figure(rows[_RESIDENT[2]])} the Python workers"
        ),
        lambda rows: f"{figure(rows[_RESIDENT[2]] / 1e6 * SESSIONS / 1e3)} GB of Python workers, on all executors",
        "memory of the executors beside their JVM; the driver's is in the last line",
    ),
    Line(
        "driver: counts that arrive at each tick",
        (_ENCODED,),
        lambda rows: f"{figure(rows[_ENCODED])} MB with {SHARDS:,} shards and {GROUPS:,} groups",
        lambda rows: f"{figure(rows[_ENCODED] / TICK_S)} MB/s",
        "far from the network; spark.driver.maxResultSize (1 GB) bounds a batch that catches up",
    ),
    Line(
        "driver: decode, merge, rate, evaluate alerts",
        (_DECODING, _TICK, _ENDING_DECODING, _ENDING),
        lambda rows: (
            f"{figure(rows[_DECODING] + rows[_TICK])} ms a tick, {figure(_driver_s(rows) * 1000)} ms "
            "when an interval ends"
        ),
        lambda rows: (
            f"{figure(_driver_s(rows) / TICK_S * 100)} % of a core; full at "
            f"{figure(SHARDS * GROUPS * TICK_S / _driver_s(rows) / 1e6)} million shards × groups"
        ),
        "one core, as it cannot be divided: shards times groups",
    ),
    Line(
        "driver: memory of a tick",
        (_MEMORY,),
        lambda rows: f"{figure(rows[_MEMORY])} MB",
        lambda rows: "the same",
        "shards times groups",
    ),
    Line(
        "a tick is served after it is due",
        (_SERVED,),
        lambda rows: f"{figure(rows[_SERVED])} s",
        lambda rows: "the same, while there are cores for all of the above",
        "batches longer than sessions.tick",
    ),
    Line(
        "start",
        (_START,),
        lambda rows: f"{figure(rows[_START])} s until the first tick",
        lambda rows: "the same, and what has to be caught up",
        "",
    ),
)
