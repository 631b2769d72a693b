"""A start with a long journal: all messages since the checkpoint are replayed. `python -m benchmarks.recovery`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.bench import run
from benchmarks.decoding import decode_cpu_s
from benchmarks.row import Row
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.config.sections.state import Durability
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.inputs.inbox import Message
from qoemon.state.recovery import Recovery, recover
from qoemon.state.store import Store

RUNS = 3
JOURNAL_BYTES = 500_000_000
SESSIONS, GROUPS, BATCH, COMMIT = 100_000, 100, 100, 100
REPORTS_A_SECOND = 50_000
"""Rate at which the messages arrived: it sets their times, and so the number of ticks."""

BEGAN_S = 1_700_000_100.0


def filled(store: Store) -> int:
    """Fill the journal; returns the number of reports in it."""
    reports = 0
    while store.journal_bytes < JOURNAL_BYTES:
        messages = []
        for _ in range(COMMIT):
            at_s = BEGAN_S + reports / REPORTS_A_SECOND
            messages.append(Message(f"qoe/v1/video/eu/{reports // BATCH % GROUPS}", _batch(reports), at_s, 1, 1, 1))
            reports += BATCH
        store.append(messages)
    return reports


def _batch(first: int) -> bytes:
    reports = []
    for number in range(first, first + BATCH):
        age = number // SESSIONS + 1
        reports.append(
            {
                "session": f"s{number % SESSIONS:08d}",
                "seq": age,
                "stall_count": age // 8,
                "stall_s": age * 0.25,
                "play_s": age * 2.0,
            }
        )
    return msgspec.json.encode(reports)


def rows() -> list[Row]:
    """CPU of all threads of this process. Each run recovers from the same journal, after bare decoding of it."""
    config = Config()
    plan = core_plan(config)
    spent_s, decoding_s = [], []
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory), Durability.PROCESS, 2 * JOURNAL_BYTES)
        reports = filled(store)
        for _ in range(RUNS):
            decoding_s.append(decode_cpu_s(message.payload for message in store.journal()))
            began_s = time.process_time()
            evaluation = new_evaluation(config)
            on_tick = lambda counts, to=evaluation: to.tick([counts])  # noqa: E731 - as the engine does
            pipeline, _ = recover(store, lambda: ShardPipeline(plan), Recovery(on_tick=on_tick))
            spent_s.append(time.process_time() - began_s)
            assert pipeline.sessions == SESSIONS
        store.close()
    size = f"{JOURNAL_BYTES // 10**6} MB of journal"
    return [
        Row.of(f"{size}: recovery", "reports/s", [reports / each for each in spent_s]),
        Row.of(f"{size}: recovery, CPU", "s CPU", spent_s),
        Row.of(f"{size}: reading and msgspec decoding", "s CPU", decoding_s),
        Row.ratio("recovery / reading and msgspec decoding", spent_s, decoding_s, at_most=10),
    ]


if __name__ == "__main__":
    sys.exit(run("A start with a long journal", rows))
