"""The command `qoemon demo-cluster`."""

from __future__ import annotations

from typing import Annotated

import typer

from qoemon.tools.command import USAGE, exit_on_errors, fail
from qoemon.tools.options import For, Seed


def demo_cluster(
    for_s: For = None,
    sessions: Annotated[int, typer.Option(min=4, help="Concurrent simulated sessions.")] = 800,
    seed: Seed = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port; 0 selects a free one.")] = 0,
) -> None:
    """Run Kafka, bridge, Spark and simulated users, all here."""
    # ruff: noqa: PLC0415 - not for --help
    import asyncio
    from importlib.util import find_spec

    from rich.console import Console

    from qoemon.common.extras import how_to_add
    from qoemon.common.java import JavaError
    from qoemon.common.logs import log_to_stderr
    from qoemon.tools.cache import MissingError
    from qoemon.tools.demo.broker import BrokerError
    from qoemon.tools.simulate.load import LoadError

    if find_spec("pyspark") is None or find_spec("confluent_kafka") is None:
        need = "the demo of the cluster needs PySpark and a client of Kafka"
        fail(USAGE, f"{need}: {how_to_add('demo,spark')}")

    from qoemon.net.kafka.admin import AdminError
    from qoemon.tools.cluster.demo import demo_cluster as run_demo
    from qoemon.tools.cluster.kafka import KafkaError
    from qoemon.tools.cluster.parts import PartError

    log_to_stderr("WARNING")
    with exit_on_errors(
        usage=(JavaError, MissingError), failed=(AdminError, BrokerError, KafkaError, LoadError, PartError)
    ):
        console = Console(highlight=False)
        asyncio.run(run_demo(console, for_s=for_s, sessions=sessions, seed=seed, http_port=port))
