"""CPU of decoding, counting and ticks on one core, without the MQTT client. `python -m benchmarks.core`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import partial

import msgspec
import numpy as np

from benchmarks.bench import cpu_ms, run
from benchmarks.row import Row
from benchmarks.shard import Shard
from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.wire.codec import Codec
from qoemon.inputs.inbox import Message

SESSIONS, GROUPS, ROUNDS, REPEATS = 100_000, 100, 6, 5
START_S = 1_700_000_040.0
TICK_S = 10


def messages(batch: int, round_: int) -> Iterator[Message]:
    """One report of every session, `batch` reports in a message."""
    rng = np.random.default_rng(round_)
    stalls = rng.poisson(0.1, (round_ + 1, SESSIONS)).sum(axis=0).tolist()
    for group in range(GROUPS):
        members = range(group, SESSIONS, GROUPS)
        for begin in range(0, len(members), batch):
            reports = [
                {
                    "session": f"{session:032x}",
                    "seq": round_,
                    "stall_count": stalls[session],
                    "stall_s": 2.5 * stalls[session],
                    "play_s": 10.0 * (round_ + 1),
                }
                for session in members[begin : begin + batch]
            ]
            payload = msgspec.json.encode(reports if batch > 1 else reports[0])
            topic = f"qoe/v1/video/region-{group % 10}/cdn-{group // 10}"
            yield Message(topic, payload, START_S + round_ * TICK_S + 5, 1, 1, 1)


def ingest(batch: int) -> tuple[float, float]:
    """Reports a second of CPU, and the share of the time that decoding takes."""
    plan = core_plan(Config())
    codec, shard = Codec(plan), Shard(plan)
    decoding = counting = 0.0
    for round_ in range(ROUNDS):
        arrived = list(messages(batch, round_))
        chunk = max(10_000 // batch, 1)  # As many as arrive between two reads of the inbox under load.
        for begin in range(0, len(arrived), chunk):
            part = arrived[begin : begin + chunk]
            begun = time.process_time()
            decoded = codec.decode(part)
            between = time.process_time()
            shard.apply(decoded.batch, part[-1].arrival_s)
            decoding += between - begun
            counting += time.process_time() - between
    return SESSIONS * ROUNDS / (decoding + counting), decoding / (decoding + counting)


def ticks_ms() -> list[float]:
    """CPU milliseconds of ticks with all sessions active."""
    plan = core_plan(Config())
    codec, shard = Codec(plan), Shard(plan)
    took_ms = []
    for round_ in range(ROUNDS):
        now_s = START_S + round_ * TICK_S + 5
        shard.apply(codec.decode(messages(100, round_)).batch, now_s)
        took_ms += cpu_ms(partial(shard.tick, now_s + TICK_S), 1)
    return took_ms


def rows() -> list[Row]:
    """All figures."""
    table = []
    for batch in (100, 1):
        rates, shares = zip(*(ingest(batch) for _ in range(REPEATS)), strict=True)
        table += [
            Row.of(f"{batch} reports a message", "reports/s", rates),
            Row.of(f"{batch} reports a message: share of decoding", "of it", shares),
        ]
    return [*table, Row.of("tick", "ms CPU", ticks_ms())]


if __name__ == "__main__":
    sys.exit(run(f"Decoding and counting, {SESSIONS:,} sessions in {GROUPS} groups, CPU of one core", rows))
