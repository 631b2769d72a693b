"""Decoding: no payload raises an error, and every report is accepted or counted as rejected."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import Event
from qoemon.core.plan.plan import Plan
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Reject, Route
from tests.support.core import T0, VIDEO, WEB, OneShard, plan
from tests.support.streams import FEW

UNPARSEABLE, SCHEMA, OUT_OF_RANGE = Reject.UNPARSEABLE, Reject.SCHEMA, Reject.OUT_OF_RANGE
TOO_LARGE, UNKNOWN_SERVICE = Reject.TOO_LARGE, Reject.UNKNOWN_SERVICE
TOPIC = "qoe/v1/video/eu"
GOOD = {"session": "good", "seq": 1, "stall_count": 1, "stall_s": 2.5, "play_s": 20}
HUGE = 10**30


class Message(NamedTuple):
    topic: str
    payload: bytes
    arrival_s: float = T0 + 5.0
    kind: Kind = Kind.MQTT


def decode(*messages: Message, of: Plan | None = None) -> Decoded:
    return Codec(of or plan()).decode(messages)


def payload(document: object, encoding: str) -> bytes:
    return msgspec.msgpack.encode(document) if encoding == "msgpack" else json.dumps(document).encode()


def only(decoded: Decoded, reason: Reject, times: int = 1) -> bool:
    return decoded.rejected == Counter({reason: times}) and set(decoded.sample) == {reason}


both = pytest.mark.parametrize("encoding", ["json", "msgpack"])


# What a field may not hold, by field: (reason, value).
BAD_VALUES: dict[str, list[tuple[Reject, Any]]] = {
    "session": [(SCHEMA, v) for v in (None, 1, 1.5, True, [], {}, ["a"], "", "x" * 129, "é" * 129)],
    "seq": [
        *((SCHEMA, v) for v in ("1", 1.5, True, [], {}, [1])),
        *((OUT_OF_RANGE, v) for v in (-1, -(2**62), 2**63, 2**64 - 1)),
    ],
    "ts": [
        *((SCHEMA, v) for v in ("2024-01-01", True, [], {})),
        *((OUT_OF_RANGE, v) for v in (-1, -0.001, -1e308)),
    ],
    "stall_count": [
        *((SCHEMA, v) for v in ("3", 3.5, False, [], {})),
        *((OUT_OF_RANGE, v) for v in (-1, 10**9 + 1, 2**63, 2**64 - 1)),
    ],
    "stall_s": [
        *((SCHEMA, v) for v in ("3", True, [], {}, [2.5])),
        *((OUT_OF_RANGE, v) for v in (-1, -1e-9, 1.1e9, 1e308, 0)),
    ],
    "play_s": [
        *((SCHEMA, v) for v in ("3", False, [], {}, [2.5])),
        *((OUT_OF_RANGE, v) for v in (-1, -1e-300, 1.1e9, 1e300)),
    ],
    "response_s": [
        *((SCHEMA, v) for v in ("3", True, {}, ["1"], [None], [[1]], [1, True])),
        *((OUT_OF_RANGE, v) for v in (-1, [-1], [0.1, -0.1, 0.1], 1e300, [0.1, 1e10])),
    ],
    "stalled": [(SCHEMA, v) for v in (0, 1, "true", [], {})],
    "end": [(SCHEMA, v) for v in (0, 1, "yes", [], {})],
    "run": [(SCHEMA, v) for v in (1.5, True, [], {}, ["a"])],
    "rating": [(SCHEMA, v) for v in ("4", True, [], {}, [4])],
    "thumb": [(SCHEMA, v) for v in (1, True, "Up", "", [], {})],
    "asked": [(SCHEMA, v) for v in (0, 1, "yes", [], {})],
    "ratings": [(SCHEMA, v) for v in (4, "4", True, [], {"video": "4"}, {"video": []})],
    "labels": [
        *((SCHEMA, v) for v in (1, "eu", [], ["region"], {"region": {}}, {"region": ["eu"]})),
    ],
}
CASES = [
    pytest.param(encoding, field, value, reason, id=f"{encoding}-{field}-{str(value)[:24]}")
    for encoding in ("json", "msgpack")
    for field, values in BAD_VALUES.items()
    for reason, value in values
]
# What only one of the encodings can say of a number.
CASES += [
    pytest.param("msgpack", field, value, OUT_OF_RANGE, id=f"msgpack-{field}-{value}")
    for field in ("ts", "stall_s", "play_s", "response_s")
    for value in (math.nan, math.inf, -math.inf)
]
CASES += [
    pytest.param("json", field, sign * value, OUT_OF_RANGE, id=f"json-{field}-{sign * value:.0e}")
    for field, value in (("seq", HUGE), ("stall_count", HUGE), ("stall_s", 10**20), ("play_s", 10**20))
    for sign in (1, -1)
]


def test_there_are_more_than_a_hundred_kinds_of_bad_reports() -> None:
    assert len(CASES) > 100


@pytest.mark.parametrize(("encoding", "field", "value", "reason"), CASES)
def test_a_bad_report_counts_under_its_one_reason_and_costs_no_other(
    encoding: str, field: str, value: object, reason: Reject
) -> None:
    bad = GOOD | {"session": "bad", field: value}
    alone = decode(Message(TOPIC, payload(bad, encoding)))
    assert only(alone, reason)
    assert len(alone.batch) == 0
    among = decode(Message(TOPIC, payload([GOOD, bad, GOOD], encoding)), Message(TOPIC, payload(GOOD, encoding)))
    assert only(among, reason)
    assert among.batch.session == ["good"] * 3
    assert (among.batch.stalls.tolist(), among.batch.stall_ms.tolist()) == ([1] * 3, [2_500] * 3)


@both
@pytest.mark.parametrize("document", [{}, {"seq": 1}, {"Session": "a"}, [1], [[]], [[GOOD]], [{}]])
def test_what_is_no_report_breaks_the_schema(document: object, encoding: str) -> None:
    decoded = decode(Message(TOPIC, payload(document, encoding)))
    assert only(decoded, SCHEMA)
    assert len(decoded.batch) == 0


@pytest.mark.parametrize("document", [-1, "a", None, True, 1.5])
def test_a_single_value_is_no_report(document: object) -> None:
    """As MessagePack it is not even that: only maps and arrays are."""
    assert only(decode(Message(TOPIC, payload(document, "json"))), SCHEMA)
    assert decode(Message(TOPIC, payload(document, "msgpack"))).rejected.total() == 1


GARBAGE = {
    "space": b" \n\t ",
    "word": b"hello",
    "truncated object": b'{"session": "a", "seq": 1',
    "truncated string": b'{"session": "a',
    "truncated escape": b'{"session": "\\u12',
    "trailing comma in object": b'{"session": "a",}',
    "array of nothing, cut off": b"[",
    "array of a comma": b"[,]",
    "trailing NUL": b'{"session": "a"}\0',
    "single quotes": b"{'session': 'a'}",
    "bare key": b'{session: "a"}',
    "comment": b'{"session": "a"} // b',
    "NaN": b'{"session": "a", "stall_s": NaN}',
    "Infinity": b'{"session": "a", "stall_s": Infinity}',
    "leading zero": b'{"session": "a", "seq": 01}',
    "leading plus": b'{"session": "a", "seq": +1}',
    "hexadecimal": b'{"session": "a", "seq": 0x1}',
    "control character": b'{"session": "a\nb"}',
    "lone high surrogate": b'{"session": "\\ud800"}',
    "lone low surrogate": b'{"session": "\\udc00"}',
    "surrogate in labels": b'{"session": "a", "labels": {"region": "\\ud800x"}}',
    "bad UTF-8 in a string": b'{"session": "\xff\xfe"}',
    "overlong UTF-8": b'{"session": "\xc0\x80"}',
    "surrogate as UTF-8": b'{"session": "\xed\xa0\x80"}',
    "bad UTF-8 in an unknown field's sibling": b'{"x": 1, "session": "\xc3("}',
    "deep array of nothing": b"[" * 100_000,
    "deep unknown field": b'{"session": "a", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep objects": b'{"x":' * 40_000,
    "msgpack never used": b"\xc1",
    "msgpack truncated map": b"\x82\xa7session\xa1a",
    "msgpack truncated string": b"\x81\xa7session\xd9\xffa",
    "msgpack bad UTF-8": b"\x81\xa7session\xa2\xc3(",
    "msgpack surrogate": b"\x81\xa7session\xa3\xed\xa0\x80",
    "msgpack array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "msgpack map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "msgpack 4 billion responses": b"\x82\xa7session\xa1a\xaaresponse_s\xdd\xff\xff\xff\xff",
    "msgpack string of 4 GB": b"\x81\xa7session\xdb\xff\xff\xff\xffa",
    "msgpack trailing byte": b"\x81\xa7session\xa1a\xc0",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_unparseable_once(name: str) -> None:
    decoded = decode(Message(TOPIC, GARBAGE[name]), Message(TOPIC, payload(GOOD, "json")))
    assert only(decoded, UNPARSEABLE)
    assert decoded.batch.session == ["good"]


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff\xfe{\x00",
        b"\x81\xa7session\xc4\x01a",
        b"\x82\xa7session\xa1a\xa2ts\xd6\xff\x00\x00\x00\x01",
        b"\x81\xc0\xc0",
        b"\x91" * 100_000,
        b"\x82\xa7session\xa1a\xa1x" + b"\x91" * 100_000 + b"\xc0",
        b"\x00",
        b"\x80",
        b"\x7f",
    ],
)
def test_other_garbage_counts_under_one_reason(broken: bytes) -> None:
    decoded = decode(Message(TOPIC, broken))
    assert len(decoded.batch) == 0
    assert decoded.rejected.total() == 1


@pytest.mark.parametrize("field", ["rating", "thumb", "asked", "ratings", "scores"])
@pytest.mark.parametrize(
    "value",
    [msgspec.msgpack.Ext(5, b"x"), b"\xff", {(1, 2): 3}, {None: 1}, {True: 1}, [msgspec.msgpack.Ext(-1, b"1234")]],
    ids=["extension", "bytes", "array as key", "nothing as key", "bool as key", "time"],
)
@pytest.mark.parametrize("more", [{}, {"seq": -5}])
def test_what_json_has_no_form_for_ends_nothing(field: str, value: object, more: dict[str, int]) -> None:
    """The sample of a rejected report is JSON; MessagePack may have more."""
    document = {"session": "a", field: value, **more}
    decoded = decode(Message(TOPIC, msgspec.msgpack.encode(document)), Message(TOPIC, payload(GOOD, "json")))
    assert decoded.rejected.total() + len(decoded.batch) == 2
    assert "good" in decoded.batch.session
    assert set(decoded.sample) == set(decoded.rejected)
    assert " at 0x" not in str(decoded.sample)


@pytest.mark.parametrize("field", ["seq", "stall_count", "stall_s", "play_s", "ts"])
@pytest.mark.parametrize("digits", [20, 400, 5_000])
def test_a_number_of_many_digits_is_out_of_range(field: str, digits: int) -> None:
    """JSON numbers are unbounded; a very long one is out of range."""
    text = f'{{"session": "a", "stalled": true, "{field}": {"9" * digits}}}'
    if field == "ts" and digits == 20:
        text = text.replace("9", "-9", 1)  # 10^20 s is a time, only far ahead
    assert only(decode(Message(TOPIC, text.encode())), OUT_OF_RANGE)


ONE, TWO = b'{"session": "good", "seq": 1}', b'{"session": "good", "seq": 2, "labels": {"x": ["],{"]}}'
PACKED = msgspec.msgpack.encode(
    [{"session": "good"}, {"session": "good", "labels": {"x": [1.5, -70_000, "y" * 99]}}]
)

DAMAGED = {
    "NaN in the first": (b'[{"session": "a", "play_s": NaN},' + ONE + b"," + TWO + b"]", 2, 1),
    "NaN in all": (b'[{"session": "a", "play_s": NaN},{"session": "b", "play_s": NaN}]', 0, 2),
    "Infinity in the last": (b"[" + ONE + b',{"session": "a", "play_s": -Infinity}]', 1, 1),
    "trailing comma": (b"[" + ONE + b"," + TWO + b", ]", 2, 0),
    "missing comma": (b"[" + ONE + TWO + b"," + ONE + b"]", 1, 2),
    "cut off after a report": (b"[" + ONE + b"," + TWO, 2, 0),
    "cut off after a comma": (b"[" + ONE + b",", 1, 0),
    "cut off in a report": (b"[" + ONE + b"," + TWO[:-4], 1, 1),
    "cut off in a name": (b"[" + ONE + b',{"session": "go', 1, 1),
    "cut off before a name": (b"[" + ONE + b",{", 1, 1),
    "a second array": (b"[" + ONE + b"]\n[" + ONE + b"," + TWO + b"]", 3, 0),
    "an array that is not closed inside": (b'[{"session": "a", "response_s": [1, 2}, ' + ONE + b"]", 0, 2),
    "comment": (b"[" + ONE + b", // second\n" + ONE + b"]", 1, 1),
    "two documents": (ONE + TWO, 0, 2),
    "lines": (ONE + b"\n" + TWO + b"\n" + ONE, 0, 3),
    "MessagePack without its last byte": (PACKED[:-1], 1, 1),
    "MessagePack without its last report": (b"\xdc\x00\x02" + msgspec.msgpack.encode({"session": "good"}), 1, 0),
    "MessagePack with bytes that are none": (PACKED + b"\xc1", 2, 1),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_of_a_damaged_payload_the_reports_that_can_be_told_apart_are_accepted(name: str) -> None:
    """The others are counted: one by one, or as many as the part that cannot be parsed seems to hold."""
    damaged, accepted, rejected = DAMAGED[name]
    decoded = decode(Message(TOPIC, damaged))
    assert decoded.batch.session == ["good"] * accepted
    assert decoded.rejected == (Counter({UNPARSEABLE: rejected}) if rejected else Counter())


@both
@pytest.mark.parametrize("cut", range(1, 60))
def test_wherever_an_array_is_cut_off_the_reports_before_are_accepted(encoding: str, cut: int) -> None:
    reports = [{"session": "good", "seq": seq, "response_s": [0.1, 2]} for seq in range(3)]
    whole = payload(reports, encoding)
    first_two = len(payload(reports[:2], encoding)) - (encoding == "json")
    decoded = decode(Message(TOPIC, whole[: max(first_two, len(whole) - cut)]))
    assert len(decoded.batch) in {2, 3}
    assert len(decoded.batch) + decoded.rejected.total() <= 3


def test_an_empty_payload_clears_a_retained_message_and_is_no_report() -> None:
    decoded = decode(Message(TOPIC, b""))
    assert (len(decoded.batch), decoded.rejected) == (0, Counter())


def test_a_byte_order_mark_is_passed_over() -> None:
    for reports in (GOOD, [GOOD, GOOD]):
        decoded = decode(Message(TOPIC, b"\xef\xbb\xbf" + payload(reports, "json")))
        assert not decoded.rejected
        assert set(decoded.batch.session) == {"good"}


@both
@pytest.mark.parametrize(
    "more",
    [
        {"seq": 7.0, "stall_count": 2.0, "stall_s": 2, "play_s": 9},
        dict.fromkeys(("seq", "ts", "stall_count", "stall_s", "play_s", "response_s", "stalled", "end")),
        {"measures": None, "labels": None},
        {"labels": {"nobody": 1, "configured": {"these": []}, "region": None}},
        {"labels": {"region": 7}},
    ],
)
def test_what_cannot_be_misunderstood_costs_no_report(more: dict[str, Any], encoding: str) -> None:
    decoded = decode(Message(TOPIC, payload({"session": "a"} | more, encoding)))
    assert not decoded.rejected
    absent = [ABSENT_INT, ABSENT_INT]
    expected = [7, 2] if more.get("seq") else absent
    assert [*decoded.batch.seq.tolist(), *decoded.batch.stalls.tolist()] == expected


@both
@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (-1, "-1"), (1.5, "1.5"), (2.0, "2.0"), (True, "true"), ("eu", "eu"), (None, "")]
)
def test_a_number_as_a_label_becomes_its_text(value: object, text: str, encoding: str) -> None:
    bare = Plan((VIDEO,), (TopicTemplate("q/{service}"),), ("region",))
    decoded = decode(Message("q/video", payload(GOOD | {"labels": {"region": value}}, encoding)), of=bare)
    assert not decoded.rejected
    assert decoded.batch.routes[decoded.batch.route[0]] == Route("video", (text,))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stall_count": -1}, "stall_count is -1, expected 0 to 1,000,000,000"),
        ({"seq": -1}, "seq is -1, expected 0 or more"),
        ({"ts": -2.5}, "ts is -2.5, expected seconds since the epoch"),
        ({"play_s": 2e9}, "play_s is 2000000000.0, expected 0 to 1,000,000,000"),
        ({"stall_count": 3, "stall_s": 0}, "stall_count is 3 without stall_s"),
        ({"response_s": [1, -1]}, "response_s is -1.0, expected 0 to"),
    ],
)
def test_a_report_out_of_range_is_explained_by_field_rule_and_topic(more: dict[str, Any], words: str) -> None:
    other = Message("qoe/v1/video/us", payload([GOOD] * 3, "json"))
    decoded = decode(other, Message(TOPIC, payload([GOOD, GOOD | more], "json")), other)
    assert decoded.sample[OUT_OF_RANGE].startswith(f"topic '{TOPIC}': {words}")


def test_a_report_of_another_type_is_explained_by_field_and_topic() -> None:
    decoded = decode(Message(TOPIC, payload([GOOD, GOOD | {"stall_count": "3"}], "json")))
    assert decoded.sample[SCHEMA].startswith(f"topic '{TOPIC}': Expected `int`, got `str` - at `$.stall_count`")


@both
def test_too_large_messages_are_not_looked_into(encoding: str) -> None:
    small = plan(message_bytes=200, reports_per_message=3)
    fits, heavy = payload([GOOD] * 2, encoding), payload(GOOD | {"x": "y" * 200}, encoding)
    assert len(decode(Message(TOPIC, fits), of=plan(message_bytes=len(fits))).batch) == 2
    assert only(decode(Message(TOPIC, fits), of=plan(message_bytes=len(fits) - 1)), TOO_LARGE, 2)
    assert only(decode(Message(TOPIC, heavy), of=small), TOO_LARGE)


@both
def test_a_message_with_too_many_reports_is_rejected_and_counts_them_all(encoding: str) -> None:
    few = plan(reports_per_message=3)
    assert len(decode(Message(TOPIC, payload([GOOD] * 3, encoding)), of=few).batch) == 3
    for reports in ([GOOD] * 4, [GOOD, {}, GOOD, {}]):
        decoded = decode(Message(TOPIC, payload(reports, encoding)), of=few)
        assert only(decoded, TOO_LARGE, 4)
        assert len(decoded.batch) == 0


def test_labels_too_long_are_too_large() -> None:
    short = plan(label_length=4)
    assert only(decode(Message("qoe/v1/video/europe", payload(GOOD, "json")), of=short), TOO_LARGE)
    assert len(decode(Message("qoe/v1/video/asia", payload(GOOD, "json")), of=short).batch) == 1
    bare = Plan((VIDEO,), (TopicTemplate("q/{service}"),), ("region",), limits=short.limits)
    reports = [GOOD | {"labels": {"region": region}} for region in ("eu", "europe", "us")]
    decoded = decode(Message("q/video", payload(reports, "json")), of=bare)
    assert only(decoded, TOO_LARGE)
    assert len(decoded.batch) == 2


@pytest.mark.parametrize(
    "topic", ["qoe/v1/radio/eu", "qoe/v1/video", "else", "", "qoe/v1/video/eu/more", "qoe/v1//eu"]
)
def test_other_topics_are_of_no_known_service(topic: str) -> None:
    assert only(decode(Message(topic, payload(GOOD, "json"))), UNKNOWN_SERVICE)
    assert only(decode(*[Message(topic, payload(GOOD, "json"))] * 3), UNKNOWN_SERVICE, 3)


@both
def test_a_topic_with_a_leading_slash_is_another_one(encoding: str) -> None:
    slash = Plan((VIDEO,), (TopicTemplate("/qoe/v1/{service}/{region}"),), ("region",))
    decoded = decode(Message("/qoe/v1/video/eu", payload(GOOD, encoding)), of=slash)
    assert not decoded.rejected
    assert decoded.batch.routes == (Route("video", ("eu",)),)
    assert only(decode(Message("qoe/v1/video/eu", payload(GOOD, encoding)), of=slash), UNKNOWN_SERVICE)
    assert only(decode(Message("/qoe/v1/video/eu", payload(GOOD, encoding))), UNKNOWN_SERVICE)


@both
def test_a_good_report_becomes_a_row(encoding: str) -> None:
    told = {
        "session": "ä" * 128,
        "seq": 7,
        "ts": T0,
        "stall_count": 2,
        "stall_s": 1.2345,
        "play_s": 3,
        "stalled": True,
    }
    told |= {"end": True, "response_s": [0.5, 0], "labels": {"planet": "mars"}, "unknown": {"x": [1, None]}}
    decoded = decode(Message("qoe/v1/web/us", payload(told, encoding), T0 + 9.5))
    row = decoded.batch
    assert not decoded.rejected
    assert (row.session, row.routes) == (["ä" * 128], (Route("web", ("us",)),))
    assert (row.seq[0], row.ts_s[0], row.arrival_s[0]) == (7, T0, T0 + 9.5)
    assert (row.stalls[0], row.stall_ms[0], row.play_ms[0]) == (2, 1_234, 3_000)
    assert (row.stalled[0], row.end[0]) == (True, True)
    assert (row.response_s.tolist(), row.response_of.tolist()) == ([0.5, 0], [0, 0])


@both
@pytest.mark.parametrize(
    ("run", "text"),
    [("a", "a"), ("ü😀", "ü😀"), ("", ""), (7, "7"), (0, "0"), (-3, "-3"), (2**63, str(2**63)), (None, None)],
)
@pytest.mark.parametrize("seq", [7, 7.0])
def test_the_run_of_a_session_is_a_text_or_a_whole_number(
    run: object, text: str | None, seq: float, encoding: str
) -> None:
    """Also where a report is decoded leniently, as its seq is a float."""
    decoded = decode(Message(TOPIC, payload([{**GOOD, "run": run, "seq": seq}, GOOD], encoding)))
    assert not decoded.rejected
    assert (decoded.batch.run or [None] * 2) == [text, None]
    assert decoded.batch.seq.tolist() == [7, 1]


@both
def test_a_run_of_another_type_is_explained(encoding: str) -> None:
    decoded = decode(Message(TOPIC, payload(GOOD | {"run": [1]}, encoding)))
    sample = decoded.sample[Reject.SCHEMA]
    assert all(words in sample for words in (TOPIC, "$.run", "int | str", "array"))


@both
def test_runs_stay_with_their_reports_when_others_are_rejected(encoding: str) -> None:
    """In a batch of several payloads, with and without a run, of which some reports are bad."""
    bad = GOOD | {"run": "bad", "seq": -1}
    told = [[GOOD | {"run": 1}, bad, GOOD], [GOOD], [bad, GOOD | {"run": "2"}]]
    decoded = decode(*(Message(TOPIC, payload(each, encoding)) for each in told))
    assert decoded.batch.run == ["1", None, None, "2"]
    assert decoded.rejected == Counter({OUT_OF_RANGE: 2})
    taken = decoded.batch.take(np.array([1, 3]))
    assert taken.run == [None, "2"]


@both
def test_without_a_run_there_is_no_column_of_runs(encoding: str) -> None:
    assert decode(Message(TOPIC, payload([GOOD, GOOD], encoding))).batch.run is None


@both
def test_what_is_left_out_is_absent(encoding: str) -> None:
    row = decode(Message(TOPIC, payload({"session": "a"}, encoding))).batch
    assert [column[0] for column in (row.seq, row.stalls, row.stall_ms, row.play_ms)] == [ABSENT_INT] * 4
    assert row.ts_s[0] == ABSENT_FLOAT
    assert (row.stalled[0], row.end[0], len(row.response_s)) == (False, False, 0)


def test_responses_stay_with_their_reports_when_others_are_rejected() -> None:
    reports = [{"session": f"s{i}", "response_s": [i, i + 0.5] if i % 2 else [i, -1]} for i in range(6)]
    decoded = decode(Message("qoe/v1/web/eu", payload(reports, "json")))
    assert decoded.batch.session == ["s1", "s3", "s5"]
    assert decoded.batch.response_s.tolist() == [1, 1.5, 3, 3.5, 5, 5.5]
    assert decoded.batch.response_of.tolist() == [0, 0, 1, 1, 2, 2]
    assert decoded.rejected == Counter({OUT_OF_RANGE: 3})


@pytest.mark.parametrize(
    ("counters", "good"),
    [
        ({"stall_count": 1}, False),
        ({"stall_count": 1, "stall_s": 0}, False),
        ({"stall_count": 1, "stall_s": 0, "stalled": True}, True),
        ({"stall_count": 1, "stall_s": 0.1}, True),
        ({"stall_count": 0, "stall_s": 0}, True),
        ({"stall_s": 5}, True),
    ],
)
def test_stalls_need_time_to_happen_in(counters: dict[str, Any], *, good: bool) -> None:
    decoded = decode(Message(TOPIC, payload({"session": "a", **counters}, "json")))
    assert decoded.rejected == Counter({} if good else {OUT_OF_RANGE: 1})


def test_labels_of_the_payload_fill_what_the_topic_leaves_open() -> None:
    two = Plan((VIDEO,), (TopicTemplate("q/{service}/{region}"),), ("region", "cdn"))
    reports = [{"session": "a", "labels": {"cdn": "x", "region": "mars", "other": "y"}}, {"session": "b"}]
    row = decode(Message("q/video/eu", payload(reports, "json")), of=two).batch
    assert [row.routes[i].labels for i in row.route] == [("eu", "x"), ("eu", "")]


def test_an_empty_array_is_no_report_and_no_mistake() -> None:
    decoded = decode(Message(TOPIC, b"[]"), Message(TOPIC, b"\x90"))
    assert (len(decoded.batch), decoded.rejected) == (0, Counter())


REJECTED = {
    "nothing": b"[]",
    "a schema": b'{"session": 1}',
    "a range": b'{"session": "a", "seq": -1}',
    "a range, labelled": b'{"session": "a", "seq": -1, "labels": {"region": "x"}}',
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_rejected_leaves_no_trace_in_the_monitor(name: str) -> None:
    """It creates no session, event or group: invented groups would use up the limit."""
    monitor = OneShard(plan())
    good = decode(Message(TOPIC, payload(GOOD, "json")))
    bad = decode(Message("qoe/v1/video/made-up", REJECTED[name]), Message(TOPIC, payload(GOOD, "json")))
    assert len(bad.batch) == len(good.batch)
    monitor.apply(bad.batch, T0 + 5)
    (tally, _) = monitor.counts(T0 + 10)
    assert tally.groups == (("eu",),)
    assert (monitor.sessions, monitor.snapshot(T0 + 10).events[Event.REPORT]) == (1, 1)


def test_a_million_topics_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more topics than its cache holds, the codec still routes each correctly."""
    monkeypatch.setattr("qoemon.core.wire.routes.REMEMBERED", 3)
    codec = Codec(plan())
    for i in [*range(10), 0, 5, 9]:
        row = codec.decode([Message(f"qoe/v1/video/r{i}", payload(GOOD, "json"))]).batch
        assert row.routes == (Route("video", (f"r{i}",)),)


