"""Traffic of every kind, as a bridge and others write it to a topic; and such a topic in memory.

The topic answers what the source asks of Kafka, so all that runs on executors can run in the test's own process.
"""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd

from qoemon.core.wire.message import Kind
from qoemon.core.wire.partition import Partitioner
from qoemon.engine.spark import source
from qoemon.engine.spark.job import shard_function
from qoemon.engine.spark.offsets import Cut
from qoemon.engine.spark.records import Divider, messages_of, record_of
from qoemon.engine.spark.source import GRACE_S, MARK, Feed, ReportReader
from qoemon.engine.spark.stream import counts_of
from qoemon.net.kafka.reader import Record
from qoemon.state.frames import StoredMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pytest

    from qoemon.core.plan.plan import Plan
    from qoemon.core.sharding.shard_counts import ShardCounts

FEW = {"min_sessions": 3}

SETTINGS: dict[str, Any] = {
    "collector": {
        "port": 0,
        "paths": ["/cmcd/v1/{service}/{region}/{cdn}"],
        "heartbeat": "4s",
        "startup_service": "startup",
    },
    "sessions": {"tick": "2s", "rating_interval": "10s", "timeout": "20s", "min_active": "1s"},
    "windows": ["10s", "30s"],
    "services": {
        "video": {"mapping": "video-stall", "theta": 0.3, "theta_band": [0.1, 0.3]},
        "web": {"mapping": "web-iqx", "theta": 0.25},
        "startup": {"mapping": "web-iqx", "theta": 0.25},
    },
    "roll_ups": [["region"], []],
    "regimes": {"min_sessions": 3, "dwell": 1},
    "alerts": [
        FEW | {"name": "Poor", "metric": "pow", "threshold": 0.05, "recovery": 0.02, "confidence": False},
        FEW | {"name": "Low", "metric": "mos", "window": "30s", "threshold": 4.2, "recovery": 4.4, "by": []},
        FEW | {"name": "Absent", "metric": "absent", "by": [], "for": "10s"},
    ],
}
"""Of every engine, for such traffic; all that takes minutes otherwise takes seconds."""

GATHER_S = 0.1
"""How long a bridge gathers the messages of a shard."""

REGIONS = ("eu", "us", "asia")


@dataclass
class _Viewer:
    """A player with counters of its own."""

    name: str
    region: str
    begun_s: float
    seq: int = 0
    stalls: int = 0
    stall_s: float = 0.0
    play_s: float = 0.0
    waiting: bool = False
    said_s: float = 0.0
    sent: list[dict[str, Any]] = field(default_factory=list)


