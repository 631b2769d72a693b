"""Workers compared with one process: reports a second in total, and CPU time of each process for a report.

Reports are sent in pieces. The next piece is sent when all processes are idle, so no queue grows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.wire import cpu
from benchmarks.wire.load import CHUNK, Generator, publish, report, topic
from benchmarks.wire.receivers import Qoemon
from qoemon.core.wire.partition import shard_of
from tests.support.parts import children

PIECES = 4
SHARDS = 16
IDLE_S = 0.5
"""Processes that have not used the CPU for so long are idle."""

WAYS: Mapping[str, dict[str, Any]] = {
    "one process": {},
    "2 workers, shards": {"workers": 2, "topics": ["qoe/v1/{service}/{region}/{cdn}/{shard}"]},
    "2 workers, routed by the parent": {"workers": 2},
}


class Measured(NamedTuple):
    """Wall seconds of all pieces, 0 if no CPU time is visible in /proc; CPU seconds of each process."""

    took_s: float
    spent_s: dict[str, float]


def measure(
    directory: Path, broker: tuple[int, int], way: str, pieces: Sequence[Sequence[bytes]], reports: int
) -> Measured:
    """One of WAYS, with so many reports in all pieces. broker: port and pid."""
    port, broker_pid = broker
    more = dict(WAYS[way])
    topics = more.pop("topics", None)
    with (
        Qoemon(directory, port, 1, durability="process", topics=topics, sessions={"tick": "5s"}, **more) as daemon,
        Generator(port) as load,
    ):
        processes = {"broker": broker_pid, "daemon": daemon.pid}
        processes |= {f"worker {n}": pid for n, pid in enumerate(sorted(children(daemon.pid)))}
        before, began = daemon.reports(), _spent(processes)
        took_s = sum(_piece(load, chunks, processes) for chunks in pieces)
        spent = {name: now - began[name] for name, now in _spent(processes).items()}
        daemon.cost(reports - round(daemon.reports() - before), lambda: None)
    return Measured(took_s if sum(spent.values()) >= cpu.RESOLUTION_S else 0.0, spent)


def _spent(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu.seconds(pid) for name, pid in processes.items()}


def _piece(load: Generator, chunks: Sequence[bytes], processes: Mapping[str, int]) -> float:
    """Seconds from the first byte until all processes are idle."""
    used = sum(_spent(processes).values())
    began_s = time.monotonic()
    load.flood(chunks)
    idle_s = time.monotonic()  # Sending may take longer than IDLE_S.
    while time.monotonic() - idle_s < IDLE_S:
        now = sum(_spent(processes).values())
        if now > used + cpu.RESOLUTION_S:
            used, idle_s = now, time.monotonic()
        time.sleep(0.02)
    return idle_s - began_s


def pieces(reports: int, batch: int, sessions: int, groups: int, *, by_shard: bool) -> Iterator[list[bytes]]:
    """PUBLISH packets in chunks, `reports` in each of PIECES; by_shard: the sessions of a message share a shard."""
    number = 0
    for _ in range(PIECES):
        packets: list[bytes] = []
        waiting: dict[int, list[dict[str, object]]] = {}
        while len(packets) * batch < reports:
            new = report(number, sessions, groups)
            shard = shard_of(str(new["session"]), SHARDS) if by_shard else 0
            number += 1
            some = waiting.setdefault(shard, [])
            some.append(new)
            if len(some) == batch:
                name = topic(number // batch % groups) + (b"/%d" % shard if by_shard else b"")
                payload = msgspec.json.encode(some if batch > 1 else some[0])
                packets.append(publish(name, payload, 1, 1 + len(packets) % 65535))
                some.clear()
        yield [b"".join(packets[begin : begin + CHUNK]) for begin in range(0, len(packets), CHUNK)]
