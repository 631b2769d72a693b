"""Access logs of real players' requests give what their viewers saw, as far as such logs can."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from qoemon.core.wire.message import Kind
from qoemon.tools.accesslogs.formats import JsonLines, combined
from qoemon.tools.accesslogs.importer import Destination, LogImport
from qoemon.tools.accesslogs.sessions import Sessions
from qoemon.tools.recordings.recording import Recording
from tests.support import access_logs as logs
from tests.test_cli import qoemon_cli

WITHIN_S = 0.35
"""How far stall seconds may be from the truth, where the log has times finer than seconds."""


class Imported(NamedTuple):
    """A row of sessions.csv, and what import-cmcd said."""

    row: dict[str, str]
    said: str

    @property
    def stalls(self) -> tuple[int, float]:
        return int(self.row["stall_count"]), float(self.row["stall_s"])


def imported(folder: Path, lines: Iterable[str], *options: str) -> Imported:
    """The only session of a log, by import-cmcd and replay --sessions."""
    log, out = folder / "access.log.gz", folder / "sessions.csv"
    log.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    said = qoemon_cli("import-cmcd", str(log), *options, "-o", str(folder / "r.gz"))
    assert said.exit_code == 0, said.stderr
    replayed = qoemon_cli("replay", str(folder / "r.gz"), "--sessions", str(out))
    assert replayed.exit_code == 0, replayed.stderr
    (row,) = csv.DictReader(out.read_text().splitlines())
    return Imported(row, said.stderr)


FINE = {
    "json": (logs.json_lines, ("--format", "json")),
    "realtime": (logs.realtime, ("--format", "cloudfront", "--fields", logs.realtime_fields())),
}
COARSE = {
    "combined": (logs.combined, ("--format", "combined")),
    "ended": (lambda name: logs.combined(name, ended=True), ("--format", "combined")),
    "cloudfront": (logs.cloudfront, ("--format", "cloudfront")),
}


@pytest.mark.parametrize(("make", "options"), FINE.values(), ids=FINE)
@pytest.mark.parametrize("player", ["hlsjs", "dashjs"])
def test_a_stall_is_found_with_its_length(player, make, options, tmp_path):
    truth = logs.truth(f"{player}-v1stall1")
    found = imported(tmp_path, make(f"{player}-v1stall1"), *options)
    count, seconds = found.stalls
    assert count == truth["stall_count"] == 1
    assert abs(seconds - truth["stall_s"]) <= WITHIN_S
    assert truth["play_s"] - 6.5 <= float(found.row["play_s"]) <= truth["play_s"], "but for the last buffer"
    assert float(found.row["implausible_s"]) == 0
    assert "playback lacks what was in the buffer at the last request" in found.said


@pytest.mark.parametrize(("make", "options"), COARSE.values(), ids=COARSE)
@pytest.mark.parametrize("player", ["hlsjs", "dashjs"])
def test_logs_with_whole_seconds_find_the_stall_within_a_second(player, make, options, tmp_path):
    """Also where the time of a line is that of the answer, so that the held segment seems to be requested late."""
    truth = logs.truth(f"{player}-v1stall1")
    found = imported(tmp_path, make(f"{player}-v1stall1"), *options)
    count, seconds = found.stalls
    assert count == 1
    assert abs(seconds - truth["stall_s"]) <= 1 + WITHIN_S
    assert truth["play_s"] - 6.5 <= float(found.row["play_s"]) <= truth["play_s"]
    assert "the log has whole seconds" in found.said


@pytest.mark.parametrize(("make", "options"), (FINE | COARSE).values(), ids=FINE | COARSE)
def test_a_stall_of_shaka_cannot_be_seen_and_that_is_told(make, options, tmp_path):
    found = imported(tmp_path, make("shaka-v1stall1"), *options)
    assert found.stalls == (0, 0.0)
    assert "sessions that never sent bs: 1. shaka never sends it, so its stalls cannot be seen" in found.said
    if make is not COARSE["ended"][0]:
        assert "waits with an empty buffer in 1 of these sessions, not counted: 1," in found.said


@pytest.mark.parametrize("player", ["hlsjs", "dashjs"])
@pytest.mark.parametrize("scenario", ["seek", "pause"])
def test_neither_a_seek_nor_a_pause_is_a_stall(player, scenario, tmp_path):
    """Both players send bs after a seek."""
    lines = list(logs.json_lines(f"{player}-{scenario}"))
    assert scenario == "pause" or any("bs%2C" in line or "bs," in line for line in lines)
    assert imported(tmp_path, lines, "--format", "json").stalls == (0, 0.0)


@pytest.mark.parametrize("player", ["hlsjs", "dashjs", "shaka"])
def test_version_2_and_header_mode_are_read(player, tmp_path):
    found = imported(tmp_path, logs.json_lines(f"{player}-headers"), "--format", "json")
    assert "of version 2" in found.said
    assert found.stalls == (0, 0.0)
    assert 0 < float(found.row["play_s"]) <= logs.truth(f"{player}-headers")["play_s"]


def test_labels_come_from_options_and_fields(tmp_path):
    options = ("--label", "region=eu", "--label-from", "cdn=x-edge-location", "--service", "video")
    row = imported(tmp_path, logs.cloudfront("hlsjs-v1stall1"), "--format", "cloudfront", *options).row
    assert (row["service"], row["region"], row["cdn"]) == ("video", "eu", "FRA2-C1")


def test_without_a_broker_the_recording_is_of_the_collector(tmp_path):
    config, log = tmp_path / "c.yaml", tmp_path / "access.log"
    config.write_text("mqtt: null\ncollector: {paths: ['/in/{service}/+/{cdn}']}\n")
    log.write_text("\n".join(logs.combined("hlsjs-v1stall1")))
    path = tmp_path / "r.gz"
    said = qoemon_cli("import-cmcd", str(log), "--format", "combined", "-c", str(config), "-o", str(path))
    assert said.exit_code == 0, said.stderr
    assert {(each.topic, each.kind) for each in Recording(path).messages()} == {("/in/video//", Kind.HTTP)}


def test_rubbish_is_counted_with_its_first_line_and_changes_nothing(tmp_path):
    good = list(logs.combined("hlsjs-v1stall1"))
    rng = random.Random(1)
    bad = ["", "\x00\xff" * 40, good[5][:60], "x" * 400_000, good[6].replace("28/Nov/2026", "99/Foo/2026")]
    lines = [line for each in good for line in (each, rng.choice(bad))]
    clean, dirty = tmp_path / "clean", tmp_path / "dirty"
    clean.mkdir()
    dirty.mkdir()
    found = imported(dirty, lines, "--format", "combined")
    assert found.row == imported(clean, good, "--format", "combined").row
    assert "not a line of this format; the first is line 2" in found.said


@pytest.mark.parametrize("form", ["combined", "cloudfront", "json"])
def test_a_log_without_anything_to_use_leaves_no_file_and_says_what_it_had(form, tmp_path):
    log, out = tmp_path / "a.log", tmp_path / "r.gz"
    log.write_text("hello\n" * 3)
    said = qoemon_cli("import-cmcd", str(log), "--format", form, "-o", str(out))
    assert said.exit_code == 1
    assert f"{log}: nothing was written: found 3 lines" in said.stderr
    assert "not used: 3 not a line of this format; the first is line 1" in said.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--label", "isp=x"), "the label 'isp' is not one of the configuration's: region, cdn"),
        (("--label", "region"), "expected NAME=VALUE"),
        (("--field", "time=ts"), "--field is for --format json"),
        (("--fields", "a,b"), "--fields is for --format cloudfront"),
        (("--service", "web"), "expected a service of the configuration that rates stalls: video"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words, tmp_path):
    log = tmp_path / "a.log"
    log.write_text("")
    said = qoemon_cli("import-cmcd", str(log), "--format", "combined", *options)
    assert said.exit_code == 2
    assert words in " ".join(said.stderr.replace("│", " ").split())


def test_lines_out_of_order_give_the_same_recording(tmp_path):
    lines = list(logs.json_lines("dashjs-v1stall1"))
    shuffled = random.Random(2).sample(lines, len(lines))
    found = []
    for name, order in (("a", lines), ("b", shuffled)):
        (tmp_path / name).mkdir()
        found.append(imported(tmp_path / name, order, "--format", "json").row)
    assert found[0] == found[1]


def test_sessions_are_bounded():
    """The one that has been silent for longest is forgotten."""
    taken = LogImport(combined, Destination("t", Kind.MQTT), 10, lambda _: {})
    sessions: Sessions = taken._sessions

    def lines() -> Iterator[bytes]:
        for number in range(500):
            time = f"28/Nov/2026:13:{number // 60:02}:{number % 60:02} +0000"
            query = f"CMCD=bl%3D0%2Cd%3D2000%2Cot%3Dv%2Csid%3D%22s{number}%22"
            yield f'- - - [{time}] "GET /a_{number}.m4s?{query} HTTP/1.1" 200 1'.encode()

    for line in lines():
        list(taken._reports_of(line))
    list(sessions._until(float("inf"), 0))
    assert len(sessions._sessions) == 10
    assert (taken.found.totals.sessions, taken.found.totals.evicted) == (500, 490)


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({}, {"time": 1795874050.5, "uri": "/a_1.m4s?CMCD=sid%3D%22s%22", "status": 200}),
        ({}, {"@timestamp": "2026-11-28T13:54:10.5Z", "request": 'GET /a_1.m4s?CMCD=sid="s" HTTP/1.1'}),
        ({}, {"timestamp": 1795874050500, "jsonPayload": {"cmcd": 'sid="s"'}, "path": "/a_1.m4s"}),
        (
            {"time": "When", "query": "q"},
            {"When": "1795874050.5", "q": "a=1&CMCD=sid%3D%22s%22", "path": "/a_1.m4s"},
        ),
        ({}, {"time_local": "28/Nov/2026:14:54:10.5 +0100", "uri": "/a_1.m4s", "http_cmcd_session": 'sid="s"'}),
    ],
)
def test_usual_and_named_fields_of_json_lines_are_found(named, line):
    request = JsonLines(named)(json.dumps(line).encode())
    assert request is not None
    assert (request.time_s, request.path, dict(request.cmcd)) == (1795874050.5, "/a_1.m4s", {"sid": '"s"'})
