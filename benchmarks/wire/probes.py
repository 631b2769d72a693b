"""What those outside see of a loaded daemon: how soon it answers, and how soon a report shows."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from benchmarks.wire.load import Generator, publish

PROBE_TOPIC = b"qoe/v1/web/probe/probe"
SEEN = re.compile(rb'^qoemon_observations\{(?=[^}]*region="probe")(?=[^}]*window="1m")[^}]*\} (\S+)$', re.MULTILINE)


class Asker:
    """One HTTP connection that stays open."""

    def __init__(self, port: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def get(self, path: str) -> bytes:
        """The body of the answer."""
        self._wire.sendall(f"GET {path} HTTP/1.1\r\nHost: daemon\r\n\r\n".encode())
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._wire.recv(65536)
        length = re.search(rb"(?i)content-length: (\d+)", got[:end])
        assert length is not None, got[:end]
        missing = int(length[1]) - (len(got) - end - 4)
        return got[end + 4 :] + (self._wire.recv(missing, socket.MSG_WAITALL) if missing else b"")


@contextmanager
def answers(port: int, every_s: float = 0.01) -> Iterator[list[float]]:
    """Seconds until /healthz was answered, asked at fixed times.

    Nothing but the event loop takes part in an answer, so this is how long it was blocked, and a little more. Who
    asks while another answer is late waits with it, and counts.
    """
    took_s: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with Asker(port) as asker:
            due_s = asked_s = time.monotonic()
            while not ended.is_set():
                asker.get("/healthz")
                answered_s = time.monotonic()
                took_s.append(answered_s - asked_s)
                due_s = asked_s = due_s + every_s
                if due_s > answered_s:
                    time.sleep(due_s - answered_s)
                    asked_s = time.monotonic()  # That we sleep too long is not the daemon's.

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield took_s
    finally:
        ended.set()
        thread.join()


def effects(broker_port: int, port: int, reports: int, every_s: float = 0.037) -> list[float]:
    """Seconds from each of some reports' publishing until /metrics counted it."""
    published_s: list[float] = []
    seen_s: list[float] = []
    with Generator(broker_port) as generator, Asker(port) as asker:
        while len(seen_s) < reports:
            if len(published_s) < reports:
                payload = b'{"session":"probe","seq":%d,"response_s":0.5}' % len(published_s)
                published_s.append(time.monotonic())
                generator.flood([publish(PROBE_TOPIC, payload, 1, 1)])
            counted = SEEN.search(asker.get("/metrics"))
            now_s = time.monotonic()
            seen_s += [now_s] * (round(float(counted[1])) - len(seen_s) if counted else 0)
            assert now_s - published_s[-1] < 30, f"{len(seen_s)} of {reports} reports show after 30 s"
            time.sleep(every_s)
    return [seen - sent for seen, sent in zip(seen_s, published_s, strict=True)]


def p99(values: list[float]) -> float:
    """The value that 99 of 100 do not pass."""
    return sorted(values)[len(values) * 99 // 100]
