"""Starts Spark, and finds out whether its executors can run qoemon."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import qoemon
from qoemon.config.sections.engine import Engine
from qoemon.engine.engine import SetupError
from qoemon.engine.spark.jvm_output import JvmOutput

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TASKS = "spark.sql.shuffle.partitions"
"""Tasks among which the shards of a batch are divided. Spark keeps their number in the checkpoint."""

MASTER_S = 5.0
"""How long a master may take to accept a connection."""

_LOOPBACK = "127.0.0.1"
_LOGGING = Path(__file__).with_name("log4j2.properties")


class MasterError(Exception):
    """The master of the cluster does not answer; it may later."""


def require_master(master: str) -> None:
    """See whether one of the masters of spark://HOST:PORT,HOST:PORT accepts connections; blocks.

    Spark itself takes a minute to find out, and cannot be asked again in the same process.

    raises  MasterError if none does
    """
    if not master.startswith("spark://"):
        return
    problems = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), MASTER_S).close()
        except ValueError:
            raise SetupError(f"engine.master is {master}, expected spark://HOST:PORT") from None
        except OSError as error:
            problems.append(f"{address}: {(error.strerror or str(error)).lower()}")
        else:
            return
    raise MasterError(
        f"Spark's master does not answer ({', '.join(problems)}): is it started, is engine.master right?"
    )


def start_session(engine: Engine, output: JvmOutput) -> SparkSession:
    """Start Spark, or connect to its cluster; blocks until its driver runs.

    output  a new one, of the driver's JVM
    raises  SetupError if an option or the master cannot be used
    """
    from py4j.protocol import Py4JError  # noqa: PLC0415 - an extra
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.errors import PySparkException  # noqa: PLC0415
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    local = engine.master.startswith("local")
    if local:
        os.environ.setdefault("SPARK_LOCAL_IP", _LOOPBACK)
    # PySpark reads this option only where spark-submit starts the driver.
    os.environ.setdefault("PYSPARK_PYTHON", engine.options.get("spark.pyspark.python", sys.executable))
    _silence_py4j()
    conf = SparkConf().setAppName("qoemon").setMaster(engine.master)
    for name, value in {**_options(engine, local=local), **engine.options}.items():
        conf.set(name, value)
    try:
        gateway = launch_gateway(conf, {"stderr": output.file})  # type: ignore[no-untyped-call]
        output.begun()
        session = SparkSession(SparkContext(conf=conf, gateway=gateway))
    except (Py4JError, PySparkException, RuntimeError) as error:
        reason = output.reason() or first_line(error)
        options = f" and engine.options {', '.join(sorted(engine.options))}" if engine.options else ""
        raise SetupError(f"Spark does not start with engine.master {engine.master}{options}: {reason}") from None
    if TASKS not in engine.options:
        # One for each core: each task has a cost of its own, whatever it holds.
        session.conf.set(TASKS, min(engine.shards, max(session.sparkContext.defaultParallelism, 2)))
    return session


def fall_silent(spark: SparkSession, output: JvmOutput) -> None:
    """Say nothing of the JVM from now on: it ends, maybe before this process, and takes connections along."""
    output.fall_silent()
    server = spark.sparkContext._accumulatorServer
    server.handle_error = lambda *_: None  # type: ignore[method-assign]


def require_package(spark: SparkSession) -> None:
    """See whether executors have the same qoemon as the driver.

    raises  SetupError if they have none, or another version
    """
    from pyspark.errors import PySparkException  # noqa: PLC0415

    def installed(_: int) -> str:
        # A function within a function travels with its code: others are imported from qoemon, which may be missing.
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            return version("qoemon")
        except PackageNotFoundError:
            return ""

    context = spark.sparkContext
    number = max(context.defaultParallelism, 1)
    try:
        found = set(context.parallelize(range(number), number).map(installed).collect())
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


def _silence_py4j() -> None:
    """It logs each call and failure, which the engine reports itself; some of it on the root logger."""
    logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)
    logging.getLogger().addFilter(_is_not_of_py4j)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in Path(record.pathname).parts


def _options(engine: Engine, *, local: bool) -> dict[str, str]:
    """What a stream of few, large states needs, unless the operator says otherwise."""
    # On one machine the JVM only schedules: code that is compiled quickly costs less in all than the fastest code.
    quick = " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    loopback = {"spark.driver.host": _LOOPBACK, "spark.driver.bindAddress": _LOOPBACK} if local else {}
    return {
        **loopback,
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}{quick if local else ''}",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Each batch writes every state anew: a hundred versions, Spark's default, would fill disks.
        "spark.sql.streaming.minBatchesToRetain": "5",
        "spark.sql.streaming.maxBatchesToRetainInMemory": "1",
        "spark.sql.streaming.stateStore.compression.codec": "lz4",
        # Without data there is no batch to make: the source has a mark for every tick.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    }
