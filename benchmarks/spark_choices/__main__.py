"""What Spark offers beside what the engine uses, in CPU seconds a batch. `python -m benchmarks.spark_choices`.

Three choices are decided by these figures, see docs/decisions/0029-choices-of-spark.md: the interface of the state,
the source, and the options of the JVM. It takes half an hour, so it is not part of `make bench`. What cannot be
measured here is a row that says what is missing.
"""

import sys

from benchmarks.bench import run
from benchmarks.row import Row
from benchmarks.spark_choices import java, reading, states


def rows() -> list[Row]:
    """The rows of all choices."""
    return [*states.rows(), *reading.rows(), *java.rows()]


if __name__ == "__main__":
    sys.exit(run("Choices of Spark: CPU seconds a batch of 10 s", rows))
