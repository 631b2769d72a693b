"""A recording gives back what arrived, to the last bit, also when its end is missing."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qoemon.common.csvfile import UnreadableError
from qoemon.config.config import Config
from qoemon.core.wire.message import CONTENT_TYPES, Kind
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.options import broker_options
from qoemon.tools.recordings.record import RecordError, record, recorder_options
from qoemon.tools.recordings.recording import LONGEST_PAYLOAD, Header, Recorded, Recording, RecordingError, Writer
from tests.support.parts import ROOT, Mosquitto
from tests.support.patience import TEST_S, WAIT_S, until
from tests.test_cli import process, qoemon_cli

HEADER = Header(started_s=1.7e9, source="broker:1883")
HEAD = msgspec.json.encode(HEADER)
TOPICS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES_S = st.floats(0, 1e11, allow_nan=False)
PAYLOADS = st.one_of(st.binary(), st.text().map(str.encode))
MESSAGES = st.lists(st.builds(Recorded, TOPICS, PAYLOADS, TIMES_S, st.sampled_from(Kind)))


def recorded(path: Path, messages: list[Recorded]) -> Path:
    with Writer(path, HEADER) as writer:
        writer.write(messages)
    return path


def lines(path: Path, *texts: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(text + b"\n" for text in texts)))
    return path


@settings(max_examples=60)
@given(MESSAGES)
def test_what_is_read_is_what_was_written(tmp_path_factory, messages):
    path = recorded(tmp_path_factory.mktemp("recording") / "r.gz", messages)
    recording = Recording(path)
    assert list(recording.messages()) == messages
    assert list(recording.messages()) == messages, "it can be read again"
    assert (recording.read, recording.cut, recording.header) == (len(messages), None, HEADER)
    assert recording.end_s == max((each.arrival_s for each in messages), default=0)
    assert recording.done_bytes == recording.size == path.stat().st_size


def test_every_line_is_json_that_any_tool_can_read(tmp_path):
    path = recorded(tmp_path / "r.gz", [Recorded("a/é", b'{"x":1}', 5.25), Recorded("b", b"\x80\xff", 6.0)])
    head, text, binary = (json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines())
    assert head == {"qoemon": "recording", "version": 1, "started_s": 1.7e9, "source": "broker:1883"}
    assert text == {"t": 5.25, "topic": "a/é", "payload": '{"x":1}'}
    assert binary == {"t": 6.0, "topic": "b", "b64": "gP8="}


@pytest.mark.parametrize(
    ("kind", "payload", "written"),
    [
        (Kind.CMCD, b'sid="a"\n', {"type": "application/cmcd", "payload": 'sid="a"\n'}),
        (Kind.CMCD, b"\xff", {"type": "application/cmcd", "b64": "/w=="}),
        (Kind.HTTP, b"{}", {"type": "application/json", "payload": "{}"}),
        (Kind.HTTP, b"\x80", {"type": "application/msgpack", "b64": "gA=="}),
    ],
)
def test_a_body_of_a_collector_is_written_with_its_path_and_type(kind, payload, written, tmp_path):
    path = recorded(tmp_path / "r.gz", [Recorded("/cmcd/v1/video/eu/a", payload, 5.25, kind)])
    _, body = (json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines())
    assert body == {"t": 5.25, "path": "/cmcd/v1/video/eu/a", **written}


@pytest.mark.parametrize("content_type", [*CONTENT_TYPES, "Application/CMCD; charset=utf-8"])
def test_every_type_that_a_collector_accepts_can_be_read(content_type, tmp_path):
    line = json.dumps({"t": 1, "path": "/a", "type": content_type, "payload": "x"}).encode()
    expected = CONTENT_TYPES[content_type.partition(";")[0].lower()]
    assert [each.kind for each in Recording(lines(tmp_path / "r.gz", HEAD, line)).messages()] == [expected]


def test_wherever_the_file_is_truncated_the_messages_before_are_read(tmp_path):
    messages = [Recorded("t", f"{number} {'x' * (number % 7)}".encode(), float(number)) for number in range(200)]
    path, cut = tmp_path / "r.gz", tmp_path / "cut.gz"
    with Writer(path, HEADER) as writer:
        for start in range(0, 200, 20):
            writer.write(messages[start : start + 20])
            writer.flush()
    whole, seen = path.read_bytes(), set()
    for length in range(200, len(whole) - 1, 5):
        cut.write_bytes(whole[:length])
        recording = Recording(cut)
        found = list(recording.messages())
        assert found == messages[: len(found)]
        assert recording.cut == len(found) + 2
        seen.add(len(found))
    assert {20, 100, 180} <= seen, "a flush is what can be read from then on"


def test_what_was_flushed_survives_the_end_of_the_process(tmp_path):
    path = tmp_path / "r.gz"
    code = (
        "import os, pathlib, sys\nfrom qoemon.tools.recordings.recording import *\n"
        "writer = Writer(pathlib.Path(sys.argv[1]), Header(started_s=1.0))\n"
        "writer.write([Recorded('t', b'kept', 2.0)])\nwriter.flush()\n"
        "writer.write([Recorded('t', b'lost', 3.0)])\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=False, timeout=TEST_S)
    recording = Recording(path)
    assert [each.payload for each in recording.messages()] == [b"kept"]
    assert recording.cut == 3


def test_silence_is_recorded_too(tmp_path):
    with Writer(tmp_path / "r.gz", HEADER) as writer:
        writer.write([Recorded("t", b"", 10.0)])
        writer.silence(400.0)
    recording = Recording(tmp_path / "r.gz")
    assert [each.topic for each in recording.messages()] == ["t"]
    assert recording.end_s == 400


def test_a_payload_beyond_all_bounds_is_cut_so_that_it_stays_readable(tmp_path):
    path = recorded(tmp_path / "r.gz", [Recorded("t", bytes(LONGEST_PAYLOAD + 5), 1.0)])
    assert [len(each.payload) for each in Recording(path).messages()] == [LONGEST_PAYLOAD]


def test_a_recording_is_never_replaced(tmp_path):
    path = recorded(tmp_path / "r.gz", [Recorded("t", b"dear", 1.0)])
    with pytest.raises(UnreadableError, match=r"r\.gz: exists, expected a new file"):
        Writer(path, HEADER)
    assert [each.payload for each in Recording(path).messages()] == [b"dear"]


BROKEN = {
    "nothing": ([], "1: found nothing, expected {"),
    "other": ([b'{"a": 1}'], "1: found"),
    "kind": ([b'{"qoemon":"state","version":1,"started_s":1}'], "1: found a file of kind 'state'"),
    "version": ([b'{"qoemon":"recording","version":2,"started_s":1}'], "1: found version 2, this qoemon reads"),
    "no json": ([HEAD, b"{nonsense"], "2: found '{nonsense"),
    "no time": ([HEAD, b'{"t":1}', b'{"topic":"t","payload":""}'], "3: found"),
    "time as text": ([HEAD, b'{"t":"1","topic":"t","payload":""}'], "expected t (seconds)"),
    "milliseconds": ([HEAD, b'{"t":1700000000000,"topic":"t","payload":""}'], "expected t (seconds)"),
    "no payload": ([HEAD, b'{"t":1,"topic":"t"}'], "2: found neither of payload and b64, expected one"),
    "both": ([HEAD, b'{"t":1,"topic":"t","path":"/p","payload":""}'], "2: found both of topic and path"),
    "no type": ([HEAD, b'{"t":1,"path":"/p","payload":""}'], "2: found no type, expected one of application/cmcd"),
    "type": ([HEAD, b'{"t":1,"path":"/p","type":"a/b","payload":""}'], "2: found type 'a/b', expected one of"),
    "path without payload": ([HEAD, b'{"t":1,"path":"/p","type":"text/cmcd"}'], "2: found neither of payload"),
    "two payloads": ([HEAD, b'{"t":1,"topic":"t","payload":"","b64":""}'], "2: found both of payload"),
}


@pytest.mark.parametrize(("texts", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_recording_is_an_error_with_its_line(texts, words, tmp_path):
    path = lines(tmp_path / "r.gz", *texts)
    with pytest.raises(RecordingError) as caught:
        list(Recording(path).messages())
    assert str(caught.value).startswith(f"{path}:")
    assert words in str(caught.value)


def test_damage_within_is_an_error_and_not_taken_for_the_end(tmp_path):
    path = recorded(tmp_path / "r.gz", [Recorded("t", bytes([n % 251]), float(n)) for n in range(5000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="found"):
        list(Recording(path).messages())


@pytest.mark.parametrize("command", ["replay {}", "report {} -o out"])
def test_the_commands_report_a_bad_file(command, tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("hello")
    result = qoemon_cli(*command.format(plain).split())
    assert result.exit_code == 1
    assert f"{plain}:1: found damage" in result.stderr
    missing = qoemon_cli(*command.format(tmp_path / "missing").split())
    assert missing.exit_code == 2
    assert "cannot be read: No such file" in missing.stderr


@pytest.mark.parametrize(
    "command", ["record r.gz", "replay r.gz", "report r.gz -o out", "report r.gz -o o --compare"]
)
def test_a_broken_configuration_starts_nothing(command, tmp_path):
    config = tmp_path / "broken.yaml"
    config.write_text("mqtt: {port: 0}\n")
    option = () if command.endswith("--compare") else ("-c",)
    result = qoemon_cli(*command.split(), *option, str(config))
    assert result.exit_code == 2
    assert f"{config}:1: mqtt.port: found 0" in result.stderr
    assert "1 error" in result.stderr


def test_the_recorder_is_a_client_of_its_own_whose_session_ends_with_it():
    theirs = broker_options(Config().mqtt)
    ours = recorder_options(theirs)
    assert ours.client_id == f"{theirs.client_id}-record"
    assert (ours.session_expiry_s, ours.qos) == (0, theirs.qos)
    older = recorder_options(broker_options(Config.model_validate({"mqtt": {"version": "3.1.1"}}).mqtt))
    assert older.qos == 0, "a broker keeps nothing of QoS 0 for who is away"


async def test_without_a_broker_nothing_is_recorded_and_no_file_is_left(tmp_path, unused_port):
    broker = broker_options(Config.model_validate({"mqtt": {"host": "127.0.0.1", "port": unused_port}}).mqtt)
    path = tmp_path / "r.gz"
    with pytest.raises(RecordError, match=r"nothing was recorded: cannot connect to 127\.0\.0\.1"):
        await record(broker, None, path, Inbox(10, 1000), for_s=0.5, on_progress=lambda _: None)
    assert not path.exists()


def test_the_recorder_listens_and_what_it_has_answered_survives_its_end(tmp_path, unused_port):
    """204 is sent when a body is flushed: after kill -9, the file has all that were answered."""
    config, path = tmp_path / "c.yaml", tmp_path / "r.gz"
    config.write_text("mqtt: null\ncollector: {token: secret}\n")
    command = [sys.executable, "-m", "qoemon", "record", str(path), "-c", str(config), "--listen", str(unused_port)]
    url = f"http://127.0.0.1:{unused_port}/cmcd/v1/video/eu/a"
    bodies = [
        ("application/cmcd", b'sid="s",sta=p\n', Kind.CMCD),
        ("text/plain", b'{"session": "s"}', Kind.HTTP),
        ("application/x-msgpack", b"\x81\xa7session\xa1s", Kind.HTTP),
    ]
    recorder = subprocess.Popen(command, cwd=ROOT)
    try:
        until(lambda: _posted(url, "text/cmcd", b"") == 401, lambda: "it does not listen")
        for content_type, body, _ in bodies:
            assert _posted(f"{url}?token=secret", content_type, body) == 204
    finally:
        recorder.kill()
        recorder.wait()
    recording = Recording(path)
    found = [(each.topic, each.payload, each.kind) for each in recording.messages()]
    assert found == [("/cmcd/v1/video/eu/a", body, kind) for _, body, kind in bodies]
    assert recording.header.source == f"http 127.0.0.1:{unused_port}"


DAEMON = "record r.gz --daemon -c"


@pytest.mark.parametrize(
    ("text", "command", "code", "words"),
    [
        ("state: {}", DAEMON, 2, "set state.dir"),
        ("state: {dir: /var/lib/x, durability: none}", DAEMON, 2, "or record with --listen instead"),
        ("state: {dir: nowhere}", DAEMON, 1, "no daemon has stored anything in nowhere: start it"),
        ("collector: {}", "record r.gz --daemon --listen 9 -c", 2, "--listen and --daemon exclude each other"),
    ],
)
def test_without_a_state_that_can_be_read_a_daemon_cannot_be_recorded(
    text, command, code, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    Path("c.yaml").write_text(text)
    result = qoemon_cli(*command.split(), "c.yaml")
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert not Path("r.gz").exists()


def _posted(url: str, content_type: str, body: bytes) -> int | None:
    """The status of a POST; None if nobody answers."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})  # noqa: S310 - http
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except urllib.error.URLError:
        return None


