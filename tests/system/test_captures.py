"""Real players, sent again to a running daemon with their own pauses, recorded and replayed: what they did."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.publish import single

from qoemon.config.config import Config
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.tools.recordings.recording import Recording
from qoemon.tools.recordings.replay import ticks
from tests.support.captures import SEEKS, WHOLE, Capture, Run, is_true, naive_is_wrong
from tests.support.parts import ROOT, Mosquitto
from tests.support.patience import TEST_S, WAIT_S, until
from tests.system.test_collector import PROCESSES, Collecting, posted
from tests.system.test_record_daemon import recorded, said

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(2 * TEST_S)

CMCD = "application/cmcd"


def sent(found: Capture, port: int) -> None:
    """Post the bodies of a capture as they came, in a group of its own."""
    began_s, first_s = time.monotonic(), found.posted[0].arrival_s
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=WAIT_S)) as connection:
        for body in found.posted:
            time.sleep(max(began_s + body.arrival_s - first_s - time.monotonic(), 0))
            assert posted(connection, body.payload, f"/cmcd/v1/video/{found.name}/a", CMCD).status == 204


def sessions(recording: Path, configuration: Path) -> dict[str, list[Run]]:
    """What `qoemon replay --sessions` counts each run with, by region."""
    out = recording.with_suffix(".csv")
    command = [sys.executable, "-m", "qoemon", "replay", str(recording), "-c", str(configuration)]
    subprocess.run([*command, "--sessions", str(out)], cwd=ROOT, check=True, capture_output=True, timeout=TEST_S)
    runs: dict[str, list[Run]] = {}
    with out.open(newline="") as file:
        for row in csv.DictReader(file):
            assert (row["duplicates"], float(row["implausible_s"])) == ("0", 0)
            run = Run(int(row["stall_count"]), float(row["stall_s"]), float(row["play_s"]), row["ended"] == "true")
            runs.setdefault(row["region"], []).append(run)
    return runs


def test_all_captures_at_once_recorded_from_a_daemon_and_replayed_are_true(tmp_path: Path) -> None:
    """And counting every `r` is wrong for dash.js, for shaka, and after each seek."""
    path = tmp_path / "r.gz"
    with Collecting(tmp_path, sessions={"tick": "1s"}, windows=["1m"]) as daemon:
        daemon.ready()
        with recorded(daemon, path), ThreadPoolExecutor(len(WHOLE)) as players:
            for done in [players.submit(sent, found, daemon.collector) for found in WHOLE]:
                done.result()
    assert "missing" not in said(path)
    runs = sessions(path, tmp_path / "qoemon.yaml")
    assert runs.keys() == {found.name for found in WHOLE}
    for found in WHOLE:
        is_true(found, runs[found.name])
        dash_or_shaka = found.player in {"dashjs", "shakadebug"}
        assert naive_is_wrong(found) == (dash_or_shaka or found.scenario in SEEKS)


@pytest.mark.mosquitto
@PROCESSES
def test_players_and_reports_together_replay_as_the_daemon_counted_them(
    tmp_path: Path, processes: dict[str, Any]
) -> None:
    """Each tick that both have, to the last digit."""
    path, live = tmp_path / "r.gz", dict[int, dict[str, Any]]()
    with Mosquitto(tmp_path) as broker:
        settings = {
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "client_id": "both"},
            "sessions": {"tick": "1s", "rating_interval": "5s", "min_active": "1s"},
            "windows": ["5s", "20s"],
            **processes,
        }
        with Collecting(tmp_path, **settings) as daemon:
            daemon.ready()

            def look() -> int:
                snapshot = daemon.snapshot()
                live[snapshot["time_s"]] = snapshot
                return int(snapshot["time_s"])

            with recorded(daemon, path):
                for second, state in enumerate("sprpprppkrpp"):
                    now_ms = int(time.time() * 1000)
                    for number in range(6):
                        record = f'e=ps,sid="h{number}",sn={second},sta={state},ts={now_ms + number},v=2'
                        assert daemon.send(record, CMCD, "/cmcd/v1/video/eu/a").status == 204
                        stalls = {"stall_count": second // 3, "stall_s": second // 3 / 10}
                        report = {"session": f"m{number}", "seq": second, "play_s": 0.8 * second, **stalls}
                        single(
                            "qoe/v1/video/us/b", json.dumps(report), qos=1, hostname="127.0.0.1", port=broker.port
                        )
                    seen = look()
                    until(lambda seen=seen: look() > seen, daemon.log.read_text)
                end_s = look()
                until(lambda: look() > end_s + 6, daemon.log.read_text)
    config = Config.model_validate_json((tmp_path / "qoemon.yaml").read_text())
    replayed = {
        tick.tick.snapshot.time_s: snapshot_document(tick.tick.snapshot, tick.tick.detections)
        for tick in ticks(Recording(path), config, lambda _: None)
    }
    both = sorted(live.keys() & replayed.keys())
    assert len(both) > 15
    for time_s in both:
        assert json.loads(json.dumps(replayed[time_s]["services"])) == live[time_s]["services"]
    assert max(group["windows"]["20s"]["observations"] for group in live[both[-1]]["services"][0]["groups"]) > 0
    runs = sessions(path, tmp_path / "qoemon.yaml")
    assert [run.stalls for run in runs["eu"]] == [2] * 6  # `p` to `r`, but not `k` to `r`.
    assert [run.stalls for run in runs["us"]] == [3] * 6
