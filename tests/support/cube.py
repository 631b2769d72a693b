"""Viewers in many groups, by region and CDN, some of which are hit: for sums of groups and where to look first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

from qoemon.core.alerting.change_point import DetectorRules
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.evaluation import Tick
from qoemon.core.plan.plan import Counters, Plan
from tests.support.core import T0, VIDEO, OneShard, batch, plan
from tests.support.oracle import Said

LABELS = ("region", "cdn")
DELTAS = replace(VIDEO, counters=Counters.DELTA)
PLAN = replace(plan(DELTAS), labels=LABELS, roll_ups=(("region",), ("cdn",), ()))
QUICK = RegimeRules(dwell=1, detector=DetectorRules(learning=1))
REGIONS = tuple(f"region-{number:02}" for number in range(25))
CDNS = tuple(f"cdn-{number:02}" for number in range(20))

Hit = Callable[[str, str], bool]
"""Whether the viewers of a region and CDN stall."""


def nobody(region: str, cdn: str) -> bool:
    """No viewer is hit."""
    return False


def many_poor(by: tuple[str, ...] | None, groups: dict[str, Sequence[str]] | None = None, **more: object) -> Rule:
    """A rule as the default one, without waiting."""
    told: dict[str, object] = {"window_s": 60, "threshold": 0.25, "recovery": 0.18, "min_sessions": 50, **more}
    return Rule("ManyPoor", "video", AlertMetric.POW, groups=groups or {}, by=by, **told)  # type: ignore[arg-type]


class Cube:
    """So many viewers in each region and CDN, who report every 10 s; those who are hit stall half of the time."""

    def __init__(
        self,
        *rules: Rule,
        told: Plan = PLAN,
        regions: Sequence[str] = REGIONS,
        cdns: Sequence[str] = CDNS,
        viewers: int = 6,
        regimes: RegimeRules = QUICK,
    ) -> None:
        self.shard = OneShard(told, rules, regimes)
        self._groups, self._viewers = tuple(product(regions, cdns)), viewers
        self.at_s = T0

    def tick(self, hit: Hit, silent: Hit = nobody) -> Tick:
        """The next tick, after a report of every viewer who is not silent."""
        self.shard.apply(batch(self.said(hit, silent)), self.at_s)
        self.at_s += 10
        return self.shard.evaluate(self.at_s)

    def minute(self, hit: Hit) -> Tick:
        """The tick at the end of the next rating interval."""
        return [self.tick(hit) for _ in range(6)][-1]

    def said(self, hit: Hit, silent: Hit = nobody) -> list[Said]:
        """What the viewers report now."""
        return [
            self._said(f"{region} {cdn} {viewer}", (region, cdn), bad=hit(region, cdn))
            for region, cdn in self._groups
            if not silent(region, cdn)
            for viewer in range(self._viewers)
        ]

    def _said(self, session: str, group: tuple[str, ...], *, bad: bool) -> Said:
        stalls = {"stalls": 1, "stall_ms": 5_000} if bad else {"stalls": 0, "stall_ms": 0}
        return Said(session, self.at_s * 1000, group, play_ms=10_000 - 5_000 * bad, **stalls)
