"""The history on disk: its size for a group and a day, writing it, and its answers. `python -m benchmarks.history`.

Every seventh user stalls; nine of ten were there in the interval before.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.bench import cpu_ms, run
from benchmarks.row import Row
from qoemon.core.counting.closed_ratings import AddedRatings, ClosedRatings
from qoemon.core.counting.distances import UNITS, ranges, widths
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.mapping import VIDEO_STALL
from qoemon.core.snapshot.past import PastQuery
from qoemon.state.history_rows import pack, rolled_up, rows_of
from qoemon.state.history_store import BLOCK_S, HistoryStore, Written

GROUPS, USERS, STALLED, STAYING = 1000, 100, 1 / 7, 0.9
INTERVAL_S, DAY_S, BEGIN_S = 60, 86_400, 1_700_006_400
WINDOW = 60
"""Intervals in the longest window."""
DISTINCT = 30
"""Intervals that are made; a day repeats them."""

LABELS = ("region", "cdn")
NAMES = tuple((f"region-{number // 20}", f"cdn-{number % 20}") for number in range(GROUPS))
NUMBERS = np.arange(1, GROUPS + 1)
SERVICE = Service("video", VIDEO_STALL, 0.3)


def added(mean_users: int) -> list[AddedRatings]:
    """What the close of some intervals adds, each as if it ended at 0; mean_users in each group."""
    rng, kernel, levels = np.random.default_rng(1), SERVICE.kernel(), len(SERVICE.rated_at)
    made = []
    for _ in range(DISTINCT):
        users = rng.poisson(mean_users, GROUPS)
        stalled = rng.binomial(users, STALLED)
        counts = np.zeros((GROUPS, levels), np.int64)
        np.add.at(counts, (np.repeat(np.arange(GROUPS), stalled), rng.integers(0, levels, stalled.sum())), 1)
        counts[:, -1] += users - stalled
        before = rng.binomial(users, STAYING)
        pausing = rng.binomial(users - before, 0.1)
        recounted = {-INTERVAL_S: before, -2 * INTERVAL_S: pausing}
        # As if sessions stayed for ten intervals on average: of so many pairs at each distance.
        size = ranges(WINDOW)
        each = users[:, None] * STAYING ** (np.cumsum(widths(size)) - widths(size) / 2)
        pairs = np.rint(each * widths(size) * UNITS).astype(np.int64)
        made.append(AddedRatings(0, kernel.sums(counts), users, users, recounted, users, pairs))
    return made


def at(end_s: int, interval: AddedRatings) -> AddedRatings:
    """The interval, moved to its end."""
    recounted = {end_s + earlier_s: users for earlier_s, users in interval.recounted.items()}
    return replace(interval, end_s=end_s, recounted=recounted)


def close(end_s: int, interval: AddedRatings) -> Written:
    """What the history gets at the close of an interval."""
    closed = ClosedRatings(SERVICE.name, SERVICE.scale, end_s, NAMES, (at(end_s, interval),))
    return Written(end_s, LABELS, (closed,), (), ())


def block_bytes(intervals: Sequence[AddedRatings]) -> int:
    """Size of a block."""
    ends_s = range(INTERVAL_S, BLOCK_S + 1, INTERVAL_S)
    parts = [
        (end_s, rows_of(at(end_s, each), NUMBERS, INTERVAL_S))
        for end_s, each in zip(ends_s, intervals, strict=False)
    ]
    return len(pack(rolled_up(BLOCK_S, BLOCK_S, parts)))


def rows() -> list[Row]:
    """All figures."""
    intervals = added(USERS)
    with tempfile.TemporaryDirectory() as directory:
        store = HistoryStore(Path(directory) / "history.sqlite3", INTERVAL_S, 30 * DAY_S)
        ends_s = range(BEGIN_S + INTERVAL_S, BEGIN_S + DAY_S + 1, INTERVAL_S)
        closes = [close(end_s, intervals[number % DISTINCT]) for number, end_s in enumerate(ends_s)]
        writing = [taken for each in closes for taken in cpu_ms(lambda each=each: store.write(each), 1)]  # type: ignore[misc]
        size = store.size_bytes() / GROUPS
        day = PastQuery(SERVICE.name, SERVICE.scale, BEGIN_S, BEGIN_S + DAY_S)
        answers = {
            f"a day of {GROUPS:,} groups in one series": cpu_ms(lambda: store.ratings(day), 3),
            f"a day of {GROUPS:,} groups, by one label": cpu_ms(
                lambda: store.ratings(replace(day, by=("cdn",))), 3
            ),
            f"a day of {GROUPS:,} groups, by all labels": cpu_ms(lambda: store.ratings(replace(day, by=LABELS)), 3),
            f"an hour of {GROUPS:,} groups in one series": cpu_ms(
                lambda: store.ratings(replace(day, from_s=BEGIN_S + DAY_S - 3600)), 3
            ),
        }
        store.close()
    sizes = {users: len(pack(rows_of(added(users)[0], NUMBERS, INTERVAL_S))) / GROUPS for users in (6, 100, 1000)}
    blocks = block_bytes(intervals) * DAY_S / BLOCK_S / GROUPS
    return [
        *(
            Row.of(f"a group of {users:,} users and a rating interval", "bytes", [row])
            for users, row in sizes.items()
        ),
        Row.of("a group and day, by rating intervals of 1 minute", "bytes", [size], at_most=55_000),
        Row.of("a group and day, by blocks of 5 minutes", "bytes", [blocks], at_most=15_000),
        Row.of("a group, 2 days by intervals and 28 by blocks", "bytes", [2 * size + 28 * blocks], at_most=500_000),
        Row.of(f"write an interval of {GROUPS:,} groups", "ms CPU", writing),
        *(Row.of(name, "ms CPU", runs) for name, runs in answers.items()),
    ]


if __name__ == "__main__":
    sys.exit(run("The history", rows))