def accounted(decoded: Decoded, reports: int) -> bool:
    return len(decoded.batch) + decoded.rejected.total() == reports


@FEW
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_any_bytes_are_taken_or_counted(payloads: list[bytes]) -> None:
    for each in payloads:
        decoded = decode(Message(TOPIC, each))
        assert decoded.rejected.total() + len(decoded.batch) >= (each not in {b"", b"\x90", b"[]"})
        assert set(decoded.sample) == set(decoded.rejected)


@FEW
@given(st.data())
def test_damaged_payloads_are_taken_or_counted(data: st.DataObject) -> None:
    """A valid array with some bytes changed, removed or inserted."""
    encoding = data.draw(st.sampled_from(["json", "msgpack"]))
    damaged = bytearray(payload([GOOD | {"response_s": [0.5, 1]}] * 3, encoding))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not damaged:
            return
    decoded = decode(Message(TOPIC, bytes(damaged)))
    apply_somewhere([decoded])


words = st.text(st.characters(codec="utf-8"), max_size=5)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
almost = st.fixed_dictionaries(
    {"session": st.one_of(words, anything)},
    optional={
        "seq": st.one_of(st.integers(-1, 9), anything),
        "ts": st.one_of(st.floats(0, 2e9), anything),
        "stall_count": st.one_of(st.integers(0, 9), anything),
        "stall_s": st.one_of(st.floats(0, 99), anything),
        "play_s": st.one_of(st.floats(0, 99), anything),
        "stalled": st.one_of(st.booleans(), anything),
        "end": st.one_of(st.booleans(), anything),
        "response_s": st.one_of(st.floats(0, 99), st.lists(st.floats(0, 9), max_size=3), anything),
        "labels": st.one_of(st.dictionaries(st.sampled_from(["region", "x"]), st.just("eu"), max_size=2), anything),
    },
)

