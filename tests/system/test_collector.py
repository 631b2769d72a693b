"""The collector of a real daemon: each request that was answered with 204 counts exactly once, at any trouble."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest
from paho.mqtt.publish import single

from tests.support.parts import ROOT, Daemon, Mosquitto, children, unused_port
from tests.support.patience import LOOK_S, TEST_S, WAIT_S, until
from tests.support.stream import ROUNDS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(2 * TEST_S)

PATH = "/cmcd/v1/video/eu/a"
JSON = "application/json"
CLIENTS = 8
SHARDED = "qoe/v1/{service}/{region}/{cdn}/{shard}"


class Collecting(Daemon):
    """A daemon with a collector, and by default without a broker."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.collector = unused_port()
        super().__init__(
            directory,
            {
                "mqtt": None,
                "sessions": {"tick": "1s", "rating_interval": "600s", "timeout": "600s", "clock": "arrival"},
                "windows": ["600s"],
                "state": {"dir": str(directory / "state"), "checkpoint": "2s"},
                **settings,
                "collector": {"port": self.collector, **settings.get("collector", {})},
            },
        )

    def write(self, **collector: Any) -> None:
        """Change its section `collector` in the file."""
        before = self._settings["collector"]
        self._settings = {**self._settings, "collector": {**before, **collector}}
        self.command()

    def post(self, payload: object, path: str = PATH) -> Response:
        """Post reports on a connection of their own."""
        return self.send(json.dumps(payload), JSON, path)

    def send(self, body: str, content_type: str, path: str = PATH) -> Response:
        """Post a body on a connection of its own."""
        with contextlib.closing(HTTPConnection("127.0.0.1", self.collector, timeout=WAIT_S)) as connection:
            return posted(connection, body.encode(), path, content_type)

    @property
    def workers(self) -> list[int]:
        """Their processes, oldest first."""
        return sorted(pid for pid, command in children(self.pid).items() if "qoemon.engine.workers" in command)


class Response(NamedTuple):
    """What a client gets."""

    status: int
    retry_after: str | None


def posted(connection: HTTPConnection, body: bytes, path: str = PATH, content_type: str = JSON) -> Response:
    connection.request("POST", path, body, {"Content-Type": content_type})
    answer = connection.getresponse()
    answer.read()
    return Response(answer.status, answer.headers["Retry-After"])


class Crowd:
    """Clients that post one report after the other, each until it is answered with 204: as players resend.

    pause_s  between two attempts
    """

    def __init__(self, port: int, name: str = "s", pause_s: float = LOOK_S) -> None:
        self._port, self._name, self._pause_s = port, name, pause_s
        self.answered = Counter[int]()
        """Answers by status; 0 is a connection that ended without one."""
        self.stored = 0
        """Reports answered with 204."""
        self.retry_after = set[str | None]()
        """What answers 429 and 503 said."""
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Each client has its last report stored, before it ends."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        connection, seq = HTTPConnection("127.0.0.1", self._port, timeout=WAIT_S), 0
        while not self._stopping.is_set():
            seq += 1
            # Several sessions a request: with workers, each gets a part of them.
            reports = [
                {"session": f"{self._name}{client}-{one}", "seq": seq, "ts": time.time(), "play_s": seq / 10}
                for one in range(3)
            ]
            body = json.dumps(reports).encode()
            while (status := self._attempt(connection, body)) != 204:
                with self._lock:
                    self.answered[status] += 1
                time.sleep(self._pause_s)
            with self._lock:
                self.answered[204] += 1
                self.stored += len(reports)
        connection.close()

    def _attempt(self, connection: HTTPConnection, body: bytes) -> int:
        try:
            response = posted(connection, body)
        except (OSError, HTTPException):
            connection.close()
            return 0
        if response.status in {429, 503}:
            with self._lock:
                self.retry_after.add(response.retry_after)
        return response.status


def counted(daemon: Daemon, reports: int) -> None:
    """Wait until so many reports count, and see that no more do."""
    until(
        lambda: daemon.value("qoemon_reports_total") >= reports, lambda: f"of {reports}; {daemon.log.read_text()}"
    )
    newest = daemon.value("qoemon_snapshot_timestamp_seconds")
    until(lambda: daemon.value("qoemon_snapshot_timestamp_seconds") > newest, daemon.log.read_text)
    assert daemon.value("qoemon_reports_total") == reports
    assert "Traceback" not in daemon.log.read_text()


def seen(crowd: Crowd, number: int) -> None:
    """Wait until so many more reports are stored."""
    goal = crowd.stored + number
    until(lambda: crowd.stored >= goal, lambda: f"{crowd.answered}")


