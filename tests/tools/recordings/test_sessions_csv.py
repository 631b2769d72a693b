"""`qoemon replay --sessions` says of each viewer what it was counted with."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qoemon.core.wire.message import Kind
from qoemon.tools.recordings.recording import Header, Recorded, Writer
from tests.support.feeds import T0, Message, viewer
from tests.support.oracle import Mixture, media_mos
from tests.support.parts import ROOT
from tests.support.patience import TEST_S
from tests.test_cli import process

COLUMNS = (
    "service,region,cdn,session,run,first_heard,last_heard,stall_count,stall_s,play_s,responses,startup_s,ended,"
    "duplicates,implausible_s,quality_mos"
)
Rows = list[dict[str, str]]


def recorded(path: Path, messages: list[Message], until_s: float = 120, cdn: str = "a") -> Path:
    with Writer(path, Header(started_s=float(T0))) as writer:
        for at_s, service, report in sorted(messages, key=lambda message: message[0]):
            payload = json.dumps(report).encode()
            writer.write([Recorded(f"qoe/v1/{service}/eu/{cdn}", payload, T0 + at_s)])
        writer.silence(T0 + until_s)
    return path


def replayed(tmp_path: Path, messages: list[Message], *options: str, **recording: Any) -> Rows:
    """The rows that the command writes."""
    path, out = recorded(tmp_path / "r.gz", messages, **recording), tmp_path / "out.csv"
    done = process("replay", str(path), "--sessions", str(out), *options)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert text.splitlines()[0] == COLUMNS
    assert done.stderr == f"wrote {len(rows)} sessions to {out}\n"
    return rows


def report(session: str, seq: int, stall_count: int, stall_s: float, play_s: float, **more: Any) -> dict[str, Any]:
    return {
        "session": session,
        "seq": seq,
        "stall_count": stall_count,
        "stall_s": stall_s,
        "play_s": play_s,
        **more,
    }


def test_each_viewer_has_a_row_with_what_was_counted(tmp_path):
    rows = replayed(
        tmp_path,
        [
            (0, "video", report("anna", 0, 0, 0, 0)),
            (10, "video", report("anna", 1, 1, 2.5, 7.5)),
            (20, "video", report("anna", 2, 1, 2.5, 17.5, end=True)),
            (5.25, "video", report("ben", 0, 0, 0, 0)),
            (15.5, "video", report("ben", 1, 0, 0, 10.25)),
        ],
    )
    anna, ben = rows
    assert anna == {
        "service": "video",
        "region": "eu",
        "cdn": "a",
        "session": "anna",
        "run": "1",
        "first_heard": f"{T0}.0",
        "last_heard": f"{T0 + 20}.0",
        "stall_count": "1",
        "stall_s": "2.5",
        "play_s": "17.5",
        "responses": "0",
        "startup_s": "",
        "ended": "true",
        "duplicates": "0",
        "implausible_s": "0.0",
        "quality_mos": "",
    }
    assert (ben["session"], ben["ended"], ben["play_s"]) == ("ben", "false", "10.25")
    assert (float(ben["first_heard"]), float(ben["last_heard"])) == (T0 + 5.25, T0 + 15.5)


def test_the_startup_time_is_that_of_the_player(tmp_path):
    path, out = tmp_path / "r.gz", tmp_path / "out.csv"
    with Writer(path, Header(started_s=float(T0))) as writer:
        for number, state, at_s in ((0, "s", 0.0), (1, "p", 1.25), (2, "e", 20.0)):
            record = f'e=ps,sid="anna",sn={number},sta={state},ts={round((T0 + at_s) * 1000)},v=2'.encode()
            writer.write([Recorded("/cmcd/v1/video/eu/a", record, T0 + at_s, Kind.CMCD)])
    config = tmp_path / "my.yaml"
    config.write_text("mqtt: null\ncollector: {}\n")
    done = process("replay", str(path), "--sessions", str(out), "-c", str(config))
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert (row["session"], row["startup_s"], row["play_s"]) == ("anna", "1.25", "18.75")


def test_a_reload_is_a_second_run_with_counters_of_its_own(tmp_path):
    rows = replayed(
        tmp_path,
        [
            (0, "video", report("v", 0, 0, 0, 0)),
            (10, "video", report("v", 1, 2, 4, 6)),
            (20, "video", report("v", 0, 0, 0, 0.25)),
            (30, "video", report("v", 1, 1, 1, 9)),
            (40, "video", report("v", 2, 1, 1, 19, end=True)),
        ],
    )
    assert [(row["run"], row["stall_count"], row["stall_s"], row["play_s"], row["ended"]) for row in rows] == [
        ("1", "2", "4.0", "6.0", "false"),
        ("2", "1", "1.0", "19.0", "true"),
    ]
    assert [float(row["first_heard"]) - T0 for row in rows] == [0, 20]
    assert [float(row["last_heard"]) - T0 for row in rows] == [10, 40]


def test_the_run_is_that_of_the_client_if_it_reports_one(tmp_path):
    rows = replayed(
        tmp_path,
        [
            (0, "video", report("v", 0, 0, 0, 0, run="x7")),
            (10, "video", report("v", 1, 0, 0, 10, run="x7")),
            (20, "video", report("v", 0, 0, 0, 0, run=8)),
            (30, "video", report("v", 1, 0, 0, 10, run=8)),
        ],
    )
    assert [(row["session"], row["run"], row["play_s"]) for row in rows] == [
        ("v", "x7", "10.0"),
        ("v", "8", "10.0"),
    ]


def test_a_session_that_is_heard_again_after_it_was_forgotten_has_a_new_number(tmp_path):
    again = 600
    rows = replayed(
        tmp_path,
        [
            (0, "video", report("v", 0, 0, 0, 0)),
            (10, "video", report("v", 1, 1, 5, 5, end=True)),
            (again, "video", report("v", 0, 0, 0, 0)),
            (again + 10, "video", report("v", 1, 0, 0, 10)),
        ],
        until_s=again + 60,
    )
    assert [(row["run"], row["stall_s"], row["play_s"]) for row in rows] == [
        ("1", "5.0", "5.0"),
        ("2", "0.0", "10.0"),
    ]


def test_a_report_that_is_sent_again_is_a_duplicate(tmp_path):
    second = report("v", 1, 1, 3, 7)
    rows = replayed(tmp_path, [(0, "video", report("v", 0, 0, 0, 0)), (10, "video", second), (12, "video", second)])
    assert [(row["duplicates"], row["stall_s"]) for row in rows] == [("1", "3.0")]


def test_the_end_that_a_last_will_reports_ends_the_run_and_is_no_duplicate(tmp_path):
    rows = replayed(
        tmp_path,
        [
            (0, "video", report("v", 5, 0, 0, 0)),
            (10, "video", report("v", 6, 0, 0, 10)),
            (14, "video", {"session": "v", "seq": 0, "end": True}),
        ],
    )
    assert [(row["ended"], row["duplicates"]) for row in rows] == [("true", "0")]


def test_seconds_beyond_what_is_possible_are_not_in_stall_s_but_in_implausible_s(tmp_path):
    rows = replayed(
        tmp_path, [(0, "video", report("liar", 0, 0, 0, 0)), (10, "video", report("liar", 1, 1, 28_800, 10))]
    )
    (liar,) = rows
    counted_s = float(liar["stall_s"]) + float(liar["play_s"])
    assert counted_s <= 10 + 4 + 60, "what passed, and what a first report may leave"
    assert float(liar["implausible_s"]) + counted_s == 28_810


def test_a_web_session_has_its_responses(tmp_path):
    rows = replayed(
        tmp_path,
        [
            (0, "web", {"session": "w", "seq": 0, "response_s": [0.4, 1.5]}),
            (10, "web", {"session": "w", "seq": 1, "response_s": 0.2}),
            (20, "web", {"session": "w", "seq": 2, "response_s": [840, 0.3]}),
        ],
    )
    assert [(row["service"], row["responses"], row["implausible_s"]) for row in rows] == [("web", "4", "840.0")]
    assert (rows[0]["stall_s"], rows[0]["play_s"]) == ("0.0", "0.0")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_the_sums_are_what_truthful_clients_reported(options, tmp_path):
    """Also over the sessions that are over long before the end, and those that are not."""
    messages = list[Message]()
    for number in range(40):
        begins_s = 15 * number + 0.5
        messages += viewer(f"v{number}", begins_s, begins_s + 200, 10, stalls=number % 2 == 0)
    last = {message["session"]: message for _, _, message in sorted(messages, key=lambda message: message[0])}
    for number in range(0, 40, 4):
        last[f"v{number}"]["end"] = True
    rows = replayed(tmp_path, messages, *options, until_s=900)
    assert len(rows) == len({row["session"] for row in rows}) == 40
    for name in ("stall_count", "stall_s", "play_s"):
        reported = sum(message[name] for message in last.values())
        assert sum(float(row[name]) for row in rows) == pytest.approx(reported, abs=1e-6), name
    assert sum(row["ended"] == "true" for row in rows) == 10
    assert {row["implausible_s"] for row in rows} == {"0.0"}


HOSTILE = {
    "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "'=1": "''=1",
    "\t=1": "\\t=1",
    'a,"b"\r\nc\x1b[2J': 'a,"b"\\r\\nc\\x1b[2J',
    "naïve ünïcode": "naïve ünïcode",
}


@pytest.mark.parametrize(("name", "cell"), HOSTILE.items())
def test_hostile_names_are_text_on_one_line(name, cell, tmp_path):
    rows = replayed(
        tmp_path,
        [(0, "video", report(name, 0, 0, 0, 0, run=name)), (10, "video", report(name, 1, 0, 0, 10, run=name))],
        cdn="=cdn",
    )
    assert [(row["session"], row["run"], row["cdn"]) for row in rows] == [(cell, cell, "'=cdn")]


def test_a_label_that_is_named_as_another_column_has_a_column_of_its_own(tmp_path):
    config, out = tmp_path / "qoemon.yaml", tmp_path / "out.csv"
    config.write_text("mqtt: {topics: ['qoe/v1/{service}/{run}/{cdn}']}\n")
    path = recorded(tmp_path / "r.gz", [(0, "video", report("v", 0, 0, 0, 0))])
    done = process("replay", str(path), "--sessions", str(out), "-c", str(config))
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert (row["label_run"], row["cdn"], row["run"]) == ("eu", "a", "1")


FULL = "import resource\nfrom qoemon.cli import app\nresource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\napp()"
"""The commands, where no file can grow beyond 200 bytes."""


@pytest.mark.parametrize("viewers", [3, 3000], ids=["at the end", "on the way"])
def test_a_full_disk_is_an_error_and_leaves_no_part_of_the_file(viewers, tmp_path):
    messages = [(0.0, "video", report(f"v{number}", 0, 0, 0, 0)) for number in range(viewers)]
    path, out = recorded(tmp_path / "r.gz", messages, until_s=900), tmp_path / "out.csv"
    command = [sys.executable, "-c", FULL, "replay", str(path), "--sessions", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TEST_S, check=False)
    assert (done.returncode, done.stderr) == (1, f"qoemon: {out}: cannot be written: File too large\n")
    assert not out.exists()


def test_an_existing_file_is_not_replaced(tmp_path):
    path, out = recorded(tmp_path / "r.gz", []), tmp_path / "out.csv"
    out.write_text("dear")
    done = process("replay", str(path), "--sessions", str(out))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"qoemon: {out}: exists, expected a new file: files are not replaced\n"
    assert out.read_text() == "dear"


def test_a_recording_that_cannot_be_read_to_its_end_leaves_no_file(tmp_path):
    path, out = recorded(tmp_path / "r.gz", [(0, "video", report("v", 0, 0, 0, 0))]), tmp_path / "out.csv"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"{nonsense\n"))
    done = process("replay", str(path), "--sessions", str(out))
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert not out.exists()


MEDIA = """\
services:
  video:
    mapping: media-stall
    quality: logistic
    inputs: [vmaf]
    parameters: {quality_floor: 1, quality_scale: 4, quality_slope: 0.06, quality_middle: 50}
    theta: 0.2
