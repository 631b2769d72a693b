"""A real Kafka on loopback and free ports, of one node or several, each a broker and a controller.

For tests and demos only: everybody may connect, and what is written is lost with the directory.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from qoemon.common.java import require_java
from qoemon.net.kafka.admin import broker_ids, create_topic
from qoemon.net.kafka.client import client_options
from qoemon.net.kafka.reader import AnswerError, Reader
from qoemon.tools import child
from qoemon.tools.cluster.jars import jars
from qoemon.tools.ports import unused_port

START_S = 60.0
STOP_S = 3.0

_ANSWER_S = 1.0
_CLUSTER = "qoemonqoemonqoemonqoeg"
"""Id of the cluster, 16 bytes as Kafka writes them."""

# Java that starts quickly: a node answers after some 2 s, with 280 MB in memory.
_JAVA = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOG = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


class KafkaError(Exception):
    """Kafka does not start; the message has the end of its log."""


class Kafka:
    """The nodes of a cluster, numbered from 1. As a context: all run and answer, and end with it.

    A node ends with the thread that started it, however that ends.

    directory  an empty folder for data and logs
    raises     MissingError or JavaError if it cannot be started here, KafkaError if it does not start
    """

    def __init__(self, directory: Path, nodes: int = 1) -> None:
        self._directory = directory
        self._ports = {node: unused_port() for node in range(1, nodes + 1)}
        self._controllers = {node: unused_port() for node in self._ports}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def brokers(self) -> list[str]:
        """HOST:PORT of each node, whether it runs or not."""
        return [f"127.0.0.1:{port}" for port in self._ports.values()]

    def __enter__(self) -> Self:
        try:
            for node in self._ports:
                self.launch(node)
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self, node: int) -> None:
        """Start a node, with the data that it has; returns at once."""
        java = [require_java(), *_JAVA, *_LOG, "-cp", f"{jars()}/*"]
        settings = self._directory / f"node-{node}.properties"
        if not settings.exists():
            settings.write_text("".join(f"{key}={value}\n" for key, value in self._settings(node).items()))
            formatting = ["format", "--cluster-id", _CLUSTER, "--config", str(settings)]
            if child.start([*java, "kafka.tools.StorageTool", *formatting], self.log(node)).wait():
                raise KafkaError(self._log_text(node, "cannot write to its folder"))
        self._processes[node] = child.start([*java, "kafka.Kafka", str(settings)], self.log(node))

    def wait(self) -> None:
        """Wait until each node that runs answers."""
        if not _comes(self.answers):
            node = next(iter(self._processes))
            raise KafkaError(self._log_text(node, f"did not answer within {START_S:g} s"))

    def answers(self) -> bool:
        """Whether each node that runs is a broker of the cluster now; KafkaError if one has ended."""
        for node, process in self._processes.items():
            if process.poll() is not None:
                raise KafkaError(self._log_text(node, f"ended with exit code {process.returncode}"))
        return all(node in self._seen_by(node) for node in self._processes)

    def start(self, node: int) -> None:
        """Start a node that was killed, and wait until it answers."""
        self.launch(node)
        self.wait()

    def kill(self, node: int) -> None:
        """End a node at once, as `kill -9` or a crash would."""
        child.kill(self._processes.pop(node))

    def stop(self) -> None:
        """End all nodes; by force if they do not end."""
        child.stop(self._processes.values(), STOP_S)
        self._processes.clear()

    def create_topic(self, name: str, partitions: int, replication: int = 1) -> None:
        """Create a topic, and wait for leaders of all its partitions; AdminError or KafkaError if that fails."""
        options = client_options(self.brokers, {})
        create_topic(options, name, partitions, replication)
        reader = Reader(options, name)
        try:
            if not _comes(lambda: _has_leaders(reader, partitions)):
                raise KafkaError(f"the topic {name} of Kafka has no leaders after {START_S:g} s")
        finally:
            reader.close()

    def log(self, node: int) -> Path:
        """The file with what a node writes."""
        return self._directory / f"node-{node}.log"

    def _seen_by(self, node: int) -> set[int]:
        # The client would log each attempt that fails.
        return broker_ids(client_options([f"127.0.0.1:{self._ports[node]}"], {"log_level": 0}), _ANSWER_S)

    def _log_text(self, node: int, what: str) -> str:
        text = self.log(node).read_text(errors="replace")[-4000:]
        return f"node {node} of Kafka {what}; its log:\n{text}"

    def _settings(self, node: int) -> dict[str, str | int]:
        nodes = len(self._ports)
        return {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(
                f"{each}@127.0.0.1:{port}" for each, port in self._controllers.items()
            ),
            "listeners": (
                f"BROKER://127.0.0.1:{self._ports[node]},CONTROLLER://127.0.0.1:{self._controllers[node]}"
            ),
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._directory / f"node-{node}"),
            "log.message.timestamp.type": "LogAppendTime",
            "auto.create.topics.enable": "false",
            "min.insync.replicas": min(2, nodes),
            "offsets.topic.replication.factor": nodes,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": nodes,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.min.isr": min(2, nodes),
            "group.initial.rebalance.delay.ms": 0,
            # When all end at once, nobody is left to take over.
            "controlled.shutdown.enable": "false",
        }


def _comes(condition: Callable[[], bool]) -> bool:
    """Whether a condition becomes true within START_S."""
    deadline_s = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


def _has_leaders(reader: Reader, partitions: int) -> bool:
    try:
        reader.offsets_at(0, partitions)
    except AnswerError:
        return False
    return True
