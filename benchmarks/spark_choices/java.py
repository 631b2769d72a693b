"""How the JVM of a driver with everything on one machine compiles and collects garbage."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.row import Row
from benchmarks.spark_choices.measured import Query, Taken, fresh_processes, rows_of, started
from benchmarks.spark_choices.states import HDFS, PRESENT, RUNS, WARM, Case, Made, state_bytes
from qoemon.engine.spark.session import TASKS

OPTIONS: dict[str, dict[str, str]] = {
    "as the engine": {},
    "compiled twice": {"spark.driver.extraJavaOptions": "-XX:+UseSerialGC"},
    "compiled twice, G1": {"spark.driver.extraJavaOptions": "-XX:+UseG1GC"},
}
"""The last is Java's own choice on most machines."""


def rows() -> Iterator[Row]:
    """The rows of all options."""
    present: list[Taken] = []
    for name, options in OPTIONS.items():
        query = Query({TASKS: "2", **options}, Made(Case(PRESENT, HDFS, 2)), state_bytes)
        with fresh_processes(1) as pool:
            taken = started(pool, query, WARM, RUNS).result()
        present = present or taken
        yield from rows_of(f"JVM {name}", taken)
        if taken is not present:
            theirs, ours = ([each.cpu.total for each in some] for some in (taken, present))
            yield Row.ratio(f"JVM {name} / as the engine", theirs, ours)
