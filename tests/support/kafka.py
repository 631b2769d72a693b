"""A real Kafka for the tests."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qoemon.common.java import JavaError, require_java
from qoemon.net.kafka.reader import Reader
from qoemon.tools.cache import MissingError
from qoemon.tools.cluster.jars import jars
from qoemon.tools.cluster.kafka import Kafka
from tests.support.parts import Daemon, missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_kafka() -> None:
    """Have Java and the jars of Kafka; without them as without a program: parts.missing()."""
    try:
        require_java()
        jars()
    except (JavaError, MissingError) as error:
        missing(str(error))


@contextmanager
def running_kafka(directory: Path, nodes: int = 1) -> Iterator[Kafka]:
    """A Kafka of some nodes in an empty folder, if there can be one: see require_kafka()."""
    require_kafka()
    with Kafka(directory, nodes) as kafka:
        yield kafka


class Bridge(Daemon):
    """`qoemon bridge` as a process of its own, on a free HTTP port."""

    subcommand = "bridge"


def now_ms() -> int:
    """Time of this machine, milliseconds since the epoch, as Kafka on it has it."""
    return time.time_ns() // 1_000_000


@contextmanager
def reading(kafka: Kafka, topic: str) -> Iterator[Reader]:
    """A reader of a topic."""
    reader = Reader({"bootstrap.servers": ",".join(kafka.brokers), "log_level": 0}, topic)
    try:
        yield reader
    finally:
        reader.close()
