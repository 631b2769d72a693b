"""What the bridge writes into one record."""

from __future__ import annotations

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.wire.joined import Part
from qoemon.core.wire.message import Kind
from qoemon.engine.spark.records import record_of
from qoemon.tools.bridge.forwarder import RECORD_BYTES, _cut, largest_record

PLAN = core_plan(Config())


@pytest.mark.parametrize(
    "topic", ["qoe/v1/video/region-{}/cdn-{}", "qoe/v1/video/地区地区地区地区{}/运营商运营商{}"]
)
@pytest.mark.parametrize("payload_bytes", [0, 100, RECORD_BYTES + 1])
def test_no_record_is_larger_than_the_topic_must_accept(topic: str, payload_bytes: int) -> None:
    """After an outage thousands of messages come at once; Kafka would refuse their record at each attempt."""
    number = 3 if payload_bytes > RECORD_BYTES else 20_000
    parts = [Part(topic.format(each, each), b"x" * payload_bytes, 1.7e9, Kind.MQTT) for each in range(number)]
    records = list(_cut(parts))
    assert [each for record in records for each in record] == parts
    most = max(payload_bytes + len(topic.encode()) + 100, largest_record(PLAN))
    sizes = [sum(map(len, (key, value))) for key, value, _ in (record_of(1, 4, record) for record in records)]
    assert max(sizes) <= most
    assert number == 3 or max(sizes) > RECORD_BYTES / 2
