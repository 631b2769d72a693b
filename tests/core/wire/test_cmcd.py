"""Records of players: what they say is read, each one is accepted or counted as rejected, and nothing raises."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz import check_fields
from benchmarks.wrong_records import VALUES
from qoemon.core.plan.plan import Players
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire import cmcd
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.player import PlayerRecord, PlayerState
from qoemon.core.wire.report import ABSENT_INT, Reject, Route
from qoemon.state.frames import StoredMessage
from tests.support.core import T0, VIDEO, WEB, plan
from tests.support.streams import FEW

PATH = "/v1/video/eu"
PLAN = replace(plan(VIDEO, WEB), paths=(TopicTemplate("/v1/{service}/{region}"),))
LABELLED = replace(
    PLAN,
    paths=(*PLAN.paths, TopicTemplate("/v1/{service}")),
    players=Players(labels={"com.example-region": "region"}),
)
STALL = (
    b'bl=(2000),br=(400),cid="clip-1",e=ps,mtp=(11400),sf=h,sid="26becd20",sn=10,st=v,sta=r,ts=1795873784659,v=2\n'
)


def decode(body: bytes | str, path: str = PATH, kind: Kind = Kind.CMCD, of: Any = PLAN) -> Decoded:
    payload = body.encode() if isinstance(body, str) else body
    return Codec(of).decode([StoredMessage(path, payload, T0 + 5.0, kind)])


def records(decoded: Decoded) -> list[PlayerRecord]:
    players = decoded.players
    return [PlayerRecord(*row) for row in zip(*(getattr(players, n) for n in PlayerRecord._fields), strict=True)]


def one(members: str) -> PlayerRecord:
    """The record of these members and a sid."""
    decoded = decode(f'sid="a",{members}')
    assert not decoded.rejected, decoded.sample
    (record,) = records(decoded)
    return record


def test_a_stall_of_hls_js_is_read() -> None:
    decoded = decode(STALL)
    assert records(decoded) == [
        PlayerRecord("26becd20", 10, 1795873784659, PlayerState.REBUFFERING, 1.0, ABSENT_INT, False, False, False)
    ]
    assert (decoded.players.routes, decoded.players.route.tolist()) == ((Route("video", ("eu",)),), [0])
    assert decoded.players.arrival_s.tolist() == [T0 + 5]
    assert (len(decoded.batch), decoded.rejected) == (0, Counter())


@pytest.mark.parametrize(
    ("said", "state"),
    [*zip("dspkrawefq", list(PlayerState)[1:], strict=True), ("x", PlayerState.UNTOLD), ("R", PlayerState.UNTOLD)],
)
def test_every_state_of_the_standard_is_known(said: str, state: PlayerState) -> None:
    assert one(f"sta={said}").state == one(f'sta="{said}"').state == state


@pytest.mark.parametrize(
    ("members", "field", "value"),
    [
        ("pr=2", "rate", 2.0),
        ("pr=1.25", "rate", 1.25),
        ("pr=0", "rate", 0.0),
        ("pr=(1.5)", "rate", 1.5),
        ("pr=-1", "rate", 1.0),
        ("pr=101", "rate", 1.0),
        ("pr=fast", "rate", 1.0),
        ("msd=980", "startup_ms", 980),
        ("msd=980.5", "startup_ms", 980),
        ("msd=-1", "startup_ms", ABSENT_INT),
        ('msd="980"', "startup_ms", ABSENT_INT),
        ("sn=7.0", "seq", 7),
        ("sn=(7)", "seq", 7),
        ("sn=(7 8)", "seq", ABSENT_INT),
        ('sn="7"', "seq", ABSENT_INT),
        ("sn", "seq", ABSENT_INT),
        ("sn=?1", "seq", ABSENT_INT),
        ("ts=999999999999999", "ts_ms", 999_999_999_999_999),
        ("ts=@1795873784", "ts_ms", ABSENT_INT),
        ("sta=7", "state", PlayerState.UNTOLD),
        ("sta", "state", PlayerState.UNTOLD),
        ("e=t", "heartbeat", True),
        ("e=rr", "of_request", True),
        ("e=(t)", "heartbeat", True),
        ("e=1.5", "heartbeat", False),
        ("bg", "hidden", True),
        ("bg=?1", "hidden", True),
        ("bg=?0", "hidden", False),
        ("bg=1", "hidden", False),
        ("bg;x=1", "hidden", True),
    ],
)
def test_a_value_of_another_type_is_ignored_and_one_that_cannot_be_misunderstood_is_used(
    members: str, field: str, value: object
) -> None:
    assert getattr(one(members), field) == value
    assert getattr(one("x=:aGk=:," + members), field) == value  # which only http-sf reads


@pytest.mark.parametrize(
    "members",
    ["br=64", "br=(64)", "lb=(180.4)", "ec=27", 'ec=("27")', "bl=(0;v 0;a)", "su", 'new-key=%"a"', "x=:aGk=:"],
)
def test_keys_that_are_not_used_may_have_any_type(members: str) -> None:
    assert one(f"{members},sta=p").state == PlayerState.PLAYING


def test_the_last_one_of_two_equal_keys_counts() -> None:
    assert one("sn=1,sn=2").seq == one("sn=1,x=:aGk=:,sn=2").seq == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", "\t \r\n", "\n\n", "\n \r\n\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_in_any_way(end: str, last: bool) -> None:
    body = end.join(f' \tsid="a",sn={number}' for number in range(3)) + end * last
    decoded = decode(body)
    assert (decoded.players.seq.tolist(), decoded.rejected) == ([0, 1, 2], Counter())


@pytest.mark.parametrize("body", [b"\n", b"\r\n \n\t", b" "])
def test_a_body_without_records_is_no_mistake(body: bytes) -> None:
    decoded = decode(body)
    assert (len(decoded.players), decoded.rejected) == (0, Counter())


def test_characters_outside_ascii_in_a_string_are_read_as_players_send_them() -> None:
    decoded = decode('cid="Größe \\"XL\\" 😀",sid="Zoë",sn=1')
    assert (decoded.players.session, decoded.rejected) == (("Zoë",), Counter())
    assert decode("sid=Zoë").rejected == {Reject.UNPARSEABLE: 1}


REJECTED = {
    "no sid": ("sn=1,sta=p,v=2", Reject.SCHEMA, "no sid, expected a string of 1 to 64 characters"),
    "an empty sid": ('sid=""', Reject.SCHEMA, "no sid"),
    "a number as sid": ("sid=7", Reject.SCHEMA, "no sid"),
    "a bare sid": ("sid", Reject.SCHEMA, "no sid"),
    "a long sid": (f'sid="{"x" * 65}"', Reject.TOO_LARGE, "a sid of 65 characters, at most 64 are accepted"),
    "version 3": ('sid="a",v=3', Reject.VERSION, "v is 3, expected 2 or less"),
    "version 2.5": ('sid="a",v=2.5', Reject.VERSION, "v is 2.5"),
    "version 3 in a list": ('sid="a",v=(3)', Reject.VERSION, "v is 3"),
    "version 3 without sid": ("v=3", Reject.VERSION, "v is 3"),
    "a negative sn": ('sid="a",sn=-1', Reject.OUT_OF_RANGE, "sn is -1, expected 0 or more"),
    "a negative ts": ('sid="a",ts=-0.5', Reject.OUT_OF_RANGE, "ts is -0.5, expected 0 or more"),
    "an sn of 16 digits": ('sid="a",sn=1000000000000000', Reject.UNPARSEABLE, "Integer too long"),
    "a long line": (f'sid="a",x="{"x" * 8192}"', Reject.TOO_LARGE, "a record of 8204 bytes, at most 8192"),
    "65 keys": (",".join(['sid="a"', *(f"k{n}" for n in range(64))]), Reject.TOO_LARGE, "a record with 65 keys"),
    "JSON": ('{"session": "a"}', Reject.UNPARSEABLE, "expected a dictionary of RFC 8941: Key does not begin with"),
    "a comma at the end": ('sid="a",', Reject.UNPARSEABLE, "trailing comma"),
    "a space before the value": ('sid= "a"', Reject.UNPARSEABLE, "expected a dictionary"),
    "a string without end": ('sid="a', Reject.UNPARSEABLE, "Reached end of input"),
    "form encoding": ("sid%3D%22a%22", Reject.UNPARSEABLE, "expected a dictionary"),
    "a digit outside ASCII": ('sid="a",sn=١', Reject.UNPARSEABLE, "expected a dictionary"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_bad_record_counts_under_its_one_reason_and_costs_no_other(name: str) -> None:
    line, reason, words = REJECTED[name]
    decoded = decode(f'sid="before"\n{line}\nsid="after"\n')
    assert decoded.rejected == {reason: 1}
    assert decoded.players.session == ("before", "after")
    assert decoded.sample[reason].startswith(f"path '{PATH}': ")
    assert words in decoded.sample[reason]
    assert len(decoded.sample[reason]) < 400


@pytest.mark.parametrize(
    "line", [b'sid="\xff"', b'sid="\xc3"', b'sid="\xed\xa0\x80"', b"\xfe\xffs", b'cid="\xc0\x80",sid="a"']
)
def test_a_record_that_is_not_utf_8_is_unparseable(line: bytes) -> None:
    decoded = decode(b'sid="a"\n' + line)
    assert (decoded.rejected, len(decoded.players)) == ({Reject.UNPARSEABLE: 1}, 1)
    assert "expected UTF-8" in decoded.sample[Reject.UNPARSEABLE]


@pytest.mark.parametrize("version", ["", ",v=1", ",v=2", ",v=0", ',v="3"', ",v"])
def test_a_record_without_a_newer_version_is_accepted(version: str) -> None:
    """Without v the standard takes it for version 1, whose keys have the same meaning; a wrong type is ignored."""
    assert decode(f'sid="a",sta=p{version}').players.state.tolist() == [PlayerState.PLAYING]


def test_what_just_fits_is_accepted() -> None:
    fits = [f'sid="{"x" * 64}"', 'sid="a",x="{}"', ",".join(['sid="a"', *(f"k{n}" for n in range(63))])]
    fits[1] = fits[1].format("x" * (8192 - len(fits[1]) + 2))
    assert len(fits[1]) == 8192
    assert not decode("\n".join(fits)).rejected
    assert len(decode('sid="a"\n' * 500).players) == 500


@pytest.mark.parametrize(
    ("path", "body", "of", "reason", "number"),
    [
        (PATH, 'sid="a"\n' * 501, PLAN, Reject.TOO_LARGE, 501),
        (PATH, 'sid="a"\r\n' * 501, PLAN, Reject.TOO_LARGE, 501),
        (
            PATH,
            'sid="a"\n\n' * 30,
            replace(PLAN, limits=replace(PLAN.limits, message_bytes=200)),
            Reject.TOO_LARGE,
            30,
        ),
        ("/v1/radio/eu", 'sid="a"\n\nsid="b"\nsession', PLAN, Reject.UNKNOWN_SERVICE, 3),
        ("/elsewhere", 'sid="a"', PLAN, Reject.UNKNOWN_SERVICE, 1),
        ("qoe/v1/video/eu", 'sid="a"', PLAN, Reject.UNKNOWN_SERVICE, 1),
        (f"/v1/video/{'x' * 129}", 'sid="a"\nsid="b"', PLAN, Reject.TOO_LARGE, 2),
    ],
)
def test_a_body_that_is_rejected_as_a_whole_counts_its_records(
    path: str, body: str, of: Any, reason: Reject, number: int
) -> None:
    decoded = decode(body, path, of=of)
    assert (decoded.rejected, len(decoded.players)) == ({reason: number}, 0)
    assert decoded.sample[reason].startswith(f"path '{path}': ")


def test_lines_without_a_record_do_not_count_against_the_number_of_records() -> None:
    assert len(decode('sid="a"\n' + "\n" * 5000).players) == 1


def test_a_label_of_a_record_is_used_where_the_path_has_none() -> None:
    body = "\n".join(
        f'com.example-region={value},sid="a"'
        for value in ('"eu"', "us", "7", "1.5", "?1", '"\x01"', r'"\\u0001"', "(a)", "(a b)")
    )
    decoded = decode(body, "/v1/video", of=LABELLED)
    labels = [decoded.players.routes[number].labels[0] for number in decoded.players.route.tolist()]
    assert labels == ["eu", "us", "7", "1.5", "true", r"\\u0001", "a", ""]
    assert decoded.rejected == {Reject.UNPARSEABLE: 1}  # a control character is in no string
    named = decode(body, of=LABELLED)
    assert {named.players.routes[number].labels for number in named.players.route.tolist()} == {("eu",)}


def test_a_label_of_a_record_is_escaped_and_limited() -> None:
    decoded = decode('com.example-region=%"a%0ab",sid="a"', "/v1/video", of=LABELLED)
    assert decoded.players.routes == (Route("video", (r"a\nb",)),)
    long = decode(f'com.example-region="{"x" * 129}",sid="a"\nsid="b"', "/v1/video", of=LABELLED)
    assert (long.rejected, long.players.session) == ({Reject.TOO_LARGE: 1}, ("b",))


def test_segments_of_a_path_are_percent_decoded_and_escaped() -> None:
    for path, label in (
        ("/v1/v%69deo/e%75", "eu"),
        ("/v1/video/%0A", r"\n"),
        ("/v1/video/S%C3%A3o%2FPaulo", "São/Paulo"),
    ):
        for kind, body in ((Kind.CMCD, b'sid="a"'), (Kind.HTTP, b'{"session": "a"}')):
            decoded = decode(body, path, kind)
            assert (decoded.players.routes or decoded.batch.routes) == (Route("video", (label,)),)
    assert decode(b'{"session": "a"}', "qoe/v1/v%69deo/eu", Kind.MQTT).rejected == {Reject.UNKNOWN_SERVICE: 1}


@pytest.mark.parametrize(
    "body",
    [
        b'[{"session":"a","seq":1},{"session":"b","seq":-1}]',
        b"\x92\x82\xa7session\xa1a\xa3seq\x01\x82\xa7session\xa1b\xa3seq\xff",
    ],
)
def test_reports_that_are_posted_are_read_as_those_of_a_topic(body: bytes) -> None:
    decoded = decode(body, kind=Kind.HTTP)
    assert (decoded.batch.session, decoded.rejected) == (["a"], {Reject.OUT_OF_RANGE: 1})
    assert decoded.sample[Reject.OUT_OF_RANGE].startswith(f"path '{PATH}': seq is -1")
    assert decode(b"[{", kind=Kind.HTTP).sample[Reject.UNPARSEABLE].startswith(f"path '{PATH}': ")


def test_nearly_every_record_is_read_without_http_sf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists, parameters in them, bare keys, escapes, decimals, any order and spaces beside commas."""
    monkeypatch.setattr(cmcd, "_fields_by_http_sf", None)
    for line in (
        STALL,
        b'bl=(0;v 0;a),br=(300;v 64;a),cid="cl\\"ip",e=rr,nor=("a.m4s";r="0-5" "b"),pr=1.5,sid="a",su,url="http://x/?a=b,c"',
        b'v=2 , ts=1,\tsta=p,sid="a", ec=("a" b ?1 -1.5),bs=?0,lb=( ),x=*a/b:c',
    ):
        assert len(decode(line).players) == 1


