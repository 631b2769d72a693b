"""Latency of a loaded daemon, seen from outside: of an HTTP response, and from a report to /metrics."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from benchmarks.wire.load import Generator, publish
from benchmarks.wire.receivers import PATIENCE_S, LostError
from tests.support.parts import program

PROBE_TOPIC = b"qoe/v1/web/probe/probe"
SEEN = re.compile(rb'^qoemon_observations\{(?=[^}]*region="probe")(?=[^}]*window="1m")[^}]*\} (\S+)$', re.MULTILINE)


class HttpClient:
    """One persistent HTTP connection."""

    def __init__(self, port: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def get(self, path: str) -> bytes:
        """The body of the response."""
        self._wire.sendall(f"GET {path} HTTP/1.1\r\nHost: daemon\r\n\r\n".encode())
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._wire.recv(65536)
        length = re.search(rb"(?i)content-length: (\d+)", got[:end])
        assert length is not None, got[:end]
        missing = int(length[1]) - (len(got) - end - 4)
        return got[end + 4 :] + (self._wire.recv(missing, socket.MSG_WAITALL) if missing else b"")


BARE = """
import socket
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    connection, _ = listening.accept()
    with connection:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
"""
"""Serves one client and does nothing else."""


@contextmanager
def bare_server() -> Iterator[int]:
    """A process that runs BARE; its port."""
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def response_times(port: int, every_s: float = 0.01) -> Iterator[list[float]]:
    """Seconds of each response of /healthz, requested at fixed times.

    Only the event loop takes part in a response, so this is a little more than the time for which it was blocked.
    A request that is due while an earlier response is late counts from the time when it was due.
    """
    took_s: list[float] = []
    ended = threading.Event()

    def request() -> None:
        with HttpClient(port) as client:
            due_s = sent_s = time.monotonic()
            while not ended.is_set():
                client.get("/healthz")
                received_s = time.monotonic()
                took_s.append(received_s - sent_s)
                due_s = sent_s = due_s + every_s
                if due_s > received_s:
                    time.sleep(due_s - received_s)
                    sent_s = time.monotonic()  # Not the daemon's: sleep() may take longer.

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    try:
        yield took_s
    finally:
        ended.set()
        thread.join()


class Delays(NamedTuple):
    """Seconds from publishing each report until /metrics counts it, and until mosquitto_sub has it."""

    metrics_s: list[float]
    delivery_s: list[float]


def delays(broker_port: int, port: int, reports: int, every_s: float = 0.037) -> Delays:
    """Publish so many reports, one after the other."""
    published_s: list[float] = []
    seen_s: list[float] = []
    with (
        Generator(broker_port) as generator,
        HttpClient(port) as client,
        _deliveries(broker_port, reports) as delivered_s,
    ):
        while len(seen_s) < reports:
            if len(published_s) < reports:
                payload = b'{"session":"probe","seq":%d,"response_s":0.5}' % len(published_s)
                published_s.append(time.monotonic())
                generator.flood([publish(PROBE_TOPIC, payload, 1, 1)])
            counted = SEEN.search(client.get("/metrics"))
            now_s = time.monotonic()
            seen_s += [now_s] * (round(float(counted[1])) - len(seen_s) if counted else 0)
            if now_s - published_s[-1] > PATIENCE_S:
                raise LostError(len(seen_s), reports)
            time.sleep(every_s)
    if len(delivered_s) < reports:
        raise LostError(len(delivered_s), reports)
    metrics_s, delivery_s = (
        [there - sent for there, sent in zip(each, published_s, strict=True)] for each in (seen_s, delivered_s)
    )
    return Delays(metrics_s, delivery_s)


@contextmanager
def _deliveries(broker_port: int, reports: int) -> Iterator[list[float]]:
    """When mosquitto_sub received each message of PROBE_TOPIC; complete when the context ends."""
    command = [program("mosquitto_sub", "Debian package mosquitto-clients"), "-h", "127.0.0.1"]
    command += ["-p", str(broker_port), "-t", PROBE_TOPIC.decode(), "-q", "1", "-C", str(reports)]
    received_s: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:

        def read() -> None:
            assert process.stdout is not None
            received_s.extend(time.monotonic() for _ in process.stdout)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        time.sleep(0.5)  # It does not report that it has subscribed.
        try:
            yield received_s
        finally:
            thread.join(5)  # It ends with the last message.
            process.kill()


def p99(values: list[float]) -> float:
    """99th percentile."""
    return sorted(values)[len(values) * 99 // 100]
