"""A recording of a running daemon has what the daemon acknowledged in that time, exactly once, at any trouble."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.publish import single

from qoemon.core.wire.message import Kind
from qoemon.tools.recordings.recording import Recording
from tests.support.parts import ROOT, Mosquitto
from tests.support.patience import TEST_S, WAIT_S, until
from tests.support.stream import ROUNDS
from tests.system.test_collector import PROCESSES, TWO, Collecting, Crowd, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(2 * TEST_S)


def command_of(daemon: Collecting, path: Path) -> list[str]:
    """The command that records what the daemon stores."""
    configuration = str(daemon.directory / "qoemon.yaml")
    return [sys.executable, "-m", "qoemon", "record", str(path), "-c", configuration, "--daemon"]


@contextlib.contextmanager
def recorded(daemon: Collecting, path: Path) -> Iterator[None]:
    """Record what the daemon stores, by the command line, while the block runs."""
    with (path.parent / "record.log").open("wb") as log:
        recorder = subprocess.Popen(command_of(daemon, path), cwd=ROOT, stderr=log)
    try:
        until(path.exists, (path.parent / "record.log").read_text)
        yield
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(WAIT_S) == 0
    finally:
        recorder.kill()
        recorder.wait()


def said(path: Path) -> str:
    """The last line of the recorder."""
    return (path.parent / "record.log").read_text().splitlines()[-1]


def reports(path: Path) -> Counter[tuple[str, int]]:
    """How often each report is in the recording, by session and number."""
    found: Counter[tuple[str, int]] = Counter()
    for message in Recording(path).messages():
        some = json.loads(message.payload)
        found.update((each["session"], each["seq"]) for each in (some if isinstance(some, list) else [some]))
    return found


@PROCESSES
def test_every_answered_request_is_in_the_recording_once(tmp_path: Path, processes: dict[str, Any]) -> None:
    """While checkpoints empty the journal."""
    path = tmp_path / "r.gz"
    with Collecting(tmp_path, **processes) as daemon:
        daemon.ready()
        with Crowd(daemon.collector, "before") as crowd:
            seen(crowd, 50)
        with recorded(daemon, path), Crowd(daemon.collector) as crowd:
            goal = daemon.value("qoemon_checkpoints_total") + 3
            until(lambda: daemon.value("qoemon_checkpoints_total") >= goal, daemon.log.read_text)
            seen(crowd, 50)
    found = reports(path)
    assert "missing" not in said(path)
    assert len(found) == crowd.stored
    assert set(found.values()) == {1}
    assert not [session for session, _ in found if session.startswith("before")]
    times_s = [message.arrival_s for message in Recording(path).messages()]
    assert times_s == sorted(times_s)


@PROCESSES
def test_the_recording_goes_on_over_kills_and_restarts(tmp_path: Path, processes: dict[str, Any]) -> None:
    """Also of what was stored, but not answered: the client sends it again, and the daemon counts it once."""
    rng, path = random.Random(os.environ.get("QOEMON_CHAOS_SEED", "1")), tmp_path / "r.gz"
    # On a busy machine, the recorder may not read for as long as two of the usual checkpoints.
    with Collecting(tmp_path, state={"dir": str(tmp_path / "state"), "checkpoint": "10s"}, **processes) as daemon:
        daemon.ready()
        with recorded(daemon, path), Crowd(daemon.collector) as crowd:
            for _round in range(ROUNDS):
                seen(crowd, 50)
                time.sleep(rng.uniform(0.0, 1.5))
                daemon.kill()
                daemon.start()
            seen(crowd, 50)
            daemon.restart()
            seen(crowd, 50)
    assert "missing" not in said(path)
    found = reports(path)
    assert len(found) == crowd.stored
    # What a kill left without an answer was sent again, at most one request of each client.
    assert found.total() - len(found) <= 3 * crowd.answered[0]


def test_a_daemon_with_other_workers_is_followed(tmp_path: Path) -> None:
    path, stored = tmp_path / "r.gz", 0
    with contextlib.ExitStack() as recording:
        for number, processes in enumerate(({}, TWO)):
            with Collecting(tmp_path, **processes) as daemon:
                daemon.ready()
                if not number:
                    recording.enter_context(recorded(daemon, path))
                with Crowd(daemon.collector, f"{number}-") as crowd:
                    seen(crowd, 50)
            stored += crowd.stored
    found = reports(path)
    assert len(found) == stored
    assert set(found.values()) == {1}


@pytest.mark.mosquitto
@PROCESSES
def test_messages_of_the_broker_are_in_it_too(tmp_path: Path, processes: dict[str, Any]) -> None:
    path = tmp_path / "r.gz"
    with Mosquitto(tmp_path) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "client_id": "both"}
        with Collecting(tmp_path, mqtt=mqtt, **processes) as daemon:
            daemon.ready()
            with recorded(daemon, path):
                for number in range(40):
                    report = json.dumps({"session": f"m{number}", "seq": 1, "play_s": 10.0})
                    single("qoe/v1/video/eu/a", report, qos=1, hostname="127.0.0.1", port=broker.port)
                    assert daemon.post({"session": f"h{number}", "seq": 1, "play_s": 10.0}).status == 204
                until(lambda: daemon.value("qoemon_reports_total") == 80, daemon.log.read_text)
    assert reports(path) == Counter({(f"{kind}{number}", 1): 1 for kind in "mh" for number in range(40)})
    kinds = Counter((message.kind, message.topic) for message in Recording(path).messages())
    assert kinds == {(Kind.MQTT, "qoe/v1/video/eu/a"): 40, (Kind.HTTP, "/cmcd/v1/video/eu/a"): 40}


def test_what_the_recorder_was_too_late_for_is_said(tmp_path: Path) -> None:
    """It was stopped for longer than two checkpoints."""
    path = tmp_path / "r.gz"
    with Collecting(tmp_path, state={"dir": str(tmp_path / "state"), "checkpoint": "100ms"}) as daemon:
        daemon.ready()
        recorder = subprocess.Popen(command_of(daemon, path), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        until(path.exists, lambda: "no file")
        recorder.send_signal(signal.SIGSTOP)
        before = daemon.value("qoemon_checkpoints_total")
        with Crowd(daemon.collector) as crowd:
            until(lambda: daemon.value("qoemon_checkpoints_total") > before + 5, daemon.log.read_text)
            seen(crowd, 50)
        recorder.send_signal(signal.SIGCONT)
        recorder.send_signal(signal.SIGINT)
        _, text = recorder.communicate(timeout=WAIT_S)
    assert " commits are missing (some 0.1 s each): the daemon removed them before they were read" in text
    assert len(reports(path)) < crowd.stored
