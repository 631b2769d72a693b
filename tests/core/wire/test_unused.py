"""Reports that are accepted, but have nothing that their service rates, are counted and can be shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.message import Kind
from qoemon.core.wire.unused import Unused, first_empty
from tests.support.core import T0, VIDEO, WEB, plan

PLAN = plan(VIDEO, WEB)
STALLS = ("stall_count", "stall_s", "play_s", "stalled", "end")


class Message(NamedTuple):
    topic: str
    payload: bytes
    arrival_s: float = T0 + 1.0
    kind: Kind = Kind.MQTT


def message(*reports: dict[str, Any], service: str = "video") -> Message:
    return Message(f"qoe/v1/{service}/eu", json.dumps(list(reports)).encode())


EMPTY = [
    ("video", {"session": "a"}),
    ("video", {"session": "a", "seq": 1, "ts": T0, "labels": {"region": "eu"}}),
    ("video", {"session": "a", "stallCount": 3, "playSeconds": 40}),
    ("video", {"session": "a", "response_s": 1.5}),
    ("video", {"session": "a", "stall_count": None, "stalled": False, "end": False}),
    ("web", {"session": "a", "stall_count": 0, "stall_s": 0, "play_s": 10}),
    ("web", {"session": "a", "response_s": None}),
]
USED = [
    *(("video", {"session": "a", name: 1}) for name in ("play_s", "stall_s")),
    *(("video", {"session": "a", "stall_count": 0}), ("video", {"session": "a", "stalled": True})),
    *((service, {"session": "a", "end": True}) for service in ("video", "web")),
    *(("web", {"session": "a", "response_s": times}) for times in (0, [0.5, 1])),
]


@pytest.mark.parametrize(("service", "report", "empty"), [(*c, 1) for c in EMPTY] + [(*c, 0) for c in USED])
def test_a_report_that_has_nothing_for_its_service_is_accepted_and_counted(
    service: str, report: dict[str, Any], empty: int
) -> None:
    pipeline = ShardPipeline(PLAN)
    pipeline.apply([message(report, service=service)])
    counts = pipeline.tick(T0 + 10)
    assert counts.events[Event.REPORT] == 1
    assert counts.events[Event.EMPTY] == pipeline.empty == empty
    assert counts.sessions == 1
    assert (first_empty([message(report, service=service)], PLAN) is not None) == bool(empty)


def test_the_first_one_is_found_with_its_unknown_fields() -> None:
    good, bad = {"session": "a", "play_s": 1}, {"session": "b", "stallCount": 1}
    messages = [message(good), message(good, bad), message({"session": "c"})]
    assert first_empty(messages, PLAN) == Unused("topic 'qoe/v1/video/eu'", ("stallCount",), STALLS)


def test_a_report_that_was_posted_is_found_by_its_path_and_a_record_of_a_player_is_not() -> None:
    """Paths are percent-encoded; topics that look like them are not."""
    plan_ = replace(PLAN, paths=(TopicTemplate("/v1/{service}/{region}"),))
    record = Message("/v1/video/eu", b'sid="a",sta=p,v=2', kind=Kind.CMCD)
    report = Message("/v1/vid%65o/eu", b'{"session": "a"}', kind=Kind.HTTP)
    assert first_empty([record], plan_) is None
    assert first_empty([report._replace(kind=Kind.MQTT), report], plan_) == Unused(
        "path '/v1/vid%65o/eu'", (), STALLS
    )


def test_what_is_rejected_or_of_no_service_is_not_found() -> None:
    messages = [
        Message("qoe/v1/radio/eu", b'{"session": "a"}'),
        Message("qoe/v1/video/eu", b""),
        Message("qoe/v1/video/eu", b'[{"session": "a"'),
        Message("qoe/v1/video/eu", b"[1, 2]"),
    ]
    assert first_empty(messages, PLAN) is None


def test_a_duplicate_is_not_counted_again() -> None:
    pipeline = ShardPipeline(PLAN)
    pipeline.apply([message({"session": "a", "seq": 1}), message({"session": "a", "seq": 1})])
    assert pipeline.empty == 1