def test_listen_needs_a_collector_and_a_port(tmp_path):
    without = qoemon_cli("record", str(tmp_path / "r.gz"), "--listen", "9879")
    assert without.exit_code == 2
    assert "needs a section collector" in without.stderr
    config = tmp_path / "c.yaml"
    config.write_text("collector: {}\n")
    wrong = qoemon_cli("record", str(tmp_path / "r.gz"), "-c", str(config), "--listen", "somewhere")
    assert wrong.exit_code == 2
    assert "expected a port or HOST:PORT" in wrong.stderr


@pytest.fixture
def mosquitto(tmp_path):
    """One that logs subscriptions."""
    with Mosquitto(tmp_path, options=["log_type all"]) as broker:
        yield broker


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_record_simulate_replay_report_round_trip(version, mosquitto: Mosquitto, unused_port, tmp_path):
    """Reports sent to a real broker, the second of two addresses, are recorded, replayed and made into a report."""
    config = tmp_path / "qoemon.yaml"
    config.write_text(
        f"mqtt: {{hosts: ['127.0.0.1:{unused_port}', 127.0.0.1], port: {mosquitto.port}, version: '{version}'}}\n"
        "sessions: {tick: 1s, rating_interval: 2s, min_active: 100ms, timeout: 20s}\nwindows: [2s, 4s]\n"
    )
    path = tmp_path / "r.jsonl.gz"
    command = [sys.executable, "-m", "qoemon", "record", str(path), "-c", str(config)]
    log = (tmp_path / "record.log").open("w")
    recorder = subprocess.Popen(command, cwd=ROOT, stderr=log)
    try:
        until(lambda: "Sending SUBACK" in mosquitto.log.read_text(), lambda: "no recorder")
        sent = process(
            *("simulate", "--host", "127.0.0.1", "--port", str(mosquitto.port), "--version", version),
            *("--sessions", "60", "--rate", "40", "--for", "7s"),
        )
        assert sent.returncode == 0, sent.stderr
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(WAIT_S) == 0, (tmp_path / "record.log").read_text()
    finally:
        recorder.kill()
        recorder.wait()
        log.close()
    reports = int(sent.stderr.split("sent ")[1].split(" ")[0])
    recording = Recording(path)
    assert len(list(recording.messages())) == reports > 0
    assert recording.cut is None
    assert recording.header.source == f"127.0.0.1:{unused_port} or 127.0.0.1:{mosquitto.port}"
    assert f"recorded {reports} messages" in (tmp_path / "record.log").read_text()

    replayed = process("replay", str(path), "-c", str(config))
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert "Alerts that would have fired" in replayed.stdout
    as_json = process("replay", str(path), "-c", str(config), "--json")
    ticks = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert all(each["time_s"] % 2 == 0 for each in ticks)
    arrived = sum(message.arrival_s < ticks[-1]["time_s"] for message in recording.messages())
    assert ticks[-1]["events"]["reports"] == arrived > 0

    made = process("report", str(path), "-c", str(config), "-o", str(tmp_path / "out"))
    assert (made.returncode, (tmp_path / "out/report.html").exists()) == (0, True), made.stderr
