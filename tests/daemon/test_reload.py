"""SIGHUP, SIGTERM and systemd, with a real daemon."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.publish import single

from tests.support.parts import Daemon, Mosquitto, Nats
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def settings(port: int, **more: Any) -> dict[str, Any]:
    return {
        "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
        "sessions": {"tick": "1s", "rating_interval": "30s", "timeout": "30s", "min_active": "1s"},
        "windows": ["30s"],
        **more,
    }


VIDEO = {"mapping": "video-stall", "theta": 0.2}
WEB = {"mapping": "web-iqx", "theta": 0.25}


class Reloadable(Daemon):
    """A daemon whose configuration can be changed."""

    def write(self, **more: Any) -> None:
        self._settings = {**self._settings, **more}
        self.command()

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def logged(self, words: str) -> None:
        until(lambda: words in self.log.read_text(), self.log.read_text)

    def metric(self, name: str) -> float:
        return self.samples().get((name, ()), -1.0)


@contextlib.contextmanager
def reloadable(tmp_path: Path, **more: Any) -> Iterator[tuple[Reloadable, Nats]]:
    with Nats(tmp_path) as broker, Reloadable(tmp_path, settings(broker.port, **more)) as daemon:
        daemon.ready()
        yield daemon, broker


def observed(daemon: Daemon, service: str) -> int:
    """Number of observations in the base window."""
    told = next((each for each in daemon.snapshot().get("services", ()) if each["service"] == service), None)
    return 0 if told is None else sum(group["windows"]["30s"]["observations"] for group in told["groups"])


def publish(broker: Nats, service: str, report: dict[str, Any]) -> None:
    topic, payload = f"qoe/v1/{service}/eu/a", json.dumps(report)
    single(topic, payload, qos=1, hostname="127.0.0.1", port=broker.port, protocol=MQTTProtocolVersion.MQTTv311)


def test_services_change_while_it_runs_and_the_others_keep_their_windows(tmp_path: Path) -> None:
    with reloadable(tmp_path, services={"video": VIDEO, "web": WEB}) as (daemon, broker):
        publish(broker, "video", {"session": "v", "play_s": 20})
        publish(broker, "web", {"session": "p", "response_s": 1.0})
        until(lambda: observed(daemon, "video") == observed(daemon, "web") == 1, daemon.log.read_text)
        daemon.write(
            services={
                "video": VIDEO,
                "web": WEB
                | {
                    "mapping": "iqx",
                    "inputs": ["response_s"],
                    "parameters": {"scale": 3.0, "beta": 0.5, "floor": 1.0},
                },
                "live": VIDEO,
            }
        )
        daemon.reload()
        daemon.logged("rated differently than before, so windows and sessions are reset: web\n")
        daemon.logged("reloaded; changed: services")
        until(lambda: len(daemon.snapshot()["services"]) == 3, daemon.log.read_text)
        assert observed(daemon, "video") == 1
        assert observed(daemon, "web") == 0
        publish(broker, "live", {"session": "l", "play_s": 20})
        until(lambda: observed(daemon, "live") == 1, daemon.log.read_text)
        assert daemon.metric("qoemon_config_last_reload_successful") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"windows": ["30s", "1m"]}, "windows cannot change while qoemon runs: restart it"),
        ({"services": {"video": VIDEO}, "log": {"level": "debug"}}, "log cannot change while qoemon runs"),
        ({"services": {"video": {"mapping": "no-such", "theta": 0.2}}}, "no-such"),
    ],
)
def test_what_cannot_change_is_named_and_nothing_changes(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with reloadable(tmp_path) as (daemon, broker):
        before = [service["service"] for service in daemon.snapshot()["services"]]
        daemon.write(**change)
        daemon.reload()
        daemon.logged("reload failed, keeping the running configuration: ")
        assert words in daemon.log.read_text()
        until(lambda: daemon.metric("qoemon_config_last_reload_successful") == 0, daemon.log.read_text)
        assert [service["service"] for service in daemon.snapshot()["services"]] == before
        publish(broker, "video", {"session": "v", "play_s": 20})
        until(lambda: observed(daemon, "video") == 1, daemon.log.read_text)


class Overridden(Reloadable):
    """A daemon with a flag."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--set", "confidence=.9"]


def test_a_reload_keeps_what_a_flag_sets(tmp_path: Path) -> None:
    with Nats(tmp_path) as broker, Overridden(tmp_path, settings(broker.port, confidence=0.8)) as daemon:
        daemon.ready()
        daemon.write(confidence=0.7)
        daemon.reload()
        daemon.logged("reloaded; changed: nothing")


def test_systemd_is_told_of_the_start_the_reload_the_watchdog_and_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = str(tmp_path / "notify")
        systemd.bind(address)
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        told: list[str] = []

        def heard(words: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    told.extend(systemd.recv(4096).decode().splitlines())
            return words in told

        with reloadable(tmp_path) as (daemon, _):
            until(lambda: heard("READY=1"), lambda: str(told))
            until(lambda: heard("WATCHDOG=1") and told.count("WATCHDOG=1") >= 3, lambda: str(told))
            told.clear()
            daemon.reload()
            until(lambda: heard("RELOADING=1") and heard("READY=1"), lambda: str(told))
        assert heard("STOPPING=1")


def test_state_is_kept_where_systemd_says_and_a_second_daemon_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with reloadable(tmp_path) as (daemon, broker):
        publish(broker, "video", {"session": "v", "play_s": 20})
        until(lambda: observed(daemon, "video") == 1, daemon.log.read_text)
        second = Reloadable(tmp_path, settings(broker.port), name="second")
        with contextlib.suppress(pytest.fail.Exception):  # Its port may answer for a moment.
            second.start()
        second.logged(f"another qoemon (process {daemon.pid}) keeps its state in")
        second.kill()
        assert "Traceback" not in second.log.read_text()
        assert daemon.signal(signal.SIGTERM) == 0
        daemon.start()
        daemon.ready()
        assert daemon.metric("qoemon_reports_total") == 1


@pytest.mark.mosquitto
def test_a_rotated_password_needs_no_restart_and_a_reload_accepts_it(tmp_path: Path) -> None:
    file = tmp_path / "broker.password"
    file.write_text("old-1\n")
    with Mosquitto(tmp_path, users={"reader": "old-1"}) as broker:
        mqtt = {
            "host": "127.0.0.1",
            "port": broker.port,
            "username": "reader",
            "password_file": str(file),
            "reconnect": {"min": "100ms", "max": "200ms"},
        }
        with Reloadable(tmp_path, settings(broker.port, mqtt=mqtt)) as daemon:
            daemon.ready()
            broker.stop()
            broker.users["reader"] = "new-2"
            broker.start()
            daemon.logged("check username")
            file.write_text("new-2\n")
            daemon.ready()
            daemon.reload()
            daemon.logged("reloaded; changed: nothing")
            assert "old-1" not in daemon.log.read_text()
            assert "new-2" not in daemon.log.read_text()


@pytest.mark.mosquitto
def test_rotated_secrets_of_receivers_are_accepted_by_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "receiver.secret"
    file.write_text("old-1\n")
    notify = {
        "alertmanagers": [{"url": "http://127.0.0.1:1", "username": "q", "password_file": str(file)}],
        "webhooks": [{"url": "http://127.0.0.1:1", "secret_file": str(file)}],
    }
    with Mosquitto(tmp_path) as broker, Reloadable(tmp_path, settings(broker.port, notify=notify)) as daemon:
        daemon.ready()
        file.write_text("new-2\n")
        daemon.reload()
        daemon.logged("reloaded; changed: nothing")
