"""Kafka on this machine, as tests and the demo start it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from qoemon.net.kafka.admin import AdminError
from qoemon.tools.cluster.kafka import KafkaError
from tests.support.kafka import now_ms, reading, running_kafka
from tests.support.parts import ROOT, accepts
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from qoemon.tools.cluster.kafka import Kafka

pytestmark = pytest.mark.kafka


def _write(kafka: Kafka, topic: str, values: list[bytes], partition: int = 0) -> None:
    producer = Producer(
        {"bootstrap.servers": ",".join(kafka.brokers), "acks": "all", "enable.idempotence": True, "log_level": 0}
    )
    for value in values:
        producer.produce(topic, value, key=b"7", partition=partition, headers={"h": b"1"})
    assert producer.flush(WAIT_S) == 0


def test_a_node_takes_records_and_gives_them_back_with_its_own_time(kafka: Kafka):
    kafka.create_topic("there-and-back", partitions=2)
    begin_ms = now_ms()
    _write(kafka, "there-and-back", [b"a", b"b"], partition=1)
    end_ms = now_ms()
    with reading(kafka, "there-and-back") as reader:
        assert reader.partitions() == 2
        assert reader.offsets_at(end_ms / 1000 + 60, 2) == [0, 2]
        first, second = reader.read(1, 0, 2)
    assert (first.offset, first.key, first.value, first.headers) == (0, b"7", b"a", {"h": b"1"})
    assert (second.offset, second.value) == (1, b"b")
    assert begin_ms <= first.time_ms <= second.time_ms <= end_ms


def test_no_topic_comes_into_being_by_itself(kafka: Kafka):
    with reading(kafka, "nobody-made-it") as reader:
        assert reader.partitions() == 0
        assert reader.partitions() == 0


def test_a_topic_is_created_once(kafka: Kafka):
    kafka.create_topic("once", partitions=1)
    with pytest.raises(AdminError, match=r"topic once cannot be created: .*already exists.*TOPIC_ALREADY_EXISTS"):
        kafka.create_topic("once", partitions=1)


def test_three_nodes_lose_nothing_when_one_is_killed_and_comes_back(tmp_path: Path):
    with running_kafka(tmp_path, nodes=3) as kafka:
        kafka.create_topic("kept", partitions=3, replication=3)
        for partition in range(3):
            _write(kafka, "kept", [b"before"], partition)
        kafka.kill(1)
        for partition in range(3):
            _write(kafka, "kept", [b"meanwhile"], partition)
        kafka.start(1)
        kafka.kill(2)
        for partition in range(3):
            _write(kafka, "kept", [b"after"], partition)
        with reading(kafka, "kept") as reader:
            for partition in range(3):
                assert [each.value for each in reader.read(partition, 0, 3)] == [b"before", b"meanwhile", b"after"]


def test_a_node_that_ends_shows_its_log(tmp_path: Path):
    with running_kafka(tmp_path) as kafka:
        kafka._processes[1].terminate()
        kafka._processes[1].wait()
        with pytest.raises(KafkaError, match=r"(?s)node 1 of Kafka ended with exit code \d+; its log:.*WARN"):
            kafka.answers()


def test_kafka_ends_with_a_parent_that_was_killed(tmp_path: Path):
    with running_kafka(tmp_path):
        pass  # It can be started here.
    program = (
        "import pathlib, sys, time\n"
        "from qoemon.tools.cluster.kafka import Kafka\n"
        "with Kafka(pathlib.Path(sys.argv[1])) as kafka:\n"
        "    print(kafka.brokers[0].rpartition(':')[2], flush=True)\n"
        "    time.sleep(3600)\n"
    )
    folder = tmp_path / "child"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert accepts(port)
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not accepts(port))
