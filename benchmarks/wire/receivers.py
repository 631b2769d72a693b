"""Who receives: the daemon, and its rivals, each a process of its own beside the same broker.

A receiver counts what it has taken in, so that its CPU time is told for each message that it really had.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from benchmarks.wire import cpu
from tests.support.parts import Daemon, Part, get, parsed, program

FILTER = "qoe/v1/#"
SETTLED_S = 0.6
"""Who has not used the CPU for so long has nothing more to do."""

PATIENCE_S = 120.0


class Receiver(Protocol):
    """Started and subscribed; told how many messages it is to receive."""

    name: str

    def cost(self, messages: int, send: Callable[[], None]) -> float:
        """CPU seconds that it takes for them, once `send` has been called; AssertionError if some are lost."""


class Qoemon(Daemon):
    """The daemon, subscribed.

    durability  of its state; None for the default
    topics      None for the default
    """

    def __init__(
        self,
        directory: Path,
        broker_port: int,
        qos: int,
        *,
        durability: str | None = None,
        topics: list[str] | None = None,
        **more: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "mqtt": {"host": "127.0.0.1", "port": broker_port, "client_id": f"bench-{time.time_ns()}", "qos": qos},
            "sessions": {"tick": "1s"},
            "limits": {"inbox_messages": 1_000_000, "inbox_bytes": "512MiB"},
            "alerts": [],
            "log": {"level": "warning"},
        }
        if topics is not None:
            settings["mqtt"]["topics"] = topics
        if durability is not None:
            settings["state"] = {"dir": str(directory / "state"), "durability": durability}
        super().__init__(directory, settings | more)

    def __enter__(self) -> Self:
        self.start()
        return self.ready()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def reports(self) -> float:
        """Reports that it has taken in, by its newest tick."""
        return self.value("qoemon_reports_total")

    def cost(self, reports: int, send: Callable[[], None]) -> float:
        """CPU seconds from the first to the tick that has all of them in it; ticks included."""
        before, began = self.reports(), cpu.seconds(self.pid)
        send()
        deadline_s = time.monotonic() + PATIENCE_S
        while (taken := self.reports() - before) < reports:
            assert time.monotonic() < deadline_s, f"{self.name}: {taken} of {reports} reports, see {self.log}"
            time.sleep(0.2)
        return cpu.seconds(self.pid) - began


class MosquittoSub:
    """mosquitto's own subscriber, a C program that writes what it receives to /dev/null."""

    name = "mosquitto_sub"

    def __init__(self, broker_port: int, qos: int) -> None:
        self._command = [program(self.name, "Debian package mosquitto-clients"), "-h", "127.0.0.1"]
        self._command += ["-p", str(broker_port), "-t", FILTER, "-q", str(qos)]

    def cost(self, messages: int, send: Callable[[], None]) -> float:
        process = subprocess.Popen([*self._command, "-C", str(messages)], stdout=subprocess.DEVNULL)
        time.sleep(0.5)  # Until it has subscribed; it does not tell.
        send()
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_utime + usage.ru_stime
            if time.monotonic() > deadline_s:
                process.kill()
                raise AssertionError(f"{self.name} has not had {messages} messages within {PATIENCE_S:g} s")
            time.sleep(0.05)


class Exporter(Part):
    """A rival that serves Prometheus metrics, and among them how many messages it has had."""

    counter: str

    def cost(self, messages: int, send: Callable[[], None]) -> float:
        assert self._process is not None
        pid = self._process.pid
        time.sleep(0.5)
        before, began = self._messages(), cpu.seconds(pid)
        send()
        _settle(pid)
        spent = cpu.seconds(pid) - began  # Before it is asked: answering is no part of it.
        taken = self._messages() - before
        assert taken >= messages, f"{self.name} has had {taken:g} of {messages} messages, see {self.log}"
        return spent

    def _messages(self) -> float:
        samples = parsed(get(self.port, "/metrics").body)
        return sum(value for (name, _), value in samples.items() if name == self.counter)


class PrometheusMqttExporter(Exporter):
    """Debian's, a Go program; the same JSON, three gauges out of each message."""

    counter = "received_messages_total"  # as the parser names it

    def __init__(self, directory: Path, broker_port: int) -> None:
        super().__init__("prometheus-mqtt-exporter", directory)
        self._broker_port = broker_port

    def command(self) -> list[str]:
        metrics = [f"{{prom_name: {name}, mqtt_name: {name}, help: {name}, type: gauge}}" for name in FIELDS]
        lines = [
            f"mqtt: {{server: 'tcp://127.0.0.1:{self._broker_port}', topic_path: '{FILTER}', qos: 0}}",
            "cache: {timeout: 60m}",
            f"metrics: [{', '.join(metrics)}]",
        ]
        file = self.directory / f"{self.name}.yaml"
        file.write_text("\n".join(lines), encoding="utf-8")
        found = program(self.name, "Debian package prometheus-mqtt-exporter")
        listen = ["-listen-address", "127.0.0.1", "-listen-port", str(self.port)]
        return [found, "-config", str(file), "-log-level", "error", *listen]


FIELDS = ("stall_count", "stall_s", "play_s")


class MqttExporter(Exporter):
    """PyPI's, on paho; a gauge of each number in each message."""

    counter = "mqtt_message_total"

    def __init__(self, directory: Path, broker_port: int) -> None:
        super().__init__("mqtt-exporter", directory)
        self._broker_port = broker_port
        self.python = rival_python()

    def command(self) -> list[str]:
        told = {
            "MQTT_ADDRESS": "127.0.0.1",
            "MQTT_PORT": self._broker_port,
            "MQTT_TOPIC": FILTER,
            "PROMETHEUS_ADDRESS": "127.0.0.1",
            "PROMETHEUS_PORT": self.port,
            "LOG_LEVEL": "ERROR",
        }
        environment = [f"{name}={value}" for name, value in told.items()]
        return ["/usr/bin/env", *environment, str(self.python), "-m", "mqtt_exporter"]


def rival_python() -> Path:
    """The interpreter of the virtual environment where mqtt-exporter is: its paho must not become ours.

    Where BENCH_RIVALS says, or in .venv-rivals, which is made when it is not there.
    """
    place = Path(os.environ.get("BENCH_RIVALS", ".venv-rivals")).absolute()
    if not (place / "bin" / "mqtt-exporter").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", "mqtt-exporter==1.12.1"], check=True)
    return place / "bin" / "python"


def _settle(pid: int) -> None:
    """Wait until the process rests."""
    deadline_s, used, since_s = time.monotonic() + PATIENCE_S, -1.0, time.monotonic()
    while time.monotonic() - since_s < SETTLED_S and time.monotonic() < deadline_s:
        now = cpu.seconds(pid)
        if now > used + 0.01:
            used, since_s = now, time.monotonic()
        time.sleep(0.05)


def versions() -> Mapping[str, str]:
    """Of the rivals and the broker, as they tell them."""
    asked = {
        "mosquitto": [program("mosquitto", "Debian package mosquitto"), "-h"],
        "prometheus-mqtt-exporter": [
            program("prometheus-mqtt-exporter", "Debian package prometheus-mqtt-exporter"),
            "-version",
        ],
        "mqtt-exporter": [
            str(rival_python()),
            "-c",
            "from importlib.metadata import version as v; print(v('mqtt-exporter'))",
        ],
    }
    return {name: _version(command) for name, command in asked.items()}


def _version(command: list[str]) -> str:
    """The first thing like a version that it says."""
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", told.stdout + told.stderr)
    return found[0] if found else "unknown"
