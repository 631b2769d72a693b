"""All reports of a session reach one shard; none is lost, duplicated or reordered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.plan.plan import Limits
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.core.wire.partition import Partitioner, shard_of
from qoemon.core.wire.report import Reject
from qoemon.state.frames import StoredMessage
from tests.core.wire.test_codec import DAMAGED
from tests.support.core import VIDEO, plan

TOPIC, PATH = "qoe/v1/video/eu", "/v1/video/eu"
PLAN = replace(plan(VIDEO), paths=(TopicTemplate("/v1/{service}/{region}"),))

REPORT = st.fixed_dictionaries(
    {"session": st.text(min_size=1, max_size=8), "seq": st.integers(0, 9)},
    optional={"play_s": st.floats(0, 60), "more": st.text(max_size=5), "end": st.booleans()},
)
WHOLE = st.integers(-(2**63), 2**63)
"""Integers that MessagePack can encode."""
RUBBISH = st.one_of(
    st.none(),
    WHOLE,
    st.text(max_size=5),
    st.fixed_dictionaries({"session": WHOLE}),
    st.fixed_dictionaries({"seq": st.integers(0, 9)}),
    st.lists(WHOLE, max_size=2),
)
ENCODERS = {"json": lambda said: json.dumps(said).encode(), "msgpack": msgspec.msgpack.encode}


def decoded(payloads: list[bytes], kind: Kind = Kind.MQTT) -> tuple[list[tuple[Any, ...]], dict[Reject, int]]:
    address = TOPIC if kind is Kind.MQTT else PATH
    received = Codec(PLAN).decode([StoredMessage(address, p, 1.0, kind) for p in payloads])
    batch, players = received.batch, received.players
    reports = zip(batch.session, batch.seq.tolist(), batch.play_ms.tolist(), batch.end.tolist(), strict=True)
    records = zip(players.session, players.seq.tolist(), players.rate.tolist(), players.state.tolist(), strict=True)
    return [*reports, *records], dict(received.rejected)


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@given(said=st.one_of(REPORT, RUBBISH, st.lists(st.one_of(REPORT, RUBBISH), max_size=12)), shards=st.integers(1, 5))
def test_the_parts_hold_what_the_whole_held(encode: Any, said: Any, shards: int) -> None:
    payload = encode(said)
    parts = Partitioner(shards, PLAN).split(TOPIC, payload)
    assert len({part.shard for part in parts}) == len(parts) <= shards
    rows, rejected = decoded([payload])
    received = [decoded([part.payload]) for part in parts]
    for part, (some, _) in zip(parts, received, strict=True):
        assert {shard_of(row[0], shards) for row in some} <= {part.shard}
        assert some == [row for row in rows if shard_of(row[0], shards) == part.shard]
    assert sorted(row for some, _ in received for row in some) == sorted(rows)
    assert {r: n for r in Reject if (n := sum(each.get(r, 0) for _, each in received))} == rejected


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"\x00", b"[", b'{"session": "a"}{"session": "b"}'])
def test_what_cannot_be_read_goes_whole_to_one_shard(payload: bytes) -> None:
    parts = Partitioner(3, PLAN).split(TOPIC, payload)
    assert [part.payload for part in parts] == [payload]


DAMAGED_ARRAYS = {name: damaged for name, (damaged, _, _) in DAMAGED.items()} | {
    "an object without end": b"[{}",
    "MessagePack, cut off": b"\x92\x81",
    "half a character": "[\ud800]".encode(errors="surrogatepass"),
    "deep": b"[" * 2000,
    "a byte order mark": b'\xef\xbb\xbf[{"session": "a"}, {"session": "b"}]',
    "many sessions": b'[{"session":"a"},{"session":"b","play_s":NaN},{"session":"c"},{"session":"d"},{"session":"e',
}


@pytest.mark.parametrize("name", DAMAGED_ARRAYS)
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_the_parts_of_a_damaged_payload_come_to_the_same(name: str, shards: int) -> None:
    payload = DAMAGED_ARRAYS[name]
    rows, rejected = decoded([payload])
    parts = Partitioner(shards, PLAN).split(TOPIC, payload)
    received = [decoded([part.payload]) for part in parts]
    for part, (some, _) in zip(parts, received, strict=True):
        assert {shard_of(row[0], shards) for row in some} <= {part.shard}
    assert sorted(row for some, _ in received for row in some) == sorted(rows)
    assert {r: n for r in Reject if (n := sum(each.get(r, 0) for _, each in received))} == rejected


@given(st.lists(REPORT, max_size=6), st.binary(max_size=8), st.data())
def test_the_parts_of_any_damaged_payload_come_to_the_same(
    reports: list[Any], junk: bytes, data: st.DataObject
) -> None:
    encode = data.draw(st.sampled_from(list(ENCODERS.values())))
    whole = encode(reports)
    at = data.draw(st.integers(0, len(whole)))
    payload = data.draw(st.sampled_from([whole[:at], whole[:at] + junk + whole[at:], junk + whole]))
    rows, rejected = decoded([payload])
    received = [decoded([part.payload]) for part in Partitioner(3, PLAN).split(TOPIC, payload)]
    assert sorted(row for some, _ in received for row in some) == sorted(rows)
    assert {r: n for r in Reject if (n := sum(each.get(r, 0) for _, each in received))} == rejected


@pytest.mark.parametrize("limits", [Limits(reports_per_message=3), Limits(message_bytes=20)])
def test_what_is_too_large_as_a_whole_is_not_cut_into_pieces_that_fit(limits: Limits) -> None:
    payload = json.dumps([{"session": f"s{i}"} for i in range(4)]).encode()
    parts = Partitioner(2, replace(PLAN, limits=limits)).split(TOPIC, payload)
    assert [part.payload for part in parts] == [payload]


SESSIONS = st.one_of(st.sampled_from(["a", "b", "c"]), st.text("xyzä ~", min_size=1, max_size=70))
RECORD = st.builds(
    lambda sid, seq, sta, more: f'pr=1.5,sid="{sid}",sn={seq},sta={sta}{more}'.encode(),
    SESSIONS,
    st.integers(-1, 9),
    st.sampled_from("rpx"),
    st.sampled_from(["", ",v=3", ",bl=(1;v 2;a)", ",x=:aGk=:", ",", ',sid="c"', ",sid", ",sid=(a)", "," * 8200]),
)
LINE = st.one_of(RECORD, st.binary(max_size=12), st.sampled_from([b"", b" ", b'sid=""', b"e=t,ts=1,v=2", b"\xff"]))


@given(st.lists(LINE, max_size=12), st.sampled_from([b"\n", b"\r\n", b" \n\n"]), st.integers(1, 5))
def test_the_parts_of_a_body_of_records_hold_what_the_whole_held(
    lines: list[bytes], line_end: bytes, shards: int
) -> None:
    """Each session's records are in one part, in their order; each one that is rejected counts once."""
    body = line_end.join(lines)
    parts = Partitioner(shards, PLAN).split(PATH, body, Kind.CMCD)
    assert len({part.shard for part in parts}) == len(parts) <= shards
    rows, rejected = decoded([body], Kind.CMCD)
    received = [decoded([part.payload], Kind.CMCD) for part in parts]
    for part, (some, _) in zip(parts, received, strict=True):
        assert some == [row for row in rows if shard_of(row[0], shards) == part.shard]
    assert sum(len(some) for some, _ in received) == len(rows)
    assert {r: n for r in Reject if (n := sum(each.get(r, 0) for _, each in received))} == rejected


