"""Someone invents label sets and session ids by the million. `make attack`.

The core alone, with the default limits and simulated time. Its honest users are there before and stay. They are to
get the same numbers, bit for bit, as without the attack; what is held, and the memory for it, is to stay bounded.
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
from qoemon.core.pipeline import Pipeline

from qoemon.config.config import Config
from qoemon.config.plan import alert_rules, core_plan
from qoemon.core.counting.counts import Event
from qoemon.core.plan.plan import Limits
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.inputs.inbox import Message

IDS, LABEL_SETS = 5_000_000, 100_000
HONEST, HONEST_GROUPS = 2000, ("eu", "us")
TICKS, TICK_S, START_S = 12, 10, 1_700_000_040
"""Two rating intervals. In the first tick there are honest users only; the attack fills the others."""
CHUNK = 500
"""Messages taken in at once."""

BYTES_A_SESSION, BYTES_A_GROUP, BYTES_MORE = 500, 50_000, 200_000_000
"""The bound of memory: for each session and label set that the limits allow, each service, and for all else."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to. honest: of each tick, the numbers of the honest groups."""

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
    """One report of each session, as a gateway sends them."""
    reports = [
        {"session": session, "seq": seq, "stall_count": stalls, "stall_s": 2.5 * stalls, "play_s": 10.0 * (seq + 1)}
        for session in sessions
    ]
    return Message(topic, msgspec.json.encode(reports), at_s, 1, 1, 1)


def honest(tick: int) -> list[Message]:
    """A report of every honest user; some of them have stalled once an interval."""
    at_s, size = START_S + tick * TICK_S + 5.0, HONEST // len(HONEST_GROUPS)
    return [
        message(f"qoe/v1/video/{region}/a", at_s, [f"{region}-{i}" for i in some], tick, stalls=stalls)
        for region in HONEST_GROUPS
        for some, stalls in ((range(size // 4), tick // 5), (range(size // 4, size), 0))
    ]


def attack(tick: int, ids: int, label_sets: int) -> Iterator[Message]:
    """This tick's part of the attack: every message has a label set of its own, and ids that nobody has seen."""
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
    """All ticks, with an attack if ids is not 0."""
    began_s = time.monotonic()
    plan = replace(core_plan(Config()), limits=limits)
    pipeline = Pipeline(plan, alert_rules(Config()), Config().regimes.core)
    told, snapshot = [], None
    for tick in range(TICKS):
        pipeline.apply(honest(tick))
        if ids and tick > 0:
            for chunk in _chunks(attack(tick, ids, label_sets)):
                pipeline.apply(chunk)
        snapshot = pipeline.tick(START_S + (tick + 1) * TICK_S).snapshot
        told.append(numbers(snapshot))
    assert snapshot is not None
    held = dict(snapshot.events)
    newcomer = _refused(pipeline, START_S + TICKS * TICK_S + 1)
    quiet_s = START_S + TICKS * TICK_S + int(plan.timing.session_timeout_s) + 60
    after = pipeline.tick(quiet_s).snapshot
    return Outcome(
        honest=told,
        peak_bytes=_peak_bytes(),
        sessions=snapshot.sessions,
        groups=sum(len(service.tally.groups) for service in snapshot.services),
        refused=held.get(Event.REFUSED, 0),
        pooled=held.get(Event.POOLED, 0),
        newcomer_refused=newcomer,
        sessions_after=after.sessions,
        newcomer_refused_after=_refused(pipeline, quiet_s + 1),
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


def _refused(pipeline: Pipeline, at_s: float) -> int:
    """Whether the first report of a new honest user is refused: how many are."""
    before = _refusals(pipeline, at_s)
    pipeline.apply([message("qoe/v1/video/eu/a", at_s, [f"new-{at_s}"], seq=0)])
    return _refusals(pipeline, at_s) - before


def _refusals(pipeline: Pipeline, at_s: float) -> int:
    return pipeline.monitor.snapshot(at_s).events.get(Event.REFUSED, 0)


def numbers(snapshot: Snapshot) -> NDArray[np.float64]:
    """All that is said of the honest groups."""
    video = next(service for service in snapshot.services if service.service.name == "video")
    rows = [video.tally.groups.index((region, "a")) for region in HONEST_GROUPS]
    parts = [video.tally.active_sessions, video.tally.open_stalls, video.tally.expected_ratings]
    for length, told in video.distributions.items():
        parts += [video.tally.windows[length], video.tally.users[length]]
        parts += [told.mos, told.gob, told.pow, told.ratings, told.quantiles, told.gob_bounds, told.pow_bounds]
    return np.concatenate([np.asarray(part, np.float64)[rows].ravel() for part in parts])


def _peak_bytes() -> int:
    """The most memory that this process has had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def bound_bytes(limits: Limits, services: int = 2) -> int:
    """Memory that the process may have at most."""
    return services * (limits.sessions * BYTES_A_SESSION + limits.groups * BYTES_A_GROUP) + BYTES_MORE


def both(limits: Limits, ids: int, label_sets: int) -> tuple[Outcome, Outcome]:
    """A run without the attack and one with it, each in a process of its own."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as process:
        calm = process.submit(run, limits, 0, 0).result()
        return calm, process.submit(run, limits, ids, label_sets).result()


def broken(calm: Outcome, hit: Outcome, limits: Limits) -> list[str]:
    """The promises that were broken."""
    pairs = zip(calm.honest, hit.honest, strict=True)
    promises = {
        "honest groups have the same numbers": all(np.array_equal(*pair, equal_nan=True) for pair in pairs),
        "sessions are bounded": hit.sessions <= 2 * limits.sessions,
        "label sets are bounded": hit.groups <= 2 * (limits.groups + 1),
        "what is beyond the bounds is counted": hit.refused > 0 and hit.pooled > 0,
        "memory is bounded": hit.peak_bytes <= bound_bytes(limits),
        "it is over with the timeout": hit.sessions_after <= 1 and not hit.newcomer_refused_after,
    }
    return [promise for promise, kept in promises.items() if not kept]


def main() -> int:
    """Print the table; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=__doc__)
    parser.add_argument("--ids", type=int, default=IDS, help="session ids to invent (default: %(default)s)")
    parser.add_argument("--label-sets", type=int, default=LABEL_SETS, help="label sets (default: %(default)s)")
    told = parser.parse_args()
    limits = core_plan(Config()).limits
    calm, hit = both(limits, told.ids, told.label_sets)
    print("| what | without | under attack |", "|---|---:|---:|", sep="\n")
    for name in ("sessions", "groups", "refused", "pooled", "newcomer_refused", "sessions_after"):
        print(f"| {name.replace('_', ' ')} | {getattr(calm, name):,} | {getattr(hit, name):,} |")
    print(f"| MB of memory at most | {calm.peak_bytes / 1e6:,.0f} | {hit.peak_bytes / 1e6:,.0f} |")
    print(f"| MB that are allowed | | {bound_bytes(limits) / 1e6:,.0f} |")
    print(f"| s | {calm.took_s:,.0f} | {hit.took_s:,.0f} |")
    faults = broken(calm, hit, limits)
    for promise in faults:
        print(f"broken: {promise}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
