"""The reader takes exactly the records of a part from a real Kafka, or says why it cannot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from qoemon.net.kafka import reader as module
from qoemon.net.kafka.reader import AnswerError, Reader, ReadError
from tests.support.kafka import now_ms, reading, running_kafka
from tests.support.patience import NEVER_S, WAIT_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qoemon.tools.cluster.kafka import Kafka

pytestmark = pytest.mark.kafka


def write(kafka: Kafka, topic: str, values: Sequence[str], partition: int = 0, **options: str) -> Producer:
    """Write records; with transactional.id in a transaction, which is left open."""
    producer = Producer({"bootstrap.servers": ",".join(kafka.brokers), "acks": "all", "log_level": 0, **options})
    if options:
        producer.init_transactions(WAIT_S)
        producer.begin_transaction()
    for value in values:
        producer.produce(topic, value.encode(), partition=partition)
    assert producer.flush(WAIT_S) == 0
    return producer


def values(reader: Reader, begin: int, end: int, partition: int = 0) -> list[str]:
    return [record.value.decode() for record in reader.read(partition, begin, end)]


def test_each_part_has_its_records_and_no_other(kafka: Kafka):
    kafka.create_topic("parts", partitions=2)
    written = [str(number) for number in range(20)]
    write(kafka, "parts", written, partition=1)
    with reading(kafka, "parts") as reader:
        for begin, end in ((0, 20), (0, 1), (19, 20), (7, 13), (13, 7), (5, 5), (0, 7)):
            assert values(reader, begin, end, partition=1) == written[begin:end]


def test_a_part_may_be_larger_than_what_the_client_gives_at_once(kafka: Kafka):
    kafka.create_topic("large", partitions=1)
    written = [str(number) for number in range(2 * module.AT_ONCE + 500)]
    write(kafka, "large", written)
    with reading(kafka, "large") as reader:
        assert values(reader, 10, len(written) - 10) == written[10:-10]


def test_a_record_without_key_value_and_headers_is_empty(kafka: Kafka):
    kafka.create_topic("empty", partitions=1)
    producer = Producer({"bootstrap.servers": kafka.brokers[0], "log_level": 0})
    producer.produce("empty", None, headers=[("n", None), ("m", b"1")])
    producer.produce("empty", None)
    assert producer.flush(WAIT_S) == 0
    with reading(kafka, "empty") as reader:
        first, second = reader.read(0, 0, 2)
    assert first[2:] == (b"", b"", {"n": b"", "m": b"1"})
    assert second[2:] == (b"", b"", {})


def test_times_cut_a_partition_where_its_records_were_appended(kafka: Kafka):
    kafka.create_topic("times", partitions=3)
    before_s = now_ms() / 1000
    write(kafka, "times", ["a", "b"])
    time.sleep(0.005)  # Two records of one millisecond could not be told apart.
    between_s = now_ms() / 1000
    time.sleep(0.005)
    write(kafka, "times", ["c"])
    write(kafka, "times", ["d"], partition=2)
    with reading(kafka, "times") as reader:
        assert reader.offsets_at(before_s - 60, 3) == [0, 0, 0]
        assert reader.offsets_at(before_s, 3) == [0, 0, 0]
        assert reader.offsets_at(between_s, 3) == [2, 0, 0]
        assert reader.offsets_at(now_ms() / 1000 + 60, 3) == [3, 0, 1]
        exactly_s = next(reader.read(0, 2, 3)).time_ms / 1000
        assert reader.offsets_at(exactly_s, 3)[0] == 2


def test_offsets_without_records_are_not_waited_for(kafka: Kafka, monkeypatch: pytest.MonkeyPatch):
    """Kafka gives an offset to the end of a transaction, and keeps the records of one that was aborted."""
    monkeypatch.setattr(module, "ANSWER_S", NEVER_S)
    kafka.create_topic("gaps", partitions=1)
    write(kafka, "gaps", ["a", "b"], **{"transactional.id": "t"}).commit_transaction()  # 0, 1, and 2 for its end
    write(kafka, "gaps", ["x", "y"], **{"transactional.id": "t"}).abort_transaction()  # 3, 4, and 5 for its end
    write(kafka, "gaps", ["c"])  # 6
    write(kafka, "gaps", ["d"], **{"transactional.id": "t"}).commit_transaction()  # 7, and 8 for its end
    with reading(kafka, "gaps") as reader:
        assert reader.offsets_at(now_ms() / 1000 + 60, 1) == [9]
        assert values(reader, 0, 9) == ["a", "b", "c", "d"]
        assert values(reader, 0, 3) == ["a", "b"]
        assert values(reader, 1, 4) == ["b"]
        assert values(reader, 2, 6) == []
        assert values(reader, 2, 7) == ["c"]
        assert values(reader, 8, 9) == []


def test_records_that_kafka_has_deleted_are_named(kafka: Kafka):
    kafka.create_topic("deleted", partitions=1)
    write(kafka, "deleted", [str(number) for number in range(10)])
    admin = AdminClient({"bootstrap.servers": kafka.brokers[0], "log_level": 0})
    for deleted in admin.delete_records([TopicPartition("deleted", 0, 4)]).values():
        deleted.result()
    with reading(kafka, "deleted") as reader:
        assert reader.offsets_at(0, 1) == [4]
        assert values(reader, 4, 10) == ["4", "5", "6", "7", "8", "9"]
        with pytest.raises(
            ReadError, match=r"^partition 0 of topic deleted, offsets 2 to 6: .*\(_AUTO_OFFSET_RESET\)"
        ):
            values(reader, 2, 7)
        assert values(reader, 4, 5) == ["4"], "an error is not the end of the reader"


def test_a_part_that_is_not_written_yet_is_an_error(kafka: Kafka, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ANSWER_S", 1.0)
    kafka.create_topic("future", partitions=1)
    write(kafka, "future", ["a", "b"])
    with reading(kafka, "future") as reader:
        with pytest.raises(ReadError, match=r"^partition 0 of topic future, offsets 0 to 2: no record for 1 s"):
            values(reader, 0, 3)
        with pytest.raises(ReadError, match=r"^partition 0 of topic future, offsets 5 to 6: "):
            values(reader, 5, 7)


def test_a_broker_that_cannot_be_reached_is_an_error(unused_port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    reader = Reader({"bootstrap.servers": f"127.0.0.1:{unused_port}", "log_level": 0}, "reports")
    with pytest.raises(AnswerError):
        reader.partitions()
    with pytest.raises(AnswerError):
        reader.offsets_at(0, 1)
    with pytest.raises(ReadError, match=r"^partition 0 of topic reports, offsets 0 to 4: "):
        list(reader.read(0, 0, 5))
    reader.close()


def test_a_reader_outlives_its_broker(tmp_path: Path):
    with running_kafka(tmp_path) as kafka:
        kafka.create_topic("kept", partitions=1)
        write(kafka, "kept", ["a", "b"])
        with reading(kafka, "kept") as reader:
            assert values(reader, 0, 1) == ["a"]
            kafka.kill(1)
            kafka.start(1)
            assert values(reader, 0, 2) == ["a", "b"]
            assert reader.offsets_at(0, 1) == [0]
