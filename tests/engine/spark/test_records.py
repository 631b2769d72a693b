"""Every record of the topic gives each shard its messages, however it was written."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import replace

import pytest

from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.message import Kind
from qoemon.core.wire.partition import Partitioner, shard_of
from qoemon.core.wire.report import Reject
from qoemon.state.frames import StoredMessage, encode
from tests.support.core import T0, plan

if os.environ.get("QOEMON_REQUIRE_PARTS") != "1":
    pytest.importorskip("confluent_kafka", reason="confluent_kafka is not installed: it comes with the extra kafka")

from qoemon.engine.spark.records import SHARDS, Divider, messages_of, record_of
from qoemon.net.kafka.reader import Record

TOPIC, PATH = "qoe/v1/video/eu", "/cmcd/v1/video/eu"
PLAN = replace(plan(), paths=(TopicTemplate("/cmcd/v1/{service}/{region}"),))


def reports(*sessions: str) -> bytes:
    return json.dumps([{"session": session, "play_s": 1} for session in sessions]).encode()


def divided(record: Record, shards: int) -> dict[int, list[StoredMessage]]:
    """The messages of each shard, as they are counted."""
    found = defaultdict(list)
    for shard, frame in Divider(shards, Partitioner(shards, PLAN)).parts(record):
        found[shard] += messages_of(frame, T0 + 0.5)
    return found


def sessions_of(by_shard: dict[int, list[StoredMessage]]) -> dict[int, list[str]]:
    return {
        shard: [report["session"] for message in some for report in json.loads(message.payload)]
        for shard, some in by_shard.items()
    }


def bridged(shard: int, shards: int, *messages: StoredMessage) -> Record:
    key, value, headers = record_of(shard, shards, messages)
    return Record(5, (T0 + 1) * 1000, key, value, headers)


NAMES = [f"s{number}" for number in range(40)]
OF_SHARD_1 = [name for name in NAMES if shard_of(name, 4) == 1]


def test_a_record_for_as_many_shards_goes_to_its_shard_as_it_is() -> None:
    messages = [
        StoredMessage(TOPIC, reports(*OF_SHARD_1), T0),
        StoredMessage(PATH, b"e=ps", T0, Kind.CMCD),
    ]
    record = bridged(1, 4, *messages)
    [(shard, frame)] = Divider(4, Partitioner(4, PLAN)).parts(record)
    assert (shard, frame) == (1, record.value)
    assert divided(record, 4) == {1: [message._replace(arrival_s=T0 + 0.5) for message in messages]}


@pytest.mark.parametrize("shards", [1, 3, 7, 4096])
def test_a_record_for_another_number_of_shards_is_divided_again(shards: int) -> None:
    found = divided(bridged(1, 4, StoredMessage(PATH, reports(*OF_SHARD_1), T0, Kind.HTTP)), shards)
    assert sessions_of(found) == {
        shard: [name for name in OF_SHARD_1 if shard_of(name, shards) == shard]
        for shard in {shard_of(name, shards) for name in OF_SHARD_1}
    }
    assert {message.kind for some in found.values() for message in some} == {Kind.HTTP}


def test_a_record_of_others_is_a_message_of_mqtt() -> None:
    record = Record(5, T0 * 1000, TOPIC.encode(), reports(*NAMES), {"traceparent": b"00-1"})
    found = divided(record, 4)
    assert sessions_of(found) == {
        shard: [name for name in NAMES if shard_of(name, 4) == shard] for shard in range(4)
    }
    assert {(each.topic, each.kind) for some in found.values() for each in some} == {(TOPIC, Kind.MQTT)}


@pytest.mark.parametrize(
    "record",
    [
        Record(5, T0 * 1000, b"1", b"no frame", {SHARDS: b"4"}),
        Record(5, T0 * 1000, b"1", b"no frame", {SHARDS: b"5"}),
        Record(5, T0 * 1000, b"4", b"no frame", {SHARDS: b"4"}),
        Record(5, T0 * 1000, b"9" * 5000, b"no frame", {SHARDS: b"4"}),
        Record(5, T0 * 1000, b"\xff", b"no report", {}),
        Record(5, T0 * 1000, TOPIC.encode(), b"no report", {}),
        Record(5, T0 * 1000, TOPIC.encode(), b"no frame", {SHARDS: b"many"}),
    ],
    ids=lambda record: f"{record.key[:9]!r} {record.value!r}",
)
def test_a_record_that_cannot_be_read_is_one_rejected_message(record: Record) -> None:
    """It must not end the query, which would read it again and again."""
    [(shard, messages)] = divided(record, 4).items()
    assert 0 <= shard < 4
    pipeline = ShardPipeline(PLAN)
    pipeline.apply(messages)
    assert sum(pipeline.rejected.values()) == 1
    assert pipeline.rejected.keys() <= {Reject.UNPARSEABLE, Reject.UNKNOWN_SERVICE, Reject.SCHEMA}


def test_messages_of_another_shard_in_a_record_with_a_key_of_none_are_divided() -> None:
    record = bridged(1, 4, StoredMessage(TOPIC, reports(*NAMES), T0))
    found = divided(record._replace(key=b"77"), 4)
    assert sessions_of(found) == {
        shard: [name for name in NAMES if shard_of(name, 4) == shard] for shard in range(4)
    }
    assert record.value == encode([StoredMessage(TOPIC, reports(*NAMES), T0)])
