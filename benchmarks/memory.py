"""Memory of a session: resident bytes with and without a million of them. `python -m benchmarks.memory`.

The bytes include the spare room of tables that grow, and what the allocator cannot return: the process is set up as
a daemon, which collects garbage and returns free memory regularly.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import run
from benchmarks.population import Players, Population, plan
from benchmarks.row import Row
from benchmarks.shard import Shard
from qoemon.core.qoe.mapping import LINEAR, MEDIA_STALL, VIDEO_STALL, QosMapping
from qoemon.core.wire.player import PlayerBatch
from qoemon.engine import garbage, interpreter


class Load(NamedTuple):
    """Users, and how their sessions are rated."""

    users: Population | Players
    mapping: QosMapping


SESSIONS, GROUPS, REPEATS = 1_000_000, 1000, 3
MEDIA = MEDIA_STALL.with_quality(LINEAR.with_inputs(["score"]))
LOADS: Mapping[str, Callable[[int], Load]] = {
    "stalls": lambda sessions: Load(Population(sessions, GROUPS), VIDEO_STALL),
    "media": lambda sessions: Load(Population(sessions, GROUPS, measures=MEDIA.measures), MEDIA),
    "players": lambda sessions: Load(Players(sessions, GROUPS), VIDEO_STALL),
}
TICKS = 7
"""One rating interval ends, so every column is in use."""


def resident_bytes() -> int:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def per_session(load: Callable[[int], Load]) -> float:
    """Bytes a session: a full shard minus one with the same groups and a session in each.

    load  makes the load of so many sessions
    """
    # Made first: its memory is not that of the sessions.
    full = load(SESSIONS)
    shard = _run(load(GROUPS))
    garbage.tidy()
    before = resident_bytes()
    del shard
    shard = _run(full)
    garbage.tidy()
    after = resident_bytes()
    assert shard.sessions == SESSIONS
    return (after - before) / (SESSIONS - GROUPS)


def _run(load: Load) -> Shard:
    users = load.users
    shard = Shard(plan(users.sessions, users.groups, load.mapping))
    for _ in range(TICKS):
        for batch in users.tick():
            if isinstance(batch, PlayerBatch):
                shard.apply_players(batch, batch.arrival_s[0])
            else:
                shard.apply(batch, batch.arrival_s[0])
        shard.tick(users.now_s)
    return shard


def rows() -> list[Row]:
    """The figures; each run in a process of its own."""
    stalls, media, players = ([_once(name) for _ in range(REPEATS)] for name in LOADS)
    more = [one - other for one, other in zip(media, stalls, strict=True)]
    return [
        Row.of(f"memory a session, of {SESSIONS:,}", "bytes", stalls, at_most=390),
        Row.of("memory a session of a player that posts CMCD", "bytes", players),
        Row.of("memory a session, more where quality is rated with stalls", "bytes", more, at_most=60),
    ]


def _once(load: str) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", "--once", load]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> int:
    """Print the table; with --once only the figure of one run, measured in this process."""
    if sys.argv[1:2] == ["--once"]:
        interpreter.tune()
        print(per_session(LOADS[sys.argv[2]]))
        return 0
    return run("Memory of the sessions, resident", rows)


if __name__ == "__main__":
    sys.exit(main())