class Traffic:
    """Viewers, pages and players of CMCD over some time; some lie, repeat themselves, come late or begin again.

    A third of the viewers stalls. Some report that they stall, and then nothing for long. In the middle of the time
    nobody reports for a while.

    begin_s, end_s    seconds since the epoch
    viewers, players  number of those that report counters, and states
    again             whether viewers begin again, and repeat reports long after they were sent first
    """

    def __init__(
        self, seed: int, begin_s: int, end_s: int, *, viewers: int = 30, players: int = 6, again: bool = True
    ) -> None:
        self._rng, self._begin_s, self._end_s = random.Random(seed), begin_s, end_s
        self._viewers, self._players, self._again = viewers, players, again

    def messages(self) -> list[StoredMessage]:
        """In the order of their arrival."""
        told = [*self._of_viewers(), *self._of_pages(), *self._of_players(), *self._of_others()]
        quiet_s = (self._begin_s + self._end_s) / 2
        return sorted(
            (each for each in told if not quiet_s <= each.arrival_s < quiet_s + 14), key=lambda each: each.arrival_s
        )

    def _of_viewers(self) -> Iterator[StoredMessage]:
        rng = self._rng
        for number in range(self._viewers):
            begun_s = rng.uniform(self._begin_s, self._begin_s + (self._end_s - self._begin_s) * 0.6)
            viewer = _Viewer(f"v{number}", rng.choice(REGIONS), begun_s, said_s=begun_s)
            at_s = begun_s + rng.uniform(0, 3)
            while at_s < self._end_s:
                some = list(self._said(viewer, at_s, poor=number % 3 == 0))
                service = "nothing" if number == 7 and rng.random() < 0.2 else "video"
                yield self._message(service, viewer.region, some, at_s)
                if some[-1].get("end"):
                    break
                longest_s = 60 if number % 8 == 1 else 6
                at_s += rng.choice([1.0, 2.0, 2.0, 3.5, rng.uniform(0.1, longest_s)])

    def _said(self, viewer: _Viewer, at_s: float, *, poor: bool) -> Iterator[dict[str, Any]]:
        """The reports of a message."""
        rng, passed_s = self._rng, at_s - viewer.said_s
        viewer.said_s = at_s
        if self._again and rng.random() < 0.03:
            viewer.seq, viewer.stalls, viewer.stall_s, viewer.play_s = 0, 0, 0.0, 0.0
        stalled_s = passed_s * rng.random() if viewer.waiting or (poor and rng.random() < 0.4) else 0.0
        viewer.stalls += stalled_s > 0 and not viewer.waiting
        viewer.waiting = poor and rng.random() < 0.2
        viewer.stall_s, viewer.play_s = viewer.stall_s + stalled_s, viewer.play_s + passed_s - stalled_s
        viewer.seq += 1
        if rng.random() < 0.01:
            viewer.region = rng.choice(REGIONS)
        report: dict[str, Any] = {
            "session": viewer.name,
            "seq": viewer.seq,
            "stall_count": viewer.stalls,
            "stall_s": round(viewer.stall_s, 3),
            "play_s": round(viewer.play_s, 3),
            "stalled": viewer.waiting,
        }
        if len(viewer.name) % 2:
            report["ts"] = round(at_s - rng.choice([0, 0, 0.2, rng.uniform(0, 25)]), 3)
        if rng.random() < 0.02:
            report["play_s"] = -1.0
        if rng.random() < 0.01:
            report["end"] = True
        if self._again and viewer.sent and rng.random() < 0.1:
            yield rng.choice(viewer.sent[-5:])
        viewer.sent.append(report)
        yield report

    def _of_pages(self) -> Iterator[StoredMessage]:
        rng = self._rng
        for number in range(int((self._end_s - self._begin_s) / 2)):
            at_s = rng.uniform(self._begin_s, self._end_s)
            pages = [
                {"session": f"p{number}-{page}", "response_s": rng.choice([rng.expovariate(1), [0.1, 2.5]])}
                for page in range(rng.choice([1, 1, 5]))
            ]
            yield self._message("web", rng.choice(REGIONS), pages, at_s)

    def _of_players(self) -> Iterator[StoredMessage]:
        """Records of CMCD, some of two players in a body, some too late to be in order."""
        rng = self._rng
        for pair in range(self._players // 2):
            region, at_s = rng.choice(REGIONS), rng.uniform(self._begin_s, self._begin_s + 30)
            states, numbers = ["s", "s"], [0, 0]
            while at_s < self._end_s - 1:
                lines = []
                for who in (0, 1):
                    event, before = "t", states[who]
                    if rng.random() < 0.4:
                        states[who] = {"s": "p", "p": rng.choice("prrka"), "r": "p", "k": "p", "a": "p"}[before]
                        event = "ps"
                    ts = round(1000 * (at_s - rng.choice([0.0, 0.1, 0.5])))
                    lines.append(
                        f'cid="c",e={event},sf=h,sid="c{pair}-{who}",sn={numbers[who]},st=v,'
                        f"sta={states[who]},ts={ts},v=2"
                    )
                    numbers[who] += 1
                rng.shuffle(lines)
                path = f"/cmcd/v1/video/{region}/a"
                yield StoredMessage(path, "\n".join(lines).encode(), at_s + rng.choice([0.0, 0.0, 1.5]), Kind.CMCD)
                at_s += rng.uniform(1, 4)

    def _of_others(self) -> Iterator[StoredMessage]:
        """What cannot be read, or not wholly."""
        rng = self._rng
        halves = (b'[{"session":"v1"},{"session":', b'{"session":5}', b'[1,{"session":"v1"}]')
        for payload in (b"", b"no report", b"[]", *halves):
            for _ in range(5):
                at_s = rng.uniform(self._begin_s, self._end_s)
                yield StoredMessage(rng.choice(["qoe/v1/video/eu/a", "other/topic"]), payload, at_s)
                yield StoredMessage("/cmcd/v1/video/eu/a", payload, at_s, rng.choice([Kind.HTTP, Kind.CMCD]))

    def _message(self, service: str, region: str, reports: list[dict[str, Any]], at_s: float) -> StoredMessage:
        rng = self._rng
        whole: Any = reports if len(reports) > 1 or rng.random() < 0.3 else reports[0]
        cdn = rng.choice("ab") if service == "web" else "a"
        if rng.random() < 0.2:
            path = f"/cmcd/v1/{service}/{region}/{cdn}"
            return StoredMessage(path, msgspec.json.encode(whole), at_s, Kind.HTTP)
        encode = msgspec.msgpack.encode if rng.random() < 0.2 else msgspec.json.encode
        return StoredMessage(f"qoe/v1/{service}/{region}/{cdn}", encode(whole), at_s)


def written(
    messages: Sequence[StoredMessage], plan: Plan, shards: int, *, foreign: float = 0.0, seed: int = 0
) -> list[tuple[int, int, bytes, bytes, dict[str, bytes]]]:
    """Records as bridges write them: (time_ms, shard, key, value, headers), in the order of their time.

    foreign  share of messages of MQTT that do not come by a bridge
    """
    rng, partitioner = random.Random(seed), Partitioner(shards, plan)
    gathered: dict[tuple[int, int], list[StoredMessage]] = defaultdict(list)
    records = []
    for message in messages:
        if message.kind is Kind.MQTT and rng.random() < foreign:
            time_ms = int(message.arrival_s * 1000)
            records.append((time_ms, rng.randrange(1000), message.topic.encode(), message.payload, {}))
            continue
        for shard, payload in partitioner.split(message.topic, message.payload, message.kind):
            gathered[int(message.arrival_s // GATHER_S), shard].append(message._replace(payload=payload))
    for (slot, shard), some in gathered.items():
        records.append((int((slot + 1) * GATHER_S * 1000), shard, *record_of(shard, shards, some)))
    return sorted(records, key=lambda record: (record[0], record[1]))


class Topic:
    """Partitions in memory; it answers as net.kafka.reader.Reader does."""

    def __init__(self, partitions: int) -> None:
        self.logs: list[list[Record]] = [[] for _ in range(partitions)]

    def append(self, time_ms: int, shard: int, key: bytes, value: bytes, headers: Mapping[str, bytes]) -> None:
        """Write a record to the partition of a shard."""
        log = self.logs[shard % len(self.logs)]
        log.append(Record(len(log), time_ms, key, value, headers))

    def offsets_at(self, time_s: float, partitions: int) -> list[int]:
        return [
            next((each.offset for each in log if each.time_ms >= time_s * 1000), len(log))
            for log in self.logs[:partitions]
        ]

    def read(self, partition: int, begin: int, end: int) -> Iterator[Record]:
        return iter(self.logs[partition][begin:end])

    def messages(self, plan: Plan) -> list[StoredMessage]:
        """What one process is to count: all messages, each at the time that its record has for a reader."""
        divider = Divider(1, Partitioner(1, plan))
        found = []
        for number, log in enumerate(self.logs):
            times_ms = accumulate((each.time_ms for each in log), max)
            for record, time_ms in zip(log, times_ms, strict=True):
                for _, frame in divider.parts(record):
                    found.append((time_ms, number, record.offset, list(messages_of(frame, time_ms / 1000))))
        return [message for *_, some in sorted(found, key=lambda each: each[:3]) for message in some]


class _State:
    """The state of a shard, as Spark hands it to the job."""

    def __init__(self, value: tuple[bytes] | None) -> None:
        self.value, self.exists = value, value is not None

    @property
    def get(self) -> tuple[bytes]:
        assert self.value is not None
        return self.value

    def update(self, value: tuple[bytes]) -> None:
        self.value = value


READERS = 2


class Cluster:
    """What Spark does with a topic, in this process: all shards in batches, with their states.

    It asks the source where a batch ends, as of a clock that is set, and hands each shard the rows of all tasks in
    any order. A batch changes nothing until commit().
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, plan: Plan, shards: int, topic: Topic, start_s: int, full: Path
    ) -> None:
        self._monkeypatch, self._topic = monkeypatch, topic
        self.feed = Feed({}, "t", len(topic.logs), shards, plan.timing.tick_s, start_s, READERS, full, plan)
        self._rng = random.Random(shards)
        self.states: dict[int, tuple[bytes] | None] = dict.fromkeys(range(shards))
        self._fresh: dict[int, tuple[bytes] | None] = {}
        with self._patched(start_s):
            self.start = ReportReader(self.feed).initialOffset()
        self.end = self.start

    @property
    def tick_s(self) -> int:
        """The newest tick of the last committed batch."""
        return Cut.restored(self.start).tick_s

    def plan_batch(self, now_s: float) -> int:
        """Let the source decide where the next batch ends; returns its newest tick."""
        with self._patched(now_s + GRACE_S + 0.01):
            self.end = ReportReader(self.feed).latestOffset(self.start, None)  # type: ignore[arg-type]
        return Cut.restored(self.end).tick_s

    def run(self) -> list[tuple[int, list[ShardCounts]]]:
        """The ticks of the planned batch, as Batch.ticks."""
        if self.end == self.start:
            return []
        frames = self._frames()
        count = shard_function(self.feed.plan)
        rows = []
        for shard, state in self.states.items():
            held = _State(state)
            mine = [frame[frame["shard"] == shard] for frame in frames]
            mine = [each.sample(frac=1, random_state=self._rng.randrange(1000)) for each in mine if len(each)]
            self._rng.shuffle(mine)
            assert sum((each["partition"] == MARK).sum() for each in mine) == 1
            rows += [each for frame in count((shard,), iter(mine), held) for each in frame.itertuples(index=False)]
            self._fresh[shard] = held.value
        return counts_of(((row.shard, row.tick_s, row.counts) for row in rows), len(self.states))

    def commit(self) -> None:
        self.start, self.states = self.end, {**self.states, **self._fresh}

    def _frames(self) -> list[pd.DataFrame]:
        with self._patched(0):
            reader = ReportReader(self.feed)
            parts = reader.partitions(self.start, self.end)
            return [batch.to_pandas() for part in parts for batch in reader.read(part)]

    @contextmanager
    def _patched(self, now_s: float) -> Iterator[None]:
        """The topic in place of Kafka, and a clock that stands."""
        with self._monkeypatch.context() as patch:
            patch.setattr(source, "_reader", lambda _: self._topic)
            patch.setattr(source, "time", SimpleNamespace(time=lambda: now_s, sleep=lambda _: None))
            yield
