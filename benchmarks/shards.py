"""CPU of a shard of a cluster, whose state is bytes between two batches, by step. `python -m benchmarks.shards`.

A batch is a tick. Of each batch, a shard gets REPORTS reports in MESSAGES messages: arrays of a few topics, as a
bridge joins them. Viewers report more or less often; the plan has another service, without sessions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import process_time
from typing import TypeVar

import msgspec
import numpy as np

from benchmarks.bench import KILO, run
from benchmarks.population import START_S, TICK_S
from benchmarks.row import Row
from qoemon.core.plan.plan import Limits, Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import VIDEO_STALL, WEB_IQX
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.codec import Codec
from qoemon.engine.interpreter import tune
from qoemon.engine.spark.encoding import pack_counts, pack_state, unpack_state
from qoemon.state.frames import StoredMessage

REPORTS, MESSAGES = 2_300, 100
WARM, TICKS = 7, 13
"""Batches in which all sessions report, then those that are measured; one of these ends an interval."""
SIZES = ((1_800, 100), (15_600, 100), (1_800, 1_000), (15_600, 1_000))
"""Sessions and groups of a shard."""
BARS_MS = {1_800: 8, 15_600: 35}
"""Most for all steps but counting, which depends on the reports: twice what was measured."""
STEPS = ("make", "unpack", "load", "apply", "tick", "pack counts", "dump", "pack state")

T = TypeVar("T")


def plan(sessions: int, groups: int) -> Plan:
    """Video and web; windows of 1 and 5 minutes, and of an hour."""
    return Plan(
        services=(Service("video", VIDEO_STALL, 0.3, theta_band=(0.1, 0.3)), Service("web", WEB_IQX, 0.25)),
        topics=(TopicTemplate("qoe/v1/{service}/{region}/{cdn}"),),
        labels=("region", "cdn"),
        timing=Timing(tick_s=TICK_S, windows_s=(60, 300, 3600)),
        limits=Limits(sessions=2 * sessions, groups=groups),
    )


class Viewers:
    """Sessions that play, and stall now and then."""

    def __init__(self, sessions: int, groups: int) -> None:
        self._rng = np.random.default_rng(1)
        self._ids = [self._rng.bytes(16).hex() for _ in range(sessions)]
        self._group = self._rng.integers(0, groups, sessions)
        self._topics = [f"qoe/v1/video/region-{group // 100}/cdn-{group % 100}" for group in range(groups)]
        self._stalls, self._stall_ms, self._play_ms, self._heard_s, self._seq = np.zeros((5, sessions), np.int64)
        self._heard_s += START_S - TICK_S

    def messages(self, who: np.ndarray, number: int, at_s: int) -> Iterator[StoredMessage]:
        """Reports of these viewers in so many messages, within a tick that begins at at_s."""
        who = who[np.argsort(self._group[who], kind="stable")]
        times_s = np.linspace(at_s, at_s + TICK_S - 1, number)
        for some, arrival_s in zip(np.array_split(who, number), times_s, strict=True):
            for group in np.unique(self._group[some]).tolist():
                mine = some[self._group[some] == group]
                payload = msgspec.json.encode([self._report(each, float(arrival_s)) for each in mine.tolist()])
                yield StoredMessage(self._topics[group], payload, float(arrival_s))

    def _report(self, who: int, at_s: float) -> dict[str, object]:
        passed_ms = max(int((at_s - self._heard_s[who]) * 1000), 0)
        stall_ms = int(self._rng.integers(200, 3000)) if self._rng.random() < 0.1 and passed_ms > 4000 else 0
        self._stalls[who] += stall_ms > 0
        self._stall_ms[who] += stall_ms
        self._play_ms[who] += passed_ms - stall_ms
        self._heard_s[who] = int(at_s)
        self._seq[who] += 1
        return {
            "session": self._ids[who],
            "seq": int(self._seq[who]),
            "ts": round(at_s - self._rng.random(), 3),
            "stall_count": int(self._stalls[who]),
            "stall_s": int(self._stall_ms[who]) / 1000,
            "play_s": int(self._play_ms[who]) / 1000,
            "stalled": bool(self._rng.random() < 0.01),
        }


@dataclass
class Runs:
    """CPU milliseconds of each step in some batches, and bytes of the state and the counts."""

    steps_ms: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    state_bytes: list[int] = field(default_factory=list)
    counts_bytes: list[int] = field(default_factory=list)

    def timed(self, step: str, work: Callable[[], T]) -> T:
        """The result of a step, which is added."""
        began = process_time()
        result = work()
        self.steps_ms[step].append((process_time() - began) * KILO)
        return result

    def of(
        self, told: Plan, codec: Codec, state: bytes | None, messages: list[StoredMessage], tick_s: int
    ) -> bytes:
        """The state after a batch."""
        pipeline = self.timed("make", lambda: ShardPipeline(told, codec=codec))
        if state is not None:
            arrays = self.timed("unpack", lambda: unpack_state(state))
            self.timed("load", lambda: pipeline.load(arrays))
        self.timed("apply", lambda: pipeline.apply(messages))
        counts = self.timed("tick", lambda: pipeline.tick(tick_s))
        self.counts_bytes.append(len(self.timed("pack counts", lambda: pack_counts(counts))))
        arrays = self.timed("dump", pipeline.dump)
        after = self.timed("pack state", lambda: pack_state(arrays))
        self.state_bytes.append(len(after))
        return after


def measure(sessions: int, groups: int) -> Runs:
    """Batches of one shard."""
    viewers, told = Viewers(sessions, groups), plan(sessions, groups)
    rng, codec, state = np.random.default_rng(2), Codec(told), None
    for tick in range(WARM + TICKS):
        if tick <= WARM:
            runs = Runs()
        at_s = START_S + tick * TICK_S
        who = np.arange(sessions) if tick < WARM else rng.integers(0, sessions, REPORTS)
        state = runs.of(told, codec, state, list(viewers.messages(who, MESSAGES, at_s)), at_s + TICK_S)
    return runs


def rows() -> list[Row]:
    """All figures."""
    tune()
    table = []
    for sessions, groups in SIZES:
        runs = measure(sessions, groups)
        of = f"{sessions:,} sessions, {groups:,} groups"
        table += [Row.of(f"{of}: {step}", "ms CPU", runs.steps_ms[step]) for step in STEPS]
        fixed = [
            sum(each) for each in zip(*(runs.steps_ms[step] for step in STEPS if step != "apply"), strict=True)
        ]
        table.append(Row.of(f"{of}: all but apply", "ms CPU", fixed, at_most=BARS_MS[sessions]))
        table.append(Row.of(f"{of}: state", "bytes a session", [size / sessions for size in runs.state_bytes]))
        table.append(Row.of(f"{of}: counts", "kB", [size / KILO for size in runs.counts_bytes]))
    return table


if __name__ == "__main__":
    sys.exit(run("A shard whose state is bytes between two batches", rows))
