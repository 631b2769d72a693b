"""`qoemon check --payload`: what is made of one message, report by report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.core.plan.plan import Feedback
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.wire.message import Kind
from qoemon.tools.payload import Explanation, explain
from tests.support.core import VIDEO, WEB, plan

TOPIC = "qoe/v1/video/eu"
PATH = "/v1/video/eu"
POSTED = replace(plan(VIDEO, WEB), paths=(TopicTemplate("/v1/{service}/{region}"),))
GOOD = {"session": "a", "seq": 1, "stall_count": 0, "stall_s": 0, "play_s": 10}


def lines(document: object, topic: str = TOPIC) -> list[str]:
    return list(explain(topic, json.dumps(document).encode(), plan(VIDEO, WEB)).lines)


def test_each_report_is_explained_with_its_number() -> None:
    payload = b'[{"session":"a","play_s":1},{"session":"b","play_s":NaN},{"session":"c","stall_count":3,"play_s":1}'
    explanation = explain(TOPIC, payload, plan(VIDEO))
    assert (explanation.accepted, explanation.rejected) == (1, 2)
    first, second, third = explanation.lines
    assert first == "report 1: accepted: service video, region=eu, session 'a'"
    assert second.startswith(f"report 2: rejected, unparseable: topic '{TOPIC}': JSON is malformed")
    assert third.startswith(f"report 3: rejected, out_of_range: topic '{TOPIC}': stall_count is 3 without stall_s")


def test_a_misspelt_field_is_named_with_the_right_one_and_what_the_service_rates() -> None:
    _, misspelt, nothing = lines({"session": "a", "stallCount": 2})
    assert misspelt == "report 1: the field 'stallCount' is unknown and ignored: did you mean \"stall_count\"?"
    assert nothing == (
        "report 1: it has nothing that the service video rates: stall_count, stall_s, play_s, stalled, end"
    )


def test_fields_of_another_service_are_nothing_to_rate() -> None:
    assert "nothing that the service web rates: response_s" in lines(GOOD, "qoe/v1/web/eu")[1]
    assert "nothing that the service video rates" in lines({"session": "a", "response_s": 1.5})[1]
    assert len(lines(GOOD)) == len(lines({"session": "a", "end": True})) == 1


def test_a_message_that_is_rejected_as_a_whole_is_explained_once() -> None:
    assert lines([GOOD] * 3, "qoe/v1/radio/eu") == [
        "rejected, unknown_service: topic 'qoe/v1/radio/eu': names none of the services video, web"
    ]
    (line,) = explain(TOPIC, json.dumps([GOOD] * 3).encode(), plan(VIDEO, reports_per_message=2)).lines
    assert "3 reports in a message, at most 2 are accepted" in line


@pytest.mark.parametrize(
    ("payload", "words"), [(b"", "clears a retained message"), (b"[]", "an array without reports")]
)
def test_a_message_without_reports_is_explained(payload: bytes, words: str) -> None:
    explanation = explain(TOPIC, payload, plan(VIDEO))
    assert words in explanation.lines[0]
    assert (explanation.accepted, explanation.rejected) == (0, 0)


def of_player(body: bytes, path: str = PATH) -> Explanation:
    return explain(path, body, POSTED, Kind.CMCD)


def test_each_record_of_a_player_is_explained_with_its_number() -> None:
    explanation = of_player(b'sid="a",sn=1,sta=p,ts=1,v=2\r\n\nsid="b",v=3\nsta=p\nsid="c",sn=x,sta=playing,ts=1\n')
    assert (explanation.accepted, explanation.rejected) == (2, 2)
    first, second, third, *fourth = explanation.lines
    assert first == "record 1: accepted: service video, region=eu, session 'a', playing"
    assert second.startswith(f"record 2: rejected, version: path '{PATH}': v is 3, expected 2 or less")
    assert third.startswith(f"record 3: rejected, schema: path '{PATH}': no sid, expected a string")
    assert fourth == [
        "record 4: accepted: service video, region=eu, session 'c'",
        "record 4: its sn is x, expected the number of the record",
        "record 4: its sta is playing, expected the state of the player, such as p: without it no stalls count",
    ]


def test_a_record_without_what_dash_js_leaves_out_by_default_is_explained() -> None:
    (line,) = of_player(b"e=t,ts=1795873784659,v=2").lines
    assert "no sid" in line
    assert [line.partition(",")[0] for line in of_player(b'sid="a"').lines[1:]] == [
        "record 1: it has no sn",
        "record 1: it has no ts",
        "record 1: it has no sta",
    ]


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (b'sid="a"\n' * 501, PATH, "rejected, too_large: path '/v1/video/eu': 501 records in a body"),
        (b'sid="a"\n' * 2, "/v1/radio/eu", "rejected, unknown_service: path '/v1/radio/eu': names none of"),
        (b"\n", PATH, "a body without records"),
        (b"", PATH, "the payload is empty: it reports nothing"),
    ],
)
def test_a_body_that_is_rejected_as_a_whole_is_explained_once(body: bytes, path: str, words: str) -> None:
    (line,) = of_player(body, path).lines
    assert line.startswith(words)


def test_reports_that_are_posted_are_explained_as_those_of_a_topic() -> None:
    body = json.dumps([GOOD, {}]).encode()
    of_path, of_topic = explain(PATH, body, POSTED, Kind.HTTP), explain(TOPIC, body, POSTED)
    assert of_path.lines == tuple(line.replace(f"topic '{TOPIC}'", f"path '{PATH}'") for line in of_topic.lines)


def test_names_from_the_wire_are_no_orders_to_a_terminal() -> None:
    for document in ({"session": "\x1b[2J", "\x1b[31m": 1}, {"session": 1, "x": "\x1b[2J"}):
        assert "\x1b" not in "".join(lines(document))


@pytest.mark.parametrize(("reports", "code"), [([GOOD, GOOD], 0), ([GOOD, {}], 1)])
def test_the_command_explains_a_file_and_fails_if_a_report_is_rejected(
    reports: list[object], code: int, tmp_path: Path
) -> None:
    file = tmp_path / "payload"
    file.write_bytes(msgspec.msgpack.encode(reports))
    result = CliRunner().invoke(cli.app, ["check", "--payload", str(file), "--topic", "qoe/v1/video/eu/a"])
    assert result.exit_code == code
    assert f"{2 - code} reports accepted, {code} rejected" in result.stdout


POSTED_FILES = {
    b'sid="a",sta=p,v=2\nsid="b"\n': "2 records accepted, 0 rejected",
    b' [{"session": "a"}]': "1 reports accepted, 0 rejected",
    b'\xef\xbb\xbf{"session": "a"}': "1 reports accepted, 0 rejected",
    b"\x81\xa7session\xa1a": "1 reports accepted, 0 rejected",
    b"sid": "0 records accepted, 1 rejected",
}


@pytest.mark.parametrize("body", POSTED_FILES)
def test_the_command_explains_what_is_posted_to_a_path(body: bytes, tmp_path: Path) -> None:
    """Whether it is records of a player or reports is seen from the file."""
    file, config = tmp_path / "body", tmp_path / "qoemon.yaml"
    file.write_bytes(body)
    config.write_text("collector: {}\n")
    arguments = ["check", "-c", str(config), "--payload", str(file), "--path", "/cmcd/v1/video/eu/a"]
    assert POSTED_FILES[body] in CliRunner().invoke(cli.app, arguments).stdout


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for arguments, words in (
        (["--payload", str(missing)], "need each other"),
        (["--topic", "x"], "need each other"),
        (["--path", "/x"], "need each other"),
        (["--payload", str(missing), "--topic", "x", "--path", "/x"], "need each other"),
        (["--payload", str(missing), "--topic", "x"], f"{missing}: cannot be read: No such file"),
    ):
        result = CliRunner().invoke(cli.app, ["check", *arguments])
        assert result.exit_code == 2
        assert words in result.stderr


def test_what_of_an_opinion_is_not_used_is_said() -> None:
    said = GOOD | {"rating": 6, "scores": {"face": 2, "mood": "sad"}}
    of = replace(plan(VIDEO, WEB), feedback=Feedback(scores=("face",)))
    accepted, *doubts = explain(TOPIC, json.dumps(said).encode(), of).lines
    assert accepted.startswith("report 1: accepted")
    assert doubts == [
        "report 1: its rating is 6, expected 1 to 5: it is not counted",
        "report 1: its score 'face' is 2, expected -1 to 1: it is dropped",
        "report 1: its score 'mood' is dropped: feedback.scores of the configuration does not name it",
    ]
    assert len(lines({"session": "a", "rating": 4, "asked": True})) == 1
