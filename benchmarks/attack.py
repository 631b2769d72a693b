"""An attacker invents label sets and session ids by the million. `make attack`.

It runs the core alone, with the default limits and simulated time. Honest users report before and during it.
Their figures must be equal, bit for bit, to those without it; sessions, label sets and memory must stay bounded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.config.config import Config
from qoemon.config.plan import alert_rules, core_plan
from qoemon.core.counting.counts import Event
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.plan import Limits, Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.inputs.inbox import Message

IDS, LABEL_SETS = 5_000_000, 100_000
HONEST, HONEST_GROUPS = 2000, ("eu", "us")
TICKS, TICK_S, START_S = 12, 10, 1_700_000_040
"""Two rating intervals. In the first tick only honest users report; the attack fills the others."""
CHUNK = 500
"""Messages applied at once."""

BYTES_A_SESSION, BYTES_A_GROUP, BYTES_MORE = 500, 50_000, 200_000_000
"""The bound of memory: for each session and each label set within the limits of a service, and for the rest."""


@dataclass(frozen=True)
class Outcome:
    """Result of a run. honest: the figures of the honest groups at each tick."""

    honest: list[NDArray[np.float64]] = field(repr=False)
    peak_bytes: int
    sessions: int
    groups: int
    refused: int
    pooled: int
    newcomer_refused: int
    sessions_after: int
    newcomer_refused_after: int
    took_s: float


def message(topic: str, at_s: float, sessions: Sequence[str], seq: int, stalls: int = 0) -> Message:
    """One report of each session, in one message."""
    reports = [
        {"session": session, "seq": seq, "stall_count": stalls, "stall_s": 2.5 * stalls, "play_s": 10.0 * (seq + 1)}
        for session in sessions
    ]
    return Message(topic, msgspec.json.encode(reports), at_s, 1, 1, 1)


def honest(tick: int) -> list[Message]:
    """A report of every honest user; a quarter of them stall once an interval."""
    at_s, size = START_S + tick * TICK_S + 5.0, HONEST // len(HONEST_GROUPS)
    return [
        message(f"qoe/v1/video/{region}/a", at_s, [f"{region}-{i}" for i in some], tick, stalls=stalls)
        for region in HONEST_GROUPS
        for some, stalls in ((range(size // 4), tick // 5), (range(size // 4, size), 0))
    ]


def attack(tick: int, ids: int, label_sets: int) -> Iterator[Message]:
    """The attack's messages of this tick, each with a new label set and new session ids."""
    at_s = START_S + tick * TICK_S + 6.0
    each = max(ids // label_sets, 1)
    for number in range(label_sets * (tick - 1) // (TICKS - 1), label_sets * tick // (TICKS - 1)):
        service = ("video", "web")[number % 2]
        names = [f"{number:016x}{i:016x}" for i in range(each)]
        if service == "video":
            yield message(f"qoe/v1/video/region-{number}/b", at_s, names, seq=0, stalls=1)
        else:
            reports = [{"session": name, "seq": 0, "response_s": 300.0} for name in names]
            yield Message(f"qoe/v1/web/region-{number}/b", msgspec.json.encode(reports), at_s, 1, 1, 1)


def run(limits: Limits, ids: int, label_sets: int) -> Outcome:
    """Run all ticks, with an attack if ids is not 0."""
    began_s = time.monotonic()
    plan = replace(core_plan(Config()), limits=limits)
    shard = Attacked(plan)
    figures, snapshot = [], None
    for tick in range(TICKS):
        shard.pipeline.apply(honest(tick))
        if ids and tick > 0:
            for chunk in _chunks(attack(tick, ids, label_sets)):
                shard.pipeline.apply(chunk)
        snapshot = shard.tick(START_S + (tick + 1) * TICK_S)
        figures.append(numbers(snapshot))
    assert snapshot is not None
    held = dict(snapshot.events)
    newcomer = _refused(shard, START_S + TICKS * TICK_S + 1)
    quiet_s = START_S + TICKS * TICK_S + int(plan.timing.session_timeout_s) + 60
    after = shard.tick(quiet_s)
    return Outcome(
        honest=figures,
        peak_bytes=_peak_bytes(),
        sessions=snapshot.sessions,
        groups=sum(len(service.counts.groups) for service in snapshot.services),
        refused=held.get(Event.REFUSED, 0),
        pooled=held.get(Event.POOLED, 0),
        newcomer_refused=newcomer,
        sessions_after=after.sessions,
        newcomer_refused_after=_refused(shard, quiet_s + 1),
        took_s=time.monotonic() - began_s,
    )


def _chunks(messages: Iterator[Message]) -> Iterator[list[Message]]:
    some: list[Message] = []
    for each in messages:
        some.append(each)
        if len(some) == CHUNK:
            yield some
            some = []
    yield some


class Attacked:
    """The pipeline of all sessions, and its evaluation."""

    def __init__(self, plan: Plan) -> None:
        self.pipeline = ShardPipeline(plan)
        self._evaluation = Evaluation(plan, alert_rules(Config()), Config().regimes.core)

    def tick(self, tick_s: int) -> Snapshot:
        return self._evaluation.tick([self.pipeline.tick(tick_s)]).snapshot


def _refused(shard: Attacked, at_s: int) -> int:
    """How many reports are refused when a new honest user first reports: 0 or 1."""
    tick_s = at_s // TICK_S * TICK_S
    before = shard.tick(tick_s).events.get(Event.REFUSED, 0)
    shard.pipeline.apply([message("qoe/v1/video/eu/a", at_s, [f"new-{at_s}"], seq=0)])
    return shard.tick(tick_s).events.get(Event.REFUSED, 0) - before


def numbers(snapshot: Snapshot) -> NDArray[np.float64]:
    """All figures of the honest groups, in one array."""
    video = next(service for service in snapshot.services if service.service.name == "video")
    rows = [video.counts.groups.index((region, "a")) for region in HONEST_GROUPS]
    parts = [video.counts.active_sessions, video.counts.open_stalls, video.counts.expected_ratings]
    for length, rated in video.distributions.items():
        parts += [video.counts.windows[length], video.counts.users[length]]
        parts += [
            rated.mos,
            rated.gob,
            rated.pow,
            rated.ratings,
            rated.quantiles,
            rated.gob_bounds,
            rated.pow_bounds,
        ]
    return np.concatenate([np.asarray(part, np.float64)[rows].ravel() for part in parts])


def _peak_bytes() -> int:
    """Peak resident memory of this process."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def bound_bytes(limits: Limits, services: int = 2) -> int:
    """Most memory that the process may use."""
    return services * (limits.sessions * BYTES_A_SESSION + limits.groups * BYTES_A_GROUP) + BYTES_MORE


def both(limits: Limits, ids: int, label_sets: int) -> tuple[Outcome, Outcome]:
    """A run without the attack and one with it, each in a process of its own."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as process:
        calm = process.submit(run, limits, 0, 0).result()
        return calm, process.submit(run, limits, ids, label_sets).result()


def broken(calm: Outcome, hit: Outcome, limits: Limits) -> list[str]:
    """Names of the promises that do not hold."""
    pairs = zip(calm.honest, hit.honest, strict=True)
    promises = {
        "honest groups have the same numbers": all(np.array_equal(*pair, equal_nan=True) for pair in pairs),
        "sessions are bounded": hit.sessions <= 2 * limits.sessions,
        "label sets are bounded": hit.groups <= 2 * (limits.groups + 1),
        "what is beyond the bounds is counted": hit.refused > 0 and hit.pooled > 0,
        "memory is bounded": hit.peak_bytes <= bound_bytes(limits),
        "it ends with the session timeout": hit.sessions_after <= 1 and not hit.newcomer_refused_after,
    }
    return [promise for promise, kept in promises.items() if not kept]


def main() -> int:
    """Print the table; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=__doc__)
    parser.add_argument("--ids", type=int, default=IDS, help="invented session ids (default: %(default)s)")
    parser.add_argument(
        "--label-sets", type=int, default=LABEL_SETS, help="invented label sets (default: %(default)s)"
    )
    options = parser.parse_args()
    limits = core_plan(Config()).limits
    calm, hit = both(limits, options.ids, options.label_sets)
    print("| what | without | under attack |", "|---|---:|---:|", sep="\n")
    for name in ("sessions", "groups", "refused", "pooled", "newcomer_refused", "sessions_after"):
        print(f"| {name.replace('_', ' ')} | {getattr(calm, name):,} | {getattr(hit, name):,} |")
    print(f"| peak memory, MB | {calm.peak_bytes / 1e6:,.0f} | {hit.peak_bytes / 1e6:,.0f} |")
    print(f"| allowed, MB | | {bound_bytes(limits) / 1e6:,.0f} |")
    print(f"| s | {calm.took_s:,.0f} | {hit.took_s:,.0f} |")
    faults = broken(calm, hit, limits)
    for promise in faults:
        print(f"broken: {promise}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