alerts: []
"""


def _mos(vmaf: float) -> float:
    return 1 + 4 / (1 + math.exp(-0.06 * (vmaf - 50)))


def test_quality_of_a_viewer_is_the_mean_by_media_time(tmp_path):
    config = tmp_path / "media.yaml"
    config.write_text(MEDIA)
    anna, ben = replayed(
        tmp_path,
        [
            (0, "video", report("anna", 0, 0, 0, 0)),
            (10, "video", report("anna", 1, 0, 0, 10, measures={"vmaf": 90})),
            (40, "video", report("anna", 2, 1, 10, 30, measures={"vmaf": 30})),
            (50, "video", report("anna", 3, 1, 10, 40)),
            (1, "video", report("ben", 0, 0, 0, 0)),
            (20, "video", report("ben", 1, 0, 0, 19)),
        ],
        "-c",
        str(config),
    )
    assert float(anna["quality_mos"]) == pytest.approx((10 * _mos(90) + 20 * _mos(30)) / 30, abs=5e-4)
    assert (anna["stall_s"], ben["play_s"], ben["quality_mos"]) == ("10.0", "19.0", "")


def test_a_replay_gives_what_a_computation_of_every_viewer_gives(tmp_path):
    """MOS within .005 and shares within .002, in every window."""
    config, rng, messages, ratings = tmp_path / "media.yaml", random.Random(5), [], []
    config.write_text(MEDIA)
    for viewer_ in range(60):
        stalls, stall_s, play_s = 0, 0, 0
        for minute in range(5):
            weighed = known = 0.0
            n, t = stalls, stall_s
            played_s = play_s
            for step in range(1, 7):
                stalled_s = rng.choice([0, 0, 0, 1, 3])
                stalls, stall_s, play_s = stalls + (stalled_s > 0), stall_s + stalled_s, play_s + 10 - stalled_s
                vmaf = rng.choice([None, 20.0, 45.0, 70.0, 95.0]) if step > 1 else 60.0
                measures = {} if vmaf is None else {"measures": {"vmaf": vmaf}}
                at_s = 60 * minute + 10 * step - 0.5
                messages.append(
                    (at_s, "video", report(f"v{viewer_}", 6 * minute + step, stalls, stall_s, play_s, **measures))
                )
                if vmaf is not None:
                    weighed, known = weighed + _mos(vmaf) * (10 - stalled_s), known + 10 - stalled_s
            played_s = play_s - played_s
            condition = (stalls - n) * 60 / played_s, (stall_s - t) * 60 / played_s
            ratings.append((minute, media_mos(weighed / known, *condition)))
    path = recorded(tmp_path / "r.gz", messages, until_s=300)
    done = process("replay", str(path), "-c", str(config), "--json")
    assert done.returncode == 0, done.stderr
    (group,) = json.loads(done.stdout.splitlines()[-1])["services"][0]["groups"]
    for window, first in (("1m", 4), ("5m", 0)):
        found = group["windows"][window]
        people = Mixture([(mos, 1) for minute, mos in ratings if minute >= first], 0.2)
        assert found["observations"] == 60 * (5 - first)
        assert found["mos"] == pytest.approx(people.mos, abs=0.005)
        assert (found["gob"], found["pow"]) == pytest.approx((people.gob, people.pow), abs=0.002)
    assert list(group["pow_contribution"]) == ["media_quality", "stall_count", "stall_time"]
    assert 1 < group["media_quality_mos"] < 5
    assert group["sessions_without_measures"] == 0
