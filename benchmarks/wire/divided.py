"""Several workers beside one process: how much all of them take in together, and who is busiest on the way.

Reports come in pieces: the next is sent when the CPU rests, so no queue grows, and what is measured is work.
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
RESTS_S = 0.5
"""Who has not used the CPU for so long has nothing more to do."""

WAYS: Mapping[str, dict[str, Any]] = {
    "one process": {},
    "2 workers, shards": {"workers": 2, "topics": ["qoe/v1/{service}/{region}/{cdn}/{shard}"]},
    "2 workers, handed out": {"workers": 2},
}


class Measured(NamedTuple):
    """Reports a second, all together; CPU seconds a report by process."""

    rate: float
    spent_s: dict[str, float]


def measure(
    directory: Path, broker: tuple[int, int], way: str, pieces: Sequence[Sequence[bytes]], reports: int
) -> Measured:
    """One way, with so many reports in all pieces. broker: its port and its process."""
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
        spent = {name: (now - began[name]) / reports for name, now in _spent(processes).items()}
        daemon.cost(reports - round(daemon.reports() - before), lambda: None)
    return Measured(reports / took_s, spent)


def _spent(processes: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu.seconds(pid) for name, pid in processes.items()}


def _piece(load: Generator, chunks: Sequence[bytes], processes: Mapping[str, int]) -> float:
    """Seconds from the first byte until nobody has anything more to do."""
    began_s = rests_s = time.monotonic()
    load.flood(chunks)
    used = 0.0
    while time.monotonic() - rests_s < RESTS_S:
        now = sum(_spent(processes).values())
        if now > used + 0.01:
            used, rests_s = now, time.monotonic()
        time.sleep(0.02)
    return rests_s - began_s


def pieces(reports: int, batch: int, sessions: int, groups: int, *, by_shard: bool) -> Iterator[list[bytes]]:
    """PUBLISH packets in chunks, PIECES times so many reports; by_shard: each message has sessions of one shard."""
    number = 0
    for _ in range(PIECES):
        packets = []
        waiting: dict[int, list[dict[str, object]]] = {}
        while len(packets) * batch < reports:
            told = report(number, sessions, groups)
            shard = shard_of(str(told["session"]), SHARDS) if by_shard else 0
            number += 1
            some = waiting.setdefault(shard, [])
            some.append(told)
            if len(some) == batch:
                name = topic(number // batch % groups) + (b"/%d" % shard if by_shard else b"")
                payload = msgspec.json.encode(some if batch > 1 else some[0])
                packets.append(publish(name, payload, 1, 1 + len(packets) % 65535))
                some.clear()
        yield [b"".join(packets[begin : begin + CHUNK]) for begin in range(0, len(packets), CHUNK)]
