"""A start with a long journal: everything since the checkpoint is run again. `python -m benchmarks.recovery`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.bench import Row, run
from qoemon.config.config import Config
from qoemon.config.plan import new_pipeline
from qoemon.config.sections.state import Durability
from qoemon.inputs.inbox import Message
from qoemon.state.recovery import recover
from qoemon.state.store import Store

RUNS = 3
JOURNAL_BYTES = 500_000_000
SESSIONS, GROUPS, BATCH, COMMIT = 100_000, 100, 100, 100
REPORTS_A_SECOND = 50_000
"""At which the journal was filled: the times in it, and so the ticks, follow."""

BAR = 500_000
BEGAN_S = 1_700_000_100.0


def filled(store: Store) -> int:
    """Fill the journal; how many reports are in it."""
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
    told = []
    for number in range(first, first + BATCH):
        age = number // SESSIONS + 1
        told.append(
            {
                "session": f"s{number % SESSIONS:08d}",
                "seq": age,
                "stall_count": age // 8,
                "stall_s": age * 0.25,
                "play_s": age * 2.0,
            }
        )
    return msgspec.json.encode(told)


def rows() -> list[Row]:
    """Reports a second of CPU, all threads of the process; the same journal each time."""
    config = Config()
    spent_s = []
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory), Durability.PROCESS, 2 * JOURNAL_BYTES)
        reports = filled(store)
        for _ in range(RUNS):
            began_s = time.process_time()
            recovered = recover(store, lambda: new_pipeline(config), lambda _: None)
            spent_s.append(time.process_time() - began_s)
            assert recovered.messages == reports // BATCH
        store.close()
    speeds = [reports / each for each in spent_s]
    speed = Row.of(f"{JOURNAL_BYTES // 10**6} MB of journal run again", "reports/s", speeds, BAR, floor=True)
    return [speed, Row.of("the whole of it", "s CPU", spent_s)]


if __name__ == "__main__":
    run("A start with a long journal", rows)
