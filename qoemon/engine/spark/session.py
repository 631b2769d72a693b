"""Starts Spark, and finds out whether its executors can run qoemon."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import qoemon
from qoemon.config.sections.engine import Engine
from qoemon.engine.engine import SetupError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TASKS = 16
"""Tasks among which the shards of a batch are divided, at most: each has a cost of its own, whatever it holds."""

_LOOPBACK = "127.0.0.1"
_LOGGING = Path(__file__).with_name("log4j2.properties")


def start_session(engine: Engine) -> SparkSession:
    """Start Spark, or connect to its cluster; blocks until its driver runs.

    raises  SetupError if an option or the master cannot be used
    """
    from pyspark.errors import PySparkException  # noqa: PLC0415 - an extra
    from pyspark.sql import SparkSession  # noqa: PLC0415

    local = engine.master.startswith("local")
    if local:
        os.environ.setdefault("SPARK_LOCAL_IP", _LOOPBACK)
    # PySpark reads this option only where spark-submit starts the driver.
    os.environ.setdefault("PYSPARK_PYTHON", engine.options.get("spark.pyspark.python", sys.executable))
    # It logs each call from the JVM, and each failure, which the stream tells of itself.
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    builder = SparkSession.builder.appName("qoemon").master(engine.master)
    for name, value in {**_options(engine, local=local), **engine.options}.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except PySparkException as error:
        raise SetupError(f"Spark does not start with engine.master {engine.master}: {error}") from None
    except Exception as error:  # noqa: BLE001 - see below
        # What the JVM throws has no type of its own here.
        raise SetupError(
            f"Spark does not start with engine.master {engine.master}: {first_line(error)}; its log is above"
        ) from None


def require_package(spark: SparkSession) -> None:
    """See whether executors have the same qoemon as the driver.

    raises  SetupError if they have none, or another version
    """
    from pyspark.errors import PySparkException  # noqa: PLC0415

    context = spark.sparkContext
    number = max(context.defaultParallelism, 1)
    try:
        found = set(context.parallelize(range(number), number).map(_version).collect())
    except PySparkException as error:
        raise SetupError(f"executors cannot run Python: {first_line(error)}") from None
    for other in sorted(found - {qoemon.__version__}):
        has = f"qoemon {other}" if other else "no qoemon"
        raise SetupError(
            f"executors have {has}, this driver is qoemon {qoemon.__version__}: install 'qoemon[spark]"
            f"=={qoemon.__version__}' where spark.pyspark.python points to on each machine, or ship an environment "
            "with spark.archives"
        )


def first_line(error: Exception) -> str:
    """What an error says first; the rest is the stack of the JVM."""
    java = getattr(error, "java_exception", None)
    text = str(error) if java is None else str(java.toString())
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _options(engine: Engine, *, local: bool) -> dict[str, str]:
    """What a stream of few, large states needs, unless the operator says otherwise."""
    loopback = {"spark.driver.host": _LOOPBACK, "spark.driver.bindAddress": _LOOPBACK} if local else {}
    return {
        **loopback,
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(min(engine.shards, TASKS)),
        # Each batch writes every state anew: a hundred versions, Spark's default, would fill disks.
        "spark.sql.streaming.minBatchesToRetain": "5",
        "spark.sql.streaming.maxBatchesToRetainInMemory": "1",
        "spark.sql.streaming.stateStore.compression.codec": "lz4",
        # Without data there is no batch to make: the source has a mark for every tick.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    }


def _version(_: int) -> str:
    """Runs on executors, where qoemon may be missing: so nothing of it is used here."""
    try:
        return version("qoemon")
    except PackageNotFoundError:
        return ""
