"""Ratings of users beside predictions, from end to end: the commands on a recording of weeks, and on a daemon."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import numpy as np
import pytest
import yaml

from qoemon.config.config import load
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.alerting.decision import Reason
from qoemon.core.alerting.rule import AlertMetric
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.tools.recordings.recording import Recording
from tests.support.core import VIDEO
from tests.support.parts import ROOT, Daemon, Mosquitto, unused_port
from tests.support.patience import TEST_S, WAIT_S, async_until, until
from tests.support.rated_days import MIDNIGHT_S, record_days

if TYPE_CHECKING:
    from collections.abc import Callable

    from qoemon.core.alerting.alerts import Alert
    from qoemon.core.evaluation import Tick

pytestmark = pytest.mark.timeout(2 * TEST_S)

CEILING = 4.4
"""MOS of users whose video never stalls; the published constants predict 5."""

MOST_DAYS = 7
"""So many days report a shift of .3 points, in half of the cases; these users' shift is larger."""

SETTINGS: dict[str, Any] = {"sessions": {"tick": "60s", "rating_interval": "60s"}, "windows": ["60s"]}


def feedback(*words: str) -> subprocess.CompletedProcess[str]:
    """The result of the command."""
    command = [sys.executable, "-m", "qoemon", "feedback", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def configuration(path: Path, **more: Any) -> str:
    path.write_text(yaml.safe_dump({**SETTINGS, **more}))
    return str(path)


@pytest.fixture(scope="module")
def three_weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 21 evenings of users with this ceiling."""
    path = tmp_path_factory.mktemp("days") / "weeks.jsonl.gz"
    truth = VIDEO.mapping.with_parameters({"scale": CEILING - 1.5})
    record_days(path, replace(VIDEO, mapping=truth), 21)
    return path


def test_a_ceiling_that_is_too_high_is_found_and_the_proposed_constants_hold(
    three_weeks: Path, tmp_path: Path
) -> None:
    """The published constants are off; those that the ratings propose are not, by the same recording."""
    before = configuration(tmp_path / "before.yaml")
    of_recording = ("--recording", str(three_weeks), "-c")
    off = feedback("test", *of_recording, before)
    assert (off.returncode, off.stderr) == (1, "")
    assert re.match(r"video: .*lower than predicted", off.stdout)
    assert off.stdout.count("\n") == 1

    fit = feedback("fit", *of_recording, before)
    assert (fit.returncode, fit.stderr) == (0, "")
    proposed = yaml.safe_load(fit.stdout[fit.stdout.index("services:\n") :])
    found = proposed["services"]["video"]["parameters"]
    assert found["scale"] + found["floor"] == pytest.approx(CEILING, abs=0.1)

    after = configuration(tmp_path / "after.yaml", **proposed)
    holds = feedback("test", *of_recording, after)
    assert (holds.returncode, holds.stderr) == (0, ""), holds.stdout


def test_the_alert_fires_once_and_ends_with_the_constants_that_are_proposed(
    three_weeks: Path, tmp_path: Path
) -> None:
    """As of a daemon that runs through these weeks, and is then started again with the proposal."""
    before = configuration(tmp_path / "before.yaml")
    fit = feedback("fit", "--recording", str(three_weeks), "-c", before)
    proposed = yaml.safe_load(fit.stdout[fit.stdout.index("services:\n") :])
    after = configuration(tmp_path / "after.yaml", **proposed)

    config, recording, changes = load(Path(before)), Recording(three_weeks), []
    shard, evaluation = ShardPipeline(core_plan(config)), new_evaluation(config)
    for counts in shard.run(recording.messages()):
        tick = evaluation.tick([counts])
        alert = model_alert(tick)
        if alert.changed and alert.firing != alert.ended:
            day = (tick.snapshot.time_s - MIDNIGHT_S) // DAY_S
            changes.append((alert.firing, alert.decision.reason, day))
    [(firing, reason, day)] = changes
    assert (firing, reason) == (True, Reason.RATED_LOWER)
    assert day <= MOST_DAYS

    again = new_evaluation(load(Path(after)))
    assert again.load(evaluation.dump()) == ("video",)
    fresh = ShardPipeline(core_plan(load(Path(after))))
    first, second = (model_alert(again.tick([fresh.tick(recording.end_s + offset_s)])) for offset_s in (60, 120))
    assert (first.ended, first.decision.reason) == (True, Reason.AS_PREDICTED)
    assert not second.changed
    assert not second.firing


def model_alert(tick: Tick) -> Alert:
    """The alert on the model of the viewers."""
    [alert] = [
        each
        for each in tick.detections.alerts
        if each.rule.metric is AlertMetric.MODEL and each.rule.service == "video"
    ]
    return alert


def test_what_is_exported_is_read_by_the_commands_that_it_names(three_weeks: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path / "qoemon.yaml")
    days = ("--since", "2023-11-16", "--until", "2023-11-20")
    done = feedback("export", "video", "--recording", str(three_weeks), "-c", config, *days)
    assert done.returncode == 0
    file = tmp_path / "answers.csv"
    file.write_text(done.stdout)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["day"] for row in rows} == {f"2023-11-{day}" for day in range(16, 21)}
    ratings = sum(int(row[rating]) for row in rows for rating in "12345")
    assert 100 < ratings <= sum(int(row["asked"]) for row in rows)
    named = done.stderr.splitlines()[-1].partition("to read them: ")[2].split("; ")
    assert [each.split()[1] for each in named] == ["theta", "fit", "validate"]
    for command in named:
        words = command.replace("FILE", str(file)).replace("CONFIG", config).split()
        read = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert read.returncode == 0, read.stderr
        assert f"{ratings}" in read.stdout or "conditions" in read.stdout


@pytest.mark.mosquitto
@pytest.mark.parametrize("workers", [1, 2])
async def test_each_rating_counts_once_over_kills(tmp_path: Path, workers: int) -> None:
    """Of sessions that end with a rating, while the daemon is killed and started again."""
    rng, sent = np.random.default_rng(1), np.zeros(5, np.int64)
    with Mosquitto(tmp_path) as broker:
        settings = {
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "reconnect": {"min": "100ms", "max": "200ms"}},
            "state": {"dir": str(tmp_path / "state"), "checkpoint": "2s"},
            "sessions": {"tick": "1s", "rating_interval": "10s", "timeout": "30s", "min_active": "1s"},
            "windows": ["10s"],
            "workers": workers,
        }
        with Daemon(tmp_path, settings) as daemon:
            await asyncio.to_thread(daemon.ready)
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                for number in range(60):
                    rating = rng.integers(1, 6, 50)
                    sent += np.bincount(rating - 1, minlength=5)
                    reports = [
                        {"session": f"{number}-{each}", "seq": 1, "ts": time.time(), "play_s": 5, "end": True}
                        | {"asked": True, "rating": int(given)}
                        for each, given in enumerate(rating)
                    ]
                    await client.publish("qoe/v1/video/eu/a", json.dumps(reports), qos=1)
                    await asyncio.sleep(0.2)
                    if number % 17 == 16:
                        await asyncio.to_thread(daemon.kill)
                        await asyncio.to_thread(daemon.start)
            await async_until(lambda: said(daemon)[1] >= sent.sum(), daemon.log.read_text)
            # Whatever was counted twice would come with another interval.
            later_s = time.time() + 11
            await async_until(
                lambda: daemon.value("qoemon_snapshot_timestamp_seconds") >= later_s, daemon.log.read_text
            )
            ratings, every = said(daemon)
    assert every == sent.sum()
    assert ratings.tolist() == sent.tolist()


def said(daemon: Daemon) -> tuple[np.ndarray, float]:
    """The counted ratings of video, (5,), and all opinions, those included that are not counted."""
    samples, ratings, unmatched = daemon.samples(), np.zeros(5, np.int64), 0.0
    for (name, labels), value in samples.items():
        if dict(labels).get("service") == "video":
            if name == "qoemon_feedback_ratings_total":
                ratings[int(dict(labels)["rating"]) - 1] = int(value)
            unmatched += value if name == "qoemon_feedback_unmatched_total" else 0
    return ratings, float(ratings.sum() + unmatched)


PATH = "/cmcd/v1/video/eu/a"


@dataclass
class Rated:
    """A daemon without a broker, and the port of its collector."""

    daemon: Daemon
    collector: int

    def post(self, body: str, content_type: str) -> None:
        with closing(HTTPConnection("127.0.0.1", self.collector)) as connection:
            connection.request("POST", PATH, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            assert answer.status == 204, answer.read()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return feedback(*words, "--url", f"http://127.0.0.1:{self.daemon.port}")


@pytest.fixture
def rated(start_daemon: Callable[..., Daemon]) -> Rated:
    collector = unused_port()
    settings = {
        "mqtt": None,
        "collector": {"port": collector},
        "sessions": {"tick": "1s", "rating_interval": "20s", "timeout": "60s", "min_active": "1s"},
        "windows": ["20s"],
    }
    return Rated(start_daemon(settings).ready(), collector)


def test_a_session_of_a_player_is_rated_by_a_report_with_its_session_id(rated: Rated) -> None:
    """The player speaks CMCD, the page around it JSON; the commands read it from the running daemon."""
    now_ms = round(1000 * time.time())
    states = [(-4000, "ps", "s"), (-3900, "ps", "p"), (-2000, "ps", "r"), (-1500, "ps", "p"), (0, "ps", "e")]
    records = [
        f'e={event},sid="6e2fb550",sn={number},sta={state},ts={now_ms + after_ms},v=2'
        for number, (after_ms, event, state) in enumerate(states)
    ]
    rated.post("\n".join(records) + "\n", "application/cmcd")
    said = {"session": "6e2fb550", "rating": 3, "asked": True, "ts": now_ms / 1000}
    rated.post(json.dumps(said), "application/json")
    until(lambda: counted(rated.daemon, "ratings_total"), rated.daemon.log.read_text, limit_s=2 * WAIT_S)
    assert not counted(rated.daemon, "unmatched_total")

    shown = rated.command("show", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    figures = json.loads(shown.stdout)
    assert (figures["service"], figures["rated_sessions"], figures["ratings"]["3"]) == ("video", 1, 1)
    [row] = csv.DictReader(rated.command("export").stdout.splitlines())
    assert (row["3"], row["asked"], row["sessions"]) == ("1", "1", "1")
    assert int(row["stall_count"]) > 0
    assert float(row["stall_s"]) > 0

    few = rated.command("test")
    assert (few.returncode, few.stderr, few.stdout.count("\n")) == (3, "", 1)
    kept = rated.command("fit")
    assert (kept.returncode, kept.stderr) == (0, "")
    assert "Keep what you have: 1 day with ratings" in " ".join(kept.stdout.split())
    assert "services:" not in kept.stdout


def counted(daemon: Daemon, name: str) -> float:
    """The sum of a counter of feedback."""
    return sum(value for (metric, _), value in daemon.samples().items() if metric == f"qoemon_feedback_{name}")


def test_without_ratings_commands_say_what_to_do(rated: Rated) -> None:
    which = rated.command("show")
    assert which.returncode == 2
    assert re.fullmatch(r"qoemon: which service\? video, web are there, none with ratings .*\n", which.stderr)
    none = rated.command("fit", "video")
    assert none.returncode == 1
    assert re.fullmatch(r"qoemon: service video has no ratings yet in http://127.*: send .*\n", none.stderr)
    unknown = rated.command("test", "tv")
    assert unknown.returncode == 2
    assert re.fullmatch(r"qoemon: no service 'tv' in http://127.*; it has video, web\n", unknown.stderr)
    few = rated.command("test", "video")
    assert (few.returncode, few.stderr) == (3, "")


def test_a_daemon_that_is_away_is_no_verdict() -> None:
    """1 means that the model is off, and nothing else."""
    url = f"http://127.0.0.1:{unused_port()}"
    for command, code in (("test", 2), ("show", 1), ("fit", 1), ("export", 1)):
        done = feedback(command, "video", "--url", url)
        assert (done.returncode, done.stdout) == (code, "")
        refused = "connection refused; expected a running qoemon there"
        assert done.stderr == f"qoemon: no feedback from {url}/api/v1/snapshot?by=: {refused}\n"
