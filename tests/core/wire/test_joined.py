"""Joined payloads say what the messages said that they are made of, and none is rejected for its size."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.plan import Limits, Plan
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.joined import REJECTED_BYTES, Joiner, Part
from qoemon.core.wire.message import Kind
from qoemon.core.wire.partition import Partitioner, shard_of
from qoemon.core.wire.report import Reject
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.state.frames import StoredMessage
from tests.core.wire.test_codec import DAMAGED
from tests.core.wire.test_partition import ENCODERS, LINE, RUBBISH
from tests.support.core import T0, VIDEO, WEB, plan

SHARDS = 3
PLAN = replace(plan(VIDEO, WEB), paths=(TopicTemplate("/v1/{service}/{region}"),))
TIGHT = replace(PLAN, limits=Limits(message_bytes=200, reports_per_message=3))

SESSION = st.sampled_from(["a", "b", "c", "d", "ä"])
REPORT = st.fixed_dictionaries(
    {"session": SESSION},
    optional={
        "seq": st.integers(0, 9),
        "play_s": st.floats(0, 60),
        "stall_s": st.one_of(st.floats(0, 5), st.just(None), st.just("long")),
        "stall_count": st.one_of(st.integers(0, 9), st.just(2.0)),
        "response_s": st.floats(0, 3),
        "end": st.booleans(),
        "run": st.integers(0, 2),
        "labels": st.dictionaries(st.just("region"), st.text(max_size=3)),
    },
)
REPORTS = st.one_of(REPORT, st.lists(st.one_of(REPORT, REPORT, RUBBISH), max_size=8))
TOPICS = [f"qoe/v1/{service}/{region}" for service in ("video", "web") for region in ("eu", "us")]
PATHS = ["/v1/video/eu", "/v1/video/us"]


@st.composite
def messages(draw: st.DrawFn) -> StoredMessage:
    kind = draw(st.sampled_from([Kind.MQTT, Kind.MQTT, Kind.HTTP, Kind.CMCD]))
    topic = draw(st.sampled_from(TOPICS if kind is Kind.MQTT else PATHS))
    if kind is Kind.CMCD:
        return StoredMessage(topic, b"\n".join(draw(st.lists(LINE, max_size=6))), T0 + 1.0, kind)
    payload = ENCODERS[draw(st.sampled_from(list(ENCODERS)))](draw(REPORTS))
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(payload)))
        payload = draw(st.sampled_from([payload[:at], payload[:at] + b"\x00" + payload[at:], b" \n" + payload]))
    return StoredMessage(topic, payload, T0 + 1.0, kind)


STREAM = st.lists(
    st.one_of(
        messages(),
        st.builds(
            lambda p: StoredMessage(TOPICS[0], p, T0 + 1.0),
            st.sampled_from([damaged for damaged, _, _ in DAMAGED.values()]),
        ),
    ),
    max_size=12,
)


def split(given: list[StoredMessage], told: Plan) -> dict[int, list[Any]]:
    """The parts of each shard, unjoined."""
    parts: dict[int, list[Any]] = {}
    for message in given:
        for shard, payload in Partitioner(SHARDS, told).split(message.topic, message.payload, message.kind):
            parts.setdefault(shard, []).append(message._replace(payload=payload))
    return parts


def rows(told: Plan, given: list[Any]) -> tuple[dict[Any, list[Any]], dict[Reject, int]]:
    """The reports and records of each session in their order, and the number of rejected ones."""
    batch, players, rejected, _ = Codec(told).decode(given)
    found: dict[Any, list[Any]] = {}
    for at, session in enumerate(batch.session):
        row = (batch.routes[batch.route[at]], batch.seq[at], str(batch.play_ms[at]), str(batch.stall_ms[at]))
        found.setdefault(session, []).append(row)
    for at, session in enumerate(players.session):
        row = (players.routes[players.route[at]], players.seq[at], players.state[at])
        found.setdefault(("player", session), []).append(row)
    return found, dict(rejected)


def figures(told: Plan, shards: list[list[Any]]) -> tuple[Any, ...]:
    """What is published after these messages, by group, until all intervals have closed; and the totals."""
    evaluation, pipelines = Evaluation(told, (), RegimeRules()), [ShardPipeline(told) for _ in shards]
    for pipeline, some in zip(pipelines, shards, strict=True):
        if some:
            pipeline.apply(some)
    published = []
    for at_s in (10, 60, 120):
        counts = [pipeline.tick(T0 + at_s) for pipeline in pipelines]
        tick = evaluation.tick(counts)
        services = snapshot_document(tick.snapshot, tick.detections)["services"]
        groups = [(service["service"], group) for service in services for group in service["groups"]]
        events = [(each.events, each.rejected, each.sessions) for each in counts]
        published.append((sorted(groups, key=str), events))
    return tuple(published)


@pytest.mark.parametrize("told", [PLAN, TIGHT], ids=["usual limits", "tight limits"])
@given(stream=STREAM)
def test_a_shard_reads_the_same_of_joined_messages(told: Plan, stream: list[StoredMessage]) -> None:
    """The reports of each session in their order, and as many rejected ones of each reason."""
    unjoined, joined = split(stream, told), Joiner(SHARDS, told).join(stream)
    assert set(joined) == set(unjoined)
    for shard, parts in joined.items():
        assert rows(told, list(parts)) == rows(told, unjoined[shard])


@settings(max_examples=50)
@given(stream=STREAM)
def test_joined_messages_come_to_the_same_figures(stream: list[StoredMessage]) -> None:
    unjoined, joined = split(stream, PLAN), Joiner(SHARDS, PLAN).join(stream)
    shards = range(SHARDS)
    assert figures(PLAN, [[*joined.get(shard, [])] for shard in shards]) == figures(
        PLAN, [unjoined.get(shard, []) for shard in shards]
    )


def message(*said: object, topic: str = TOPICS[0], encode: Any = ENCODERS["json"]) -> StoredMessage:
    return StoredMessage(topic, encode(said[0] if len(said) == 1 else list(said)), T0 + 1.0)


def of(session: str, seq: int = 0) -> dict[str, object]:
    return {"session": session, "seq": seq}


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_what_a_shard_gets_of_a_topic_is_one_payload(encode: Any) -> None:
    """Of single reports and arrays, with space around or not."""
    stream = [
        message(of("a"), of("b"), encode=encode),
        message(of("a", 1), encode=encode),
        message(of("c"), encode=encode),
    ]
    if encode is ENCODERS["json"]:
        stream.append(StoredMessage(TOPICS[0], b'\xef\xbb\xbf {"session": "a", "seq": 2}\n', T0 + 2.0))
    (parts,) = Joiner(1, PLAN).join(stream).values()
    (part,) = parts
    decode = json.loads if encode is ENCODERS["json"] else msgspec.msgpack.decode
    said = [(each["session"], each["seq"]) for each in decode(part.payload)]
    assert said == [("a", 0), ("b", 0), ("a", 1), ("c", 0), ("a", 2)][: len(said)]
    assert len(said) >= 4
    assert part == Part(TOPICS[0], part.payload, T0 + 1.0, Kind.MQTT)


def test_a_single_report_stays_as_it_is() -> None:
    assert Joiner(1, PLAN).join([message(of("a"))])[0][0].payload == b'{"session": "a", "seq": 0}'


def test_a_session_that_changes_its_topic_keeps_its_order() -> None:
    """Its third report does not join the first, before the second; others do."""
    first, second = TOPICS[0], TOPICS[1]
    stream = [message(of("a"), of("b"), topic=first), message(of("a", 1), topic=second)]
    stream += [message(of("a", 2), topic=first), message(of("b", 1), topic=first)]
    (parts,) = Joiner(1, PLAN).join(stream).values()
    said = [(part.topic, json.loads(part.payload)) for part in parts]
    assert said == [(first, [of("a"), of("b")]), (second, of("a", 1)), (first, [of("a", 2), of("b", 1)])]


@pytest.mark.parametrize("limits", [Limits(reports_per_message=10), Limits(message_bytes=300)])
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_no_joined_payload_is_too_large(limits: Limits, encode: Any) -> None:
    told = replace(PLAN, limits=limits)
    stream = [message(*(of("a", 3 * number + at) for at in range(3)), encode=encode) for number in range(40)]
    (parts,) = Joiner(1, told).join(stream).values()
    assert 7 <= len(parts) <= 20
    found, rejected = rows(told, [*parts])
    assert ([row[1] for row in found["a"]], rejected) == ([*range(120)], {})


def test_records_of_players_are_joined_as_lines() -> None:
    stream = [StoredMessage(PATHS[0], b'sid="a",sn=%d,sta=p' % sn, T0 + 1.0, Kind.CMCD) for sn in range(700)]
    (parts,) = Joiner(1, PLAN).join(stream).values()
    assert [len(part.payload.splitlines()) for part in parts] == [500, 200]
    found, rejected = rows(PLAN, [*parts])
    assert ([row[1] for row in found["player", "a"]], rejected) == ([*range(700)], {})


def test_a_very_large_payload_is_cut_and_still_rejected() -> None:
    """A broker delivers up to 16 MiB, which is more than a record of Kafka holds."""
    ((part,),) = Joiner(SHARDS, PLAN).join([message(*(of("a", seq) for seq in range(50_000)))]).values()
    assert len(part.payload) == REJECTED_BYTES + 1
    assert rows(PLAN, [part])[1].keys() == {Reject.TOO_LARGE}


def test_each_session_has_the_shard_that_a_split_gives_it() -> None:
    for shard, parts in Joiner(SHARDS, PLAN).join([message(*(of(f"s{number}") for number in range(50)))]).items():
        assert {shard_of(each["session"], SHARDS) for part in parts for each in json.loads(part.payload)} == {shard}


@pytest.mark.parametrize("cut", [b"[[", b'[{"session": "x"},[1,', b"\x91\x93", b"\x92\x81\xa7session\xa1x\x95\x01"])
def test_what_is_cut_off_takes_no_report_of_another_message_along(cut: bytes) -> None:
    """Also where its first value is none of a report: an item that is no object shows nothing of its end."""
    encode = ENCODERS["json" if cut[:1] == b"[" else "msgpack"]
    stream = [StoredMessage(TOPICS[0], cut, T0 + 1.0), message(of("a"), of("b"), encode=encode)]
    joined = Joiner(1, PLAN).join(stream)[0]
    found, rejected = rows(PLAN, list(joined))
    assert {"a", "b"} <= found.keys()
    assert rejected == {Reject.UNPARSEABLE: 1}
    assert (found, rejected) == rows(PLAN, stream)