names = st.sampled_from(
    ["sid", "sn", "ts", "sta", "e", "v", "pr", "msd", "bg", "com.example-isp", "x", "*", "a-b_c.d"]
)
members = st.one_of(
    names,
    st.builds(
        "{}={}".format, names, st.one_of(st.sampled_from(VALUES), st.from_regex(r"[ -~é]{0,12}", fullmatch=True))
    ),
)
lines = st.one_of(
    st.builds(str.join, st.sampled_from([",", ", ", " ,", "\t,", ",,"]), st.lists(members, min_size=1, max_size=8)),
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.text('a1=,;()" \\?.:-*é', max_size=20),
)


@given(lines)
def test_a_record_is_read_as_http_sf_reads_it(line: str) -> None:
    check_fields(line.encode())


ORDERED = ("a", "b", "bg", "bl", "br", "cid", "d", "e", "ec", "mtp", "msd", "nor", "pr", "sf", "sid", "sn", "st")
ORDERED += ("sta", "su", "tb", "ts", "url", "v")
values = st.one_of(
    st.sampled_from(
        ["=1", "=(2000)", '="clip"', "=p", "=t", "=rr", "", "=?0", '="a\\\\b"', "=-1", "=1.5", "=3", '="é"']
    ),
    st.from_regex(r"=[0-9a-z(\" ]{1,4}", fullmatch=True),
)
USUAL = {"e": "=ps", "sid": '="26becd20"', "sn": "=10", "sta": "=r", "ts": "=1795873784659", "v": "=2"}


