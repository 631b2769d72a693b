"""Checkpoints that the source can continue, and those that it cannot."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.engine.spark.offsets import Cut
from qoemon.engine.spark.source import CheckpointError, Feed, ReportReader
from qoemon.net.kafka.client import client_options

if TYPE_CHECKING:
    from pathlib import Path

    from qoemon.tools.cluster.kafka import Kafka

CUT = Cut(100, (5, 6, 7), shards=4, every_s=2)


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(
        options={"bootstrap.servers": "127.0.0.1:9"},
        topic="reports",
        partitions=3,
        shards=4,
        tick_s=2,
        readers=2,
        start_s=0,
        full=tmp_path / "full",
        plan=core_plan(Config()),
    )


def planned(feed: Feed, start: Cut, end: Cut) -> list[Any]:
    return ReportReader(feed).partitions(start.stored(), end.stored())


def test_a_batch_goes_from_cut_to_cut(feed: Feed) -> None:
    parts = planned(feed, CUT, replace(CUT, tick_s=104, offsets=(5, 8, 9)))
    assert [each.spans for each in parts] == [((0, 5, 5), (2, 7, 9)), ((1, 6, 8),)]
    assert {(each.from_s, each.until_s) for each in parts} == {(100, 104)}


def test_partitions_that_were_added_are_read_from_their_beginning(feed: Feed) -> None:
    parts = planned(replace(feed, partitions=4), CUT, replace(CUT, tick_s=102, offsets=(5, 6, 7, 3)))
    assert [each.spans for each in parts] == [((0, 5, 5), (2, 7, 7)), ((1, 6, 6), (3, 0, 3))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shards": 8}, "divides the sessions among 4 shards, and engine.shards is 8: set it back"),
        ({"tick_s": 5}, "has a tick every 2 s, and sessions.tick is 5 s: set it back"),
        ({"partitions": 2}, "knows 3 partitions of topic reports, which has 2"),
    ],
)
def test_a_checkpoint_of_another_plan_is_not_continued(feed: Feed, change: dict[str, Any], reason: str) -> None:
    other = replace(feed, **change)
    with pytest.raises(CheckpointError, match=reason):
        planned(other, CUT, CUT)
    with pytest.raises(CheckpointError, match=reason):
        ReportReader(other).latestOffset(CUT.stored(), None)


@pytest.mark.kafka
def test_a_topic_that_was_created_again_is_not_continued(feed: Feed, kafka: Kafka) -> None:
    kafka.create_topic("again", partitions=3)
    again = replace(feed, topic="again", options=client_options(kafka.brokers, {}))
    start = replace(CUT, tick_s=int(time.time()) // 2 * 2 - 10)
    with pytest.raises(
        CheckpointError, match=r"has read partition 0 of topic again up to offset 5, and that ends at 0"
    ):
        ReportReader(again).latestOffset(start.stored(), None)
