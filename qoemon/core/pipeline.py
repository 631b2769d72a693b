"""The whole line from bytes to what is thought of them: decode, apply, snapshot, watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays, named, part
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import Line
from qoemon.core.snapshot.snapshot import Snapshot


class Tick(NamedTuple):
    """What a tick has to say."""

    snapshot: Snapshot
    watched: Detections


class Pipeline(Line[Tick]):
    """A Line that says what all users answer, and what is thought of it."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        super().__init__(plan)
        self.watch = Detector(plan, rules, regimes)

    def tick(self, tick_s: int) -> Tick:
        """What is to be said at this tick, seconds since the epoch; every message before it has been applied."""
        snapshot = self.monitor.snapshot(tick_s)
        return Tick(snapshot, self.watch.observe(snapshot))

    def dump(self) -> Arrays:
        """All that a restart needs, as arrays by name."""
        return super().dump() | named("watch/", self.watch.dump())

    def load(self, state: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """As Line.load."""
        anew = super().load(state)
        self.watch.load(part("watch/", state), anew)
        return anew

    def shift(self, by_s: int) -> None:
        """As Line.shift."""
        super().shift(by_s)
        self.watch.shift(by_s)
