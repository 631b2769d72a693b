"""Streams of reports with opinions, and what a daemon's core makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.evaluation import Evaluation, Tick
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.wire.message import Kind
from tests.support.core import T0


class Sent(NamedTuple):
    """A message with one report, by its time after T0."""

    payload: bytes
    arrival_s: float
    topic: str = "qoe/v1/video/eu"
    kind: Kind = Kind.MQTT

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.payload)


def sent(at_s: float, session: str = "s", service: str = "video", **report: Any) -> Sent:
    """A report that arrives so long after T0."""
    document = {"session": session, **report}
    return Sent(json.dumps(document).encode(), T0 + at_s, f"qoe/v1/{service}/eu")


STALL_AT_S = 20


def viewing(until_s: int, session: str = "s", *, stall_s: int = 0, end: bool = True) -> list[Sent]:
    """A viewer that begins at T0, stalls once, from STALL_AT_S on for stall_s, and reports each 5 s."""
    reports = []
    for number, at_s in enumerate(range(until_s % 5 or 5, until_s + 1, 5), 1):
        stalled = min(max(at_s - STALL_AT_S, 0), stall_s)
        counters = {"stall_count": int(stalled > 0), "stall_s": stalled, "play_s": at_s - stalled}
        last = {"end": True} if end and at_s == until_s else {}
        reports.append(sent(at_s, session, seq=10 * number, **counters, **last))
    return reports


DAY_TICKS_S = (60, 120, 180)
"""Of each day, ticks after the time of T0."""


WORST = (1,)
USUAL = (2, 3, 3, 4, 5)
"""Ratings of users who stall once for STALLED_S, as predicted."""
LOW = (1, 2, 2, 3, 4)
ALIKE = (2, 3, 3, 3, 3, 4, 4, 4, 4, 4)
"""Lower than predicted, and with the mean that is predicted, but less spread."""
STALLED_S = 6


def rated_days(days: Sequence[Sequence[int]], viewers: int = 20, **more: Any) -> list[Sent]:
    """Viewers who stall once, each day at the time of T0; some ratings for each day, which they give in turn.

    more  what they say beside the rating
    """
    messages = []
    for day, ratings in enumerate(days):
        for number in range(viewers):
            name = f"{day}-{number}"
            said = [sent(59, name, rating=ratings[number % len(ratings)], seq=1000, **more)] if ratings else []
            once = [*viewing(58, name, stall_s=STALLED_S), *said]
            messages += [each._replace(arrival_s=each.arrival_s + day * DAY_S) for each in once]
    return messages


def times_of_days(days: int) -> list[int]:
    """Times of the ticks of so many days, seconds after T0: a few of each day."""
    return [day * DAY_S + at_s for day in range(days) for at_s in DAY_TICKS_S]


class Core:
    """Shards and an evaluation, which may all be restarted from their states."""

    def __init__(self, told: Plan, shards: int = 1, rules: Sequence[Rule] = ()) -> None:
        self._plan, self._shards, self._rules = told, shards, rules
        self.pipelines, self.evaluation = self._new()

    def _new(self) -> tuple[list[ShardPipeline], Evaluation]:
        pipelines = [ShardPipeline(self._plan, retain=True) for _ in range(self._shards)]
        return pipelines, Evaluation(self._plan, self._rules, RegimeRules())

    def restart(self, told: Plan | None = None) -> None:
        """Continue from the states, with the same plan or another."""
        states: Sequence[Arrays] = [each.dump() for each in self.pipelines]
        before = self.evaluation.dump()
        self._plan = told or self._plan
        self.pipelines, self.evaluation = self._new()
        self.evaluation.load(before)
        for pipeline, state in zip(self.pipelines, states, strict=True):
            pipeline.load(state)

    def run(
        self, messages: Sequence[Sent], until_s: int, *, at_once: int = 1000, restart_s: int | None = None
    ) -> list[Tick]:
        """The ticks up to so long after T0; a session is on the shard of its last character."""
        return self.run_at(messages, range(10, until_s + 1, 10), at_once=at_once, restart_s=restart_s)

    def run_at(
        self,
        messages: Sequence[Sent],
        times_s: Sequence[int],
        *,
        at_once: int = 1000,
        restart_s: int | None = None,
    ) -> list[Tick]:
        """The ticks at these times after T0."""
        ticks = []
        ordered = sorted(messages, key=lambda each: each.arrival_s)
        for tick_s in (T0 + time_s for time_s in times_s):
            if restart_s is not None and tick_s == T0 + restart_s:
                self.restart()
            now = [each for each in ordered if tick_s - 10 <= each.arrival_s < tick_s]
            for shard, pipeline in enumerate(self.pipelines):
                mine = [each for each in now if ord(each.report["session"][-1]) % self._shards == shard]
                for begin in range(0, len(mine), at_once):
                    pipeline.apply(mine[begin : begin + at_once])
            ticks.append(self.evaluation.tick([sparse_counts(each.tick(tick_s)) for each in self.pipelines]))
        return ticks