@st.composite
def nearly_usual(draw: st.DrawFn) -> bytes:
    """A record with the keys of most records in their order, and a few others, changed values and ends."""
    found = USUAL | draw(st.dictionaries(st.sampled_from(ORDERED), values, max_size=3))
    for name in draw(st.sets(st.sampled_from(ORDERED), max_size=1)):
        found.pop(name, None)
    line = ",".join(name + found[name] for name in sorted(found))
    return (line + draw(st.sampled_from(["", "\n", "\r\n", " ", ",", "\n\n", ",sta=p"]))).encode()


@given(nearly_usual())
def test_most_records_are_read_at_once_and_as_all_others(body: bytes) -> None:
    """With a label of records, each is read by the expression for all records."""
    at_once, by_members = decode(body), decode(body, of=LABELLED)
    assert records(at_once) == records(by_members)
    assert (at_once.rejected, at_once.sample) == (by_members.rejected, by_members.sample)


def test_what_players_send_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of state and a heartbeat of hls.js, dash.js and shaka, with and without an end of line."""
    monkeypatch.setattr(cmcd, "lines_of", None)
    for line in (
        STALL,
        STALL.strip(),
        b'cid="clip-1",e=t,sf=h,sid="26becd20",sn=0,sta=p,ts=1795873622628,v=2\n',
        b'br=(364),cid="clip-1",e=t,sf=d,sid="26becd20",sn=3,st=v,sta=p,ts=1795874221862,v=2\n',
    ):
        assert len(decode(line).players) == 1


@FEW
@given(st.lists(st.one_of(lines.map(str.encode), st.binary(max_size=20)), max_size=8))
def test_each_record_of_a_body_is_accepted_or_counted_once(some: list[bytes]) -> None:
    body = b"\n".join(some)
    decoded = decode(body, of=LABELLED)
    expected = sum(1 for line in re.split(rb"[\r\n]", body) if line.strip(b" \t"))
    assert len(decoded.players) + decoded.rejected.total() == expected
    assert set(decoded.sample) == set(decoded.rejected)


@pytest.mark.parametrize(
    "line",
    [
        b"a=(" + b"1 " * 4000,
        b'a="' + b"\\\\" * 4000,
        b"a=(1" + b";a=1" * 2000,
        b"a=(" + b'"" ' * 2700,
        b"a," * 4000,
        b" ," * 4000,
        b"a=" + b"9" * 8000,
        b"a" + b"\t" * 8000 + b"b",
        b"a=(" + b" " * 8000,
        b"a=(1;" + b" " * 8000,
        b"a=(1" + b" " * 8000,
    ],
)
def test_a_record_that_is_wrong_only_at_its_end_is_rejected_at_once(line: bytes) -> None:
    """With an expression that tries every way to read what comes before, this test would never end."""
    assert decode(line).rejected == {Reject.UNPARSEABLE: 1}
