"""Reads a bounded part of a partition, and finds offsets by time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from qoemon.net.kafka.client import Options, describe_error

ANSWER_S = 10.0
"""How long one answer of Kafka may take."""

AT_ONCE = 1000
"""Records that are taken from the client in one call."""


class ReadError(Exception):
    """Records cannot be read; the message says which, and why."""


class AnswerError(Exception):
    """Kafka does not answer, or refuses to; the message says why."""


class GoneError(ReadError):
    """The records are not in the topic any more."""


class Record(NamedTuple):
    """A record of a partition; time_ms is Kafka's own, milliseconds since the epoch."""

    offset: int
    time_ms: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


class Reader:
    """A client that reads parts of a topic. It has no group: whoever asks knows the offsets."""

    def __init__(self, options: Options, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **options,
                "group.id": "qoemon",  # asked for by the client, used for nothing
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()

    def partitions(self) -> int:
        """Number of partitions of the topic; 0 without such a topic. AnswerError if Kafka does not answer."""
        with _answering():
            return len(self._consumer.list_topics(self._topic, ANSWER_S).topics[self._topic].partitions)

    def offsets_at(self, time_s: float, partitions: int) -> list[int]:
        """Of each partition, the offset of the first record at that time, seconds since the epoch, or later.

        Without such a record it is the end of the partition. AnswerError if Kafka does not answer.
        """
        time_ms = round(time_s * 1000)
        asked = [TopicPartition(self._topic, number, time_ms) for number in range(partitions)]
        # The ends come first: what is appended between both questions then belongs to later.
        ends = [self.ends(number) for number in range(partitions)]
        with _answering():
            found = sorted(self._consumer.offsets_for_times(asked, ANSWER_S), key=lambda each: each.partition)
        for each in found:
            if each.error is not None:
                raise AnswerError(describe_error(each.error))
        return [
            end if each.offset in {OFFSET_END, -1} else max(min(each.offset, end), begin)
            for each, (begin, end) in zip(found, ends, strict=True)
        ]

    def read(self, partition: int, begin: int, end: int) -> Iterator[Record]:
        """The records from offset `begin` up to, but without, `end`.

        raises  GoneError if they are not there any more, ReadError if Kafka does not answer
        """
        if begin >= end:
            return
        where = f"partition {partition} of topic {self._topic}, offsets {begin} to {end - 1}"
        self._consumer.assign([TopicPartition(self._topic, partition, begin)])
        try:
            at = begin
            while at < end:
                first = self._consumer.poll(ANSWER_S)
                if first is None:
                    raise ReadError(f"{where}: no record for {ANSWER_S:g} s")
                # What is here already: with a timeout, it would be waited for as many as there are offsets, and
                # an offset need not have a record: the end of a transaction has none.
                for each in (first, *self._consumer.consume(min(AT_ONCE, end - at), 0)):
                    offset, error = each.offset() or 0, each.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        gone = error.code() in {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET}
                        raise (GoneError if gone else ReadError)(f"{where}: {describe_error(error)}")
                    if offset >= end:
                        return
                    if error is not None:
                        continue
                    at = offset + 1
                    headers = dict(_pairs(each.headers()))
                    yield Record(offset, each.timestamp()[1], each.key() or b"", each.value() or b"", headers)
        finally:
            self._consumer.unassign()

    def ends(self, partition: int) -> tuple[int, int]:
        """The first offset of a partition, and the one behind its last. AnswerError if Kafka does not answer."""
        with _answering():
            begin, end = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=ANSWER_S, cached=False
            )
        return begin, end


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise AnswerError(describe_error(error)) from None


def _pairs(headers: object) -> Iterator[tuple[str, bytes]]:
    for name, value in headers if isinstance(headers, list) else ():
        yield name, value or b""