SOUND = st.fixed_dictionaries(
    {"session": st.sampled_from("abc"), "response_s": st.lists(st.floats(0, 9), max_size=3)},
    optional={"seq": st.integers(0, 9), "play_s": st.floats(0, 99), "labels": st.just({"region": "eu"})},
)


def encodable(document: object) -> bool:
    """MessagePack has integers of 64 bits only."""
    try:
        msgspec.msgpack.encode(document)
    except OverflowError:
        return False
    return True


@FEW
@given(st.lists(st.lists(st.one_of(almost, anything), max_size=6), min_size=1, max_size=4))
def test_each_report_of_an_array_is_taken_or_counted_once(arrays: list[list[Any]]) -> None:
    decoded = []
    for reports in arrays:
        as_json = json.dumps(reports, allow_nan=True)
        if not any(word in as_json for word in ("NaN", "Infinity")):
            decoded.append(decode(Message(TOPIC, as_json.encode())))
            assert accounted(decoded[-1], len(reports))
        if encodable(reports):
            decoded.append(decode(Message("qoe/v1/web/eu", msgspec.msgpack.encode(reports))))
            assert accounted(decoded[-1], len(reports))
    apply_somewhere(decoded)


@FEW
@given(st.lists(st.lists(st.one_of(almost, SOUND), max_size=6), min_size=1, max_size=4), st.integers(1, 8))
def test_columns_are_the_same_however_many_reports_they_are_made_of(arrays: list[list[Any]], at_once: int) -> None:
    """Also if a chunk ends between valid and rejected reports, or between response times."""
    texts = [json.dumps(reports) for reports in arrays]
    messages = [
        Message(f"qoe/v1/{'video' if number % 2 else 'web'}/r{number}", text.encode(), T0 + number)
        for number, text in enumerate(texts)
    ]
    whole = decode(*messages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qoemon.core.wire.codec.AT_ONCE", at_once)
        parts = decode(*messages)
    assert (parts.rejected, parts.sample) == (whole.rejected, whole.sample)
    assert same_columns(parts.batch, whole.batch)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_the_sample_is_the_first_out_of_range(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any number of reports per chunk."""
    monkeypatch.setattr("qoemon.core.wire.codec.AT_ONCE", at_once)
    seqs = (1, -5, 2, 3, -7)
    decoded = decode(*[Message(TOPIC, payload(GOOD | {"seq": seq}, "json")) for seq in seqs])
    assert only(decoded, OUT_OF_RANGE, 2)
    assert '"seq":-5' in decoded.sample[OUT_OF_RANGE]
    assert decoded.batch.seq.tolist() == [1, 2, 3]


def same_columns(one: Batch, other: Batch) -> bool:
    """Whether two batches are equal bit for bit."""
    columns = [{**vars(batch), **batch.measures} for batch in (one, other)]
    told = [{name: getattr(c, "tobytes", lambda c=c: c)() for name, c in each.items()} for each in columns]
    types = [{name: getattr(column, "dtype", None) for name, column in each.items()} for each in columns]
    assert told[0].pop("measures").keys() == told[1].pop("measures").keys()
    return told[0] == told[1] and types[0] == types[1]


def apply_somewhere(decoded: Iterable[Decoded]) -> None:
    """Accepted reports must not cause errors in a OneShard or in its state."""
    monitor = OneShard(SMALL)
    for each in decoded:
        monitor.apply(each.batch, T0 + 5)
    monitor.counts(T0 + 60)
    OneShard(SMALL).load(monitor.dump())


SMALL = plan(VIDEO, WEB)
