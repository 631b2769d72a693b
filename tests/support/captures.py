"""Requests of real players in a real browser, as they came, with what really happened (tests/captures)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from qoemon.core.counting.counts import ClosedInterval
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.message import Kind

CAPTURES = Path(__file__).parents[1] / "captures"


@dataclass(frozen=True)
class Posted:
    """A body as a collector hands it on."""

    payload: bytes
    arrival_s: float
    topic: str = "/cmcd/v1/video/eu"
    kind: Kind = Kind.CMCD


@dataclass(frozen=True)
class Truth:
    """What the video element did. Times in seconds."""

    stall_count: int
    stall_s: float
    play_s: float
    startup_s: float

    @classmethod
    def of(cls, told: dict[str, Any]) -> Truth:
        return cls(*(told[name] for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Capture:
    """A run of a player in a scenario, such as hlsjs and stall1."""

    player: str
    scenario: str
    posted: tuple[Posted, ...]
    truth: Truth

    @property
    def name(self) -> str:
        return f"{self.player}-{self.scenario}"


def capture(name: str) -> Capture:
    """The capture, with the POST requests that the collector took."""
    player, _, scenario = name.partition("-")
    lines = (CAPTURES / f"{name}.jsonl").read_text().splitlines()
    requests = (json.loads(line) for line in lines)
    posted = tuple(
        Posted(each["body"].encode(), each["t"])
        for each in requests
        if each["method"] == "POST" and each["status"] == 204
    )
    told = json.loads((CAPTURES / f"{name}.truth.json").read_text())
    return Capture(player, scenario, tuple(sorted(posted, key=lambda each: each.arrival_s)), Truth.of(told))


def captures() -> Iterator[Capture]:
    """All captures in which the player sent events."""
    for file in sorted(CAPTURES.glob("*.jsonl")):
        found = capture(file.stem)
        if found.posted:
            yield found


CAPTURED = tuple(captures())
MUTE = frozenset(each.name for each in CAPTURED if each.player == "shaka" or each.scenario == "defaultkeys")
"""Without any state: shaka's release builds, and dash.js without enabledKeys."""
LOST = frozenset({"shakadebug-netloss", "shakadebug-offline32", "shakadebug-col503"})
"""The player dropped records while it could not send them."""
OPEN = frozenset(
    {"dashjs-closestall", "hlsjs-closestall", "shakadebug-closestall", "dashjs-netloss", "dashjs-offline32"}
)
"""The last word is a stall."""
UNTOLD_RATE = frozenset({"dashjs-rate", "shakadebug-rate"})
"""The player tells the playback rate late, or never."""
UNTOLD_STALL = frozenset({"shakadebug-pausestall"})
"""The player says `p` when it goes on after a pause, although it still waits for media."""
EARLY_S = {"shakadebug": 0.65}
"""A player says `p` while it still holds the media; so long at most, for each time that it begins to play."""
SEEKS = frozenset({"seek", "seekback", "stallseek", "scrub"})
RUNS = {"again": 2, "reload": 2, "replay": 2}
HEARTBEAT_S, STALL_S, PLAY_S = 5.0, 0.05, 0.6
TRUTHFUL = tuple(each for each in CAPTURED if each.name not in MUTE | LOST)
"""Those in which the player told its states, and all records arrived."""
WHOLE = tuple(each for each in TRUTHFUL if each.name not in UNTOLD_STALL)
"""Those that come out as what the player did."""


@dataclass(frozen=True)
class Run:
    """What a run was counted with; times in seconds."""

    stalls: int
    stall_s: float
    play_s: float
    ended: bool


def is_true(found: Capture, runs: Sequence[Run]) -> None:
    """Assert that this is what the player of a truthful capture did, within what the player tells."""
    truth = found.truth
    stall_s, play_s = sum(run.stall_s for run in runs), sum(run.play_s for run in runs)
    assert sum(run.stalls for run in runs) == truth.stall_count
    if found.name in OPEN:
        assert stall_s <= truth.stall_s + STALL_S
        assert not runs[-1].ended
    else:
        assert abs(stall_s - truth.stall_s) <= STALL_S
    wordless = sum(not run.ended for run in runs)
    if found.name not in UNTOLD_RATE:
        early_s = max(PLAY_S, EARLY_S.get(found.player, 0) * _begun(found))
        assert truth.play_s - PLAY_S - wordless * HEARTBEAT_S <= play_s <= truth.play_s + early_s
    assert len(runs) == RUNS.get(found.scenario, 1)


def told_states(found: Capture) -> list[str]:
    """The states that the player told, in the order of its clock."""
    records = [line for body in found.posted for line in body.payload.decode().split("\n") if "sta=" in line]
    told = {}
    for line in records:
        seq, ts, state = (next(iter(re.findall(rf"\b{key}=(\w+)", line)), "") for key in ("sn", "ts", "sta"))
        if "e=rr" not in line:
            told[int(ts), int(seq)] = state
    return [told[key] for key in sorted(told)]


def _begun(found: Capture) -> int:
    """How often the player said that it plays, after something else."""
    states = ["", *told_states(found)]
    return sum(after == "p" != before for before, after in pairwise(states))


def naive(found: Capture) -> int:
    """The number of stalls, if each `r` is one."""
    states = ["", *told_states(found)]
    return sum(after == "r" != before for before, after in pairwise(states))


def naive_is_wrong(found: Capture) -> bool:
    """Whether counting each `r` gives another number of stalls than there were."""
    return naive(found) != found.truth.stall_count


def replayed(posted: Sequence[Posted], plan: Plan) -> list[SessionRecord]:
    """What each run was counted with: the bodies through the daemon's own core, and silence after them."""
    records: list[SessionRecord] = []
    played_out(posted, plan, records)
    return records


def played_out(
    posted: Sequence[Posted], plan: Plan, records: list[SessionRecord] | None = None
) -> tuple[ShardPipeline, list[ClosedInterval]]:
    """The pipeline after the bodies and a silence that ends all sessions, and the intervals that closed."""
    pipeline = ShardPipeline(plan, on_session=None if records is None else records.append)
    end_s = posted[-1].arrival_s + 3 * plan.timing.session_timeout_s
    closed = [
        interval
        for ticks in (pipeline.run(posted), pipeline.until(end_s))
        for tick in ticks
        for interval in tick.closed
    ]
    pipeline.hand_on_sessions()
    return pipeline, closed
