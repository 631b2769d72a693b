"""What the tests of the page share: crowds of viewers, and what the daemon would have published of them."""

from __future__ import annotations

from dataclasses import replace

from qoemon.core.alerting.change_point import DetectorRules
from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Counters
from qoemon.daemon.metrics import initial_metrics
from qoemon.outputs.history import History
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.published import PublishedTick
from tests.support.core import T0, VIDEO, WEB, OneShard, batch, plan, responses
from tests.support.oracle import Said

TICK_S = 10
DELTAS = replace(VIDEO, counters=Counters.DELTA, theta_band=(0.1, 0.4))
RULE = Rule(
    name="ManyPoor",
    service="video",
    metric=AlertMetric.POW,
    window_s=60,
    threshold=0.3,
    recovery=0.2,
    groups={},
    min_sessions=10,
    annotations={"runbook": "look at {region}"},
)


class Scene:
    """Regions whose viewers play well or badly for 10 s at a time; each tick is published."""

    def __init__(self) -> None:
        self._plan = plan(DELTAS, WEB)
        self._monitor = OneShard(self._plan)
        self._watch = Detector(self._plan, (RULE,), RegimeRules(dwell=1, detector=DetectorRules(learning=1)))
        self._history, self._exporter = History(TICK_S), Exporter()
        self.at_s = T0

    def tick(self, **crowds: tuple[int, int]) -> PublishedTick:
        """By region, how many sessions play well and how many badly in the 10 s before the tick."""
        said = [
            self._said(f"{region} {number}", region, bad=number >= good)
            for region, (good, bad) in crowds.items()
            for number in range(good + bad)
        ]
        self._monitor.apply(batch(said), self.at_s)
        self.at_s += TICK_S
        snapshot = self._monitor.snapshot(self.at_s)
        watched = self._watch.observe(snapshot)
        return self._exporter.render(snapshot, watched, initial_metrics(), self._history.add(snapshot, watched))

    def ticks(self, number: int, **crowds: tuple[int, int]) -> list[PublishedTick]:
        return [self.tick(**crowds) for _ in range(number)]

    def respond(self, region: str, sound: int, impossible: int) -> None:
        """So many pages of a region report a response time before the next tick, some of them in milliseconds."""
        for number in range(sound + impossible):
            response = 0.84 if number < sound else 840.0
            page = f"{region} {self.at_s} {number}"
            self._monitor.apply(responses(self.at_s, [response], session=page, group=region), self.at_s)

    def _said(self, session: str, region: str, *, bad: bool) -> Said:
        stalled = {"stalls": 2, "stall_ms": 5_000, "stalled": True} if bad else {"stalls": 0, "stall_ms": 0}
        return Said(session, self.at_s * 1000, (region,), play_ms=10_000 - 5_000 * bad, **stalled)
