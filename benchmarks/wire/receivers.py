"""The receivers: the daemon and its rivals, each a process of its own beside the same broker.

Each receiver counts the messages that it received. A receiver that loses some has no cost: it raises LostError.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from benchmarks.wire import cpu
from benchmarks.wire.figures import FAILURES
from tests.support.parts import Daemon, Part, get, parsed, program

FILTER = "qoe/v1/#"
SETTLED_S = 0.6
"""A process that has not used the CPU for so long is idle."""

PATIENCE_S = 60.0


class LostError(Exception):
    """A receiver did not get all messages."""

    def __init__(self, received: float, sent: int) -> None:
        super().__init__(f"lost {sent - received:,.0f} of {sent:,} messages")


class Receiver(Protocol):
    """A receiver that is started and subscribed."""

    name: str

    def cost(self, messages: int, send: Callable[[], None]) -> float:
        """CPU seconds that it spends on the messages that `send` sends; LostError if some are lost."""


class Ticks(NamedTuple):
    """Number of ticks and their seconds."""

    number: float
    seconds: float

    def mean_since(self, earlier: Ticks) -> float:
        """Mean seconds of the ticks since then; 0 without any."""
        return (self.seconds - earlier.seconds) / max(self.number - earlier.number, 1)


class Qoemon(Daemon):
    """The daemon. On entry it is started and subscribed.

    durability  of its state; None for the default
    topics      topic templates; None for the default
    transport   tcp or websockets
    """

    def __init__(
        self,
        directory: Path,
        broker_port: int,
        qos: int,
        *,
        durability: str | None = None,
        topics: list[str] | None = None,
        transport: str = "tcp",
        **more: Any,
    ) -> None:
        mqtt: dict[str, Any] = {"host": "127.0.0.1", "port": broker_port, "transport": transport}
        mqtt |= {"client_id": f"bench-{time.time_ns()}", "qos": qos}
        settings: dict[str, Any] = {
            "mqtt": mqtt,
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

    def ticks(self) -> Ticks:
        """Its ticks so far."""
        samples = self.samples()
        return Ticks(samples["qoemon_tick_seconds_count", ()], samples["qoemon_tick_seconds_sum", ()])

    def reports(self) -> float:
        """Reports that it has received up to its newest tick."""
        return self.value("qoemon_reports_total")

    def cost(self, reports: int, send: Callable[[], None]) -> float:
        """CPU seconds until a tick has all of them, ticks included; LostError after PATIENCE_S without progress."""
        before, began = self.reports(), cpu.seconds(self.pid)
        send()
        received, progress_s = 0.0, time.monotonic()
        while received < reports:
            time.sleep(0.2)
            now = self.reports() - before
            if now > received:
                received, progress_s = now, time.monotonic()
            elif time.monotonic() - progress_s > PATIENCE_S:
                raise LostError(received, reports)
        return cpu.seconds(self.pid) - began


class MosquittoSub:
    """mosquitto's own subscriber, a C program that writes what it receives to /dev/null."""

    name = "mosquitto_sub"

    def __init__(self, broker_port: int, qos: int) -> None:
        self._command = [program(self.name, "Debian package mosquitto-clients"), "-h", "127.0.0.1"]
        self._command += ["-p", str(broker_port), "-t", FILTER, "-q", str(qos)]

    def cost(self, messages: int, send: Callable[[], None]) -> float:
        process = subprocess.Popen([*self._command, "-C", str(messages)], stdout=subprocess.DEVNULL)
        time.sleep(0.5)  # It does not report that it has subscribed.
        send()
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_utime + usage.ru_stime
            if time.monotonic() > deadline_s:
                process.kill()
                process.wait()
                raise TimeoutError(f"did not receive {messages:,} messages within {PATIENCE_S:g} s")
            time.sleep(0.05)