ONE: dict[str, Any] = {}
TWO: dict[str, Any] = {"workers": 2}
PROCESSES = pytest.mark.parametrize("processes", [ONE, TWO], ids=["alone", "workers"])


@PROCESSES
def test_a_killed_daemon_counts_every_answered_request_once(tmp_path: Path, processes: dict[str, Any]) -> None:
    rng = random.Random(os.environ.get("QOEMON_CHAOS_SEED", "1"))
    with Collecting(tmp_path, **processes) as daemon:
        daemon.ready()
        with Crowd(daemon.collector) as crowd:
            for _round in range(ROUNDS):
                seen(crowd, 50)
                time.sleep(rng.uniform(0.0, 1.5))
                daemon.kill()
                daemon.start()
            seen(crowd, 50)
        assert crowd.answered[0] >= ROUNDS  # Killed under load: requests were on their way.
        counted(daemon, crowd.stored)


@PROCESSES
def test_records_that_a_player_sends_again_after_a_kill_are_repetitions(
    tmp_path: Path, processes: dict[str, Any]
) -> None:
    """As after an answer that was lost: `sn` and `ts` are the same."""
    start_ms = int(time.time() * 1000)
    bodies = [
        "\n".join(
            f'e=ps,sid="player-{player}",sn={sn},sta={state},ts={start_ms + 1000 * sn},v=2'
            for sn, state in enumerate("sprp")
        )
        for player in range(10)
    ]
    with Collecting(tmp_path, **processes) as daemon:
        daemon.ready()
        assert {daemon.send(body, "application/cmcd").status for body in bodies} == {204}
        daemon.kill()
        daemon.start()
        daemon.ready()
        assert {daemon.send(body, "application/cmcd").status for body in bodies} == {204}
        again = "qoemon_cmcd_records_duplicate_total"
        until(lambda: daemon.value(again) == 40, lambda: f"{daemon.value(again)}; {daemon.log.read_text()}")
        assert daemon.value("qoemon_sessions") == 10


def test_killed_workers_count_every_answered_request_once(tmp_path: Path) -> None:
    rng = random.Random(os.environ.get("QOEMON_CHAOS_SEED", "1"))
    with Collecting(tmp_path, **TWO) as daemon:
        daemon.ready()
        with Crowd(daemon.collector) as crowd:
            for _round in range(ROUNDS):
                seen(crowd, 50)
                time.sleep(rng.uniform(0.0, 1.5))
                until(lambda: len(daemon.workers) == 2, daemon.log.read_text)
                os.kill(rng.choice(daemon.workers), signal.SIGKILL)
            seen(crowd, 50)
        counted(daemon, crowd.stored)
        assert daemon.log.read_text().count("was killed (SIGKILL)") >= 1


@PROCESSES
def test_a_stop_answers_what_it_has_and_refuses_the_rest(tmp_path: Path, processes: dict[str, Any]) -> None:
    """No connection ends without an answer while requests are on their way: 204 for what is stored, then 503."""
    with Collecting(tmp_path, **processes) as daemon:
        daemon.ready()
        with Crowd(daemon.collector) as crowd:
            seen(crowd, 50)
            assert daemon.signal(signal.SIGTERM) == 0
            stored = crowd.stored
            daemon.start()
            seen(crowd, 50)
        counted(daemon, crowd.stored)
        assert stored
        replayed = re.findall(r"(\d+) messages of the journal replayed", daemon.log.read_text())
        assert set(replayed) == {"0"}  # All was in the last checkpoints.


@PROCESSES
def test_an_inbox_that_is_full_is_429_and_everything_arrives_by_resending(
    tmp_path: Path, processes: dict[str, Any]
) -> None:
    limits = {"inbox_messages": 2}
    with Collecting(tmp_path, limits=limits, **processes) as daemon:
        daemon.ready()
        with Crowd(daemon.collector) as crowd:
            until(lambda: crowd.answered[429], lambda: f"{crowd.answered}")
            seen(crowd, 50)
        assert crowd.retry_after
        assert all(crowd.retry_after)
        counted(daemon, crowd.stored)


BROKER = pytest.mark.parametrize(
    ("topics", "processes"),
    [({}, ONE), ({}, TWO), ({"topics": [SHARDED], "shards": 4}, TWO)],
    ids=["alone", "routed", "sharded"],
)


