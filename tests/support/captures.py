"""Requests of real players in a real browser, as they came, with what really happened (tests/captures)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