class Exporter(Part):
    """A rival that serves Prometheus metrics, among them the number of messages received."""

    name: str
    counter: str

    def cost(self, messages: int, send: Callable[[], None]) -> float:
        pid = self.pid
        time.sleep(0.5)  # It does not report that it has subscribed.
        before, spent_s = self._messages(), 0.0
        earlier, received = -2.0, -1.0
        began_s = cpu.seconds(pid)
        send()
        # A starved process may look idle: messages are lost only if two counts agree. Counting is not in the cost.
        while received < messages and received != earlier:
            _settle(pid)
            spent_s += cpu.seconds(pid) - began_s
            earlier, received = received, self._messages() - before
            began_s = cpu.seconds(pid)
        if received < messages:
            raise LostError(received, messages)
        return spent_s

    def _messages(self) -> float:
        samples = parsed(get(self.port, "/metrics").body)
        return sum(value for (name, _), value in samples.items() if name == self.counter)


class PrometheusMqttExporter(Exporter):
    """Debian's exporter, in Go: three gauges out of the JSON of each message."""

    name = "prometheus-mqtt-exporter"
    counter = "received_messages_total"  # The parser's name of it.

    def __init__(self, directory: Path, broker_port: int) -> None:
        super().__init__(self.name, directory)
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
    """PyPI's exporter, in Python on paho: a gauge of each number in each message."""

    name = "mqtt-exporter"
    counter = "mqtt_message_total"

    def __init__(self, directory: Path, broker_port: int) -> None:
        super().__init__(self.name, directory)
        self._broker_port = broker_port
        self.python = rival_python()

    def command(self) -> list[str]:
        settings = {
            "MQTT_ADDRESS": "127.0.0.1",
            "MQTT_PORT": self._broker_port,
            "MQTT_TOPIC": FILTER,
            "PROMETHEUS_ADDRESS": "127.0.0.1",
            "PROMETHEUS_PORT": self.port,
            "LOG_LEVEL": "ERROR",
        }
        environment = [f"{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", *environment, str(self.python), "-m", "mqtt_exporter"]


def rival_python() -> Path:
    """Interpreter of the virtual environment of mqtt-exporter, which needs a paho of its own.

    BENCH_RIVALS names the directory, .venv-rivals if unset. It is created if it does not exist.
    """
    place = Path(os.environ.get("BENCH_RIVALS", ".venv-rivals")).absolute()
    if not (place / "bin" / "mqtt-exporter").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", "mqtt-exporter==1.12.1"], check=True)
    return place / "bin" / "python"


def _settle(pid: int) -> None:
    """Wait until the process is idle."""
    deadline_s, used, since_s = time.monotonic() + PATIENCE_S, -1.0, time.monotonic()
    while time.monotonic() - since_s < SETTLED_S and time.monotonic() < deadline_s:
        now = cpu.seconds(pid)
        if now > used + 0.01:
            used, since_s = now, time.monotonic()
        time.sleep(0.05)


VERSIONS: Mapping[str, Callable[[], list[str]]] = {
    "mosquitto": lambda: [program("mosquitto", "Debian package mosquitto"), "-h"],
    "prometheus-mqtt-exporter": lambda: ["dpkg-query", "--show", "prometheus-mqtt-exporter"],
    "mqtt-exporter": lambda: [
        str(rival_python()),
        "-c",
        "from importlib.metadata import version; print(version('mqtt-exporter'))",
    ],
}


def versions() -> Mapping[str, str]:
    """Versions of the broker and the rivals; "unknown" for a program that is missing."""
    return {name: _version(command) for name, command in VERSIONS.items()}


def _version(command: Callable[[], list[str]]) -> str:
    """The first version number in the output."""
    try:
        ended = subprocess.run(command(), capture_output=True, text=True, check=False)
    except FAILURES:
        return "unknown"
    found = re.search(r"\d+\.\d+\.\d+", ended.stdout + ended.stderr)
    return found[0] if found else "unknown"