@pytest.mark.parametrize(
    ("path", "records"), [(PATH, 501), ("/v1/radio/eu", 3), (f"/v1/video/{'x' * 200}", 3), (PATH, 0)]
)
def test_a_body_that_is_rejected_as_a_whole_is_not_split(path: str, records: int) -> None:
    body = b"\n".join(b'sid="s%d",sta=p' % number for number in range(records)) + b"\n"
    assert [part.payload for part in Partitioner(3, PLAN).split(path, body, Kind.CMCD)] == [body]
    (small,) = Partitioner(3, replace(PLAN, limits=Limits(message_bytes=20))).split(PATH, body * 3, Kind.CMCD)
    assert small.payload == body * 3


@given(st.lists(REPORT, max_size=6))
def test_reports_that_are_posted_are_split_as_those_of_a_topic(reports: list[Any]) -> None:
    payload = json.dumps(reports).encode()
    posted = Partitioner(3, PLAN).split("/v1/v%69deo/eu", payload, Kind.HTTP)
    assert posted == Partitioner(3, PLAN).split(TOPIC, payload)


def test_a_session_keeps_its_shard_for_ever() -> None:
    """The state on disk depends on these values: they must not change."""
    assert [shard_of(name, 16) for name in ("a", "viewer-1", "Ω")] == [3, 4, 3]


def test_sessions_are_spread_evenly() -> None:
    counts = [0] * 8
    for number in range(80_000):
        counts[shard_of(f"session-{number}", 8)] += 1
    assert max(counts) < 1.1 * min(counts)


@pytest.mark.parametrize("topic", ["qoe/v1/radio/eu", "other/eu", f"qoe/v1/video/{'x' * 200}"])
def test_what_its_topic_rejects_is_rejected_once(topic: str) -> None:
    payload = json.dumps([{"session": f"s{i}"} for i in range(10)]).encode()
    assert [part.payload for part in Partitioner(2, PLAN).split(topic, payload)] == [payload]
