"""`qoemon check --payload`: what is made of one message, report by report."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from qoemon import cli
from qoemon.tools.payload import explain
from tests.support.core import VIDEO, WEB, plan

TOPIC = "qoe/v1/video/eu"
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


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for arguments, words in (
        (["--payload", str(missing)], "need each other"),
        (["--topic", "x"], "need each other"),
        (["--payload", str(missing), "--topic", "x"], f"{missing}: cannot be read: No such file"),
    ):
        result = CliRunner().invoke(cli.app, ["check", *arguments])
        assert result.exit_code == 2
        assert words in result.stderr