@pytest.mark.mosquitto
@BROKER
def test_a_broker_and_a_collector_count_in_one_daemon(
    tmp_path: Path, topics: dict[str, Any], processes: dict[str, Any]
) -> None:
    """Sessions of either input, and where topics have no {shard} also sessions of both."""
    with Mosquitto(tmp_path) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "client_id": "both", **topics}
        with Collecting(tmp_path, mqtt=mqtt, **processes) as daemon:
            daemon.ready()

            def publish(session: str, seq: int) -> None:
                report = json.dumps({"session": session, "seq": seq, "play_s": 10.0 * seq})
                level = f"/{int(session[1:]) % 4}" if topics else ""
                single(f"qoe/v1/video/eu/a{level}", report, qos=1, hostname="127.0.0.1", port=broker.port)

            for number in range(20):
                publish(f"m{number}", 1)
                assert daemon.post({"session": f"h{number}", "seq": 1, "play_s": 10.0}).status == 204
            both = 0 if topics else 10
            for number in range(both):
                assert daemon.post({"session": f"m{number}", "seq": 2, "play_s": 20.0}).status == 204
                assert daemon.post({"session": f"m{number}", "seq": 1, "play_s": 10.0}).status == 204  # Again.
                publish(f"h{number}", 2)
            counted(daemon, 40 + 2 * both)
            assert daemon.value("qoemon_sessions") == 40
            assert daemon.value("qoemon_mqtt_connected") == 1
            daemon.kill()
            daemon.start()
            daemon.ready()
            counted(daemon, 40 + 2 * both)


def test_without_a_broker_nothing_is_said_about_one(tmp_path: Path) -> None:
    with Collecting(tmp_path) as daemon:
        daemon.ready()
        assert daemon.post({"session": "one", "play_s": 10.0}).status == 204
        counted(daemon, 1)
        names = {name for name, _ in daemon.samples()}
        assert not [name for name in names if "mqtt" in name or name == "qoemon_messages_total"]
        assert "broker" not in daemon.log.read_text()


def test_a_stop_waits_for_requests_that_are_not_stored_yet(tmp_path: Path) -> None:
    """They are answered with 204, while new ones get 503."""
    with Collecting(tmp_path, **TWO, shutdown_timeout=f"{WAIT_S:g}s") as daemon:
        daemon.ready()
        until(lambda: len(daemon.workers) == 2, daemon.log.read_text)
        os.kill(daemon.workers[0], signal.SIGSTOP)
        reports = [{"session": f"s{number}", "play_s": 10.0} for number in range(20)]  # Of both workers.
        with ThreadPoolExecutor() as clients:
            pending = clients.submit(daemon.post, reports)
            until(lambda: daemon.value("qoemon_inbox_messages") == 1, daemon.log.read_text)
            stopping = clients.submit(daemon.signal, signal.SIGTERM)
            # A request that comes before the signal would wait for the stopped worker, too.
            until(lambda: "shutting down" in daemon.get("/readyz").body, daemon.log.read_text)
            assert daemon.post(reports[0]) == Response(503, "5")
            assert not pending.done()
            os.kill(daemon.workers[0], signal.SIGCONT)
            assert pending.result().status == 204
            assert stopping.result() == 0
        daemon.start()
        counted(daemon, 20)


def ended(directory: Path, **settings: Any) -> tuple[int, str]:
    """The exit code and the log of a daemon that does not start."""
    command = Collecting(directory, **settings).command()
    end = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S)
    return end.returncode, end.stderr


def test_what_prevents_the_start_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, log = ended(tmp_path, collector={"port": port})
        assert code == 1
        line = f"qoemon: cannot listen on 127.0.0.1 port {port} (collector): Address already in use: "
        assert log.splitlines()[-1].startswith(line)
        assert "set another collector.port" in log.splitlines()[-1]
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.pem}")
    for collector, words in (
        ({"token_file": str(tmp_path / "nowhere")}, "collector.token_file: "),
        ({"web_config_file": str(web)}, "tls_server_config.cert_file: "),
    ):
        code, log = ended(tmp_path, collector=collector)
        assert code == 2
        assert words in log


def test_keys_of_counting_change_while_it_runs_and_those_of_the_listener_ask_for_a_restart(tmp_path: Path) -> None:
    with Collecting(tmp_path) as daemon:
        daemon.ready()
        daemon.write(reorder="3s", heartbeat="10s")
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: "changed: collector" in daemon.log.read_text(), daemon.log.read_text)
        daemon.write(body_bytes="1MiB", paths=["/other/{service}"])
        os.kill(daemon.pid, signal.SIGHUP)
        words = "collector.paths, collector.body_bytes cannot change while qoemon runs: restart it"
        until(lambda: words in daemon.log.read_text(), daemon.log.read_text)
        assert daemon.post({"session": "one", "play_s": 10.0}).status == 204
