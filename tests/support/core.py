"""What the tests of the core share: a plan, and batches made of what the oracle hears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.monitor import Monitor
from qoemon.core.evaluation import Evaluation, Tick
from qoemon.core.plan.plan import Counters, Limits, Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import LINEAR, MEDIA_STALL, VIDEO_STALL, WEB_IQX
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import Batch, batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.oracle import QUALITY_PARTS, Cell, Level, Said

T0 = 1_700_000_040
"""Seconds since the epoch, where a rating interval begins."""
WINDOWS_S = (60, 300, 600)
VIDEO = Service("video", VIDEO_STALL, 0.3, theta_band=(0.1,))
WEB = Service("web", WEB_IQX, 0.25)
MEDIA = Service("video", MEDIA_STALL.with_quality(LINEAR.with_inputs(["q"])), 0.3)
"""Its quality is the measure q itself."""
DELTAS = replace(VIDEO, counters=Counters.DELTA)


def plan(*services: Service, timing: dict[str, Any] | None = None, **limits: int) -> Plan:
    """Video and web unless told otherwise, with one label, region."""
    return Plan(
        services=services or (VIDEO, WEB),
        topics=(TopicTemplate("qoe/v1/{service}/{region}"),),
        labels=("region",),
        timing=Timing(**{"windows_s": WINDOWS_S, **(timing or {})}),
        limits=replace(Limits(), **limits),
    )


def report(said: Said) -> Report:
    """As it comes out of the decoder."""
    told = {"seq": said.seq, "stall_count": said.stalls}
    told |= {"stall_s": _seconds(said.stall_ms), "play_s": _seconds(said.play_ms)}
    given = {name: value for name, value in told.items() if value is not None}
    if said.quality is not None:
        given["measures"] = {"q": 1 + 4 * said.quality / QUALITY_PARTS}
    return Report(session=said.session, stalled=said.stalled, end=said.end, **given)


def batch(said: Sequence[Said], service: str = "video") -> Batch:
    """The reports as columns; all of them must be good."""
    routes = [Route(service, each.group) for each in said]
    distinct = list(dict.fromkeys(routes))
    numbers = [distinct.index(route) for route in routes]
    columns, bad = batch_of(
        [report(each) for each in said], numbers, [each.at_ms / 1000 for each in said], distinct, ["q"]
    )
    assert not len(bad), said[bad[0]]
    return columns


def responses(
    at_s: float, times_s: Iterable[float], *, session: str = "s", group: str = "eu", seq: int = 0
) -> Batch:
    """One report of a response-time service."""
    told = Report(session=session, seq=seq, response_s=list(times_s))
    return batch_of([told], [0], [at_s], [Route("web", (group,))])[0]


class OneShard:
    """A Monitor of all sessions with its evaluation, in the time that the tests say."""

    def __init__(self, told: Plan, rules: Sequence[Rule] = (), regimes: RegimeRules | None = None) -> None:
        self.monitor = Monitor(told)
        self.evaluation = Evaluation(told, rules, regimes or RegimeRules())
        self._tick_s = told.timing.tick_s

    @property
    def sessions(self) -> int:
        return self.monitor.sessions

    @property
    def events(self) -> Mapping[Event, int]:
        return self.monitor.events

    @property
    def tick(self) -> int | None:
        return self.monitor.tick

    def apply(self, batch: Batch, now_s: float) -> None:
        self.monitor.apply(batch, now_s)

    def evaluate(self, now_s: float) -> Tick:
        return self.evaluation.tick([shard_counts(self.monitor, now_s, self._tick_s)])

    def snapshot(self, now_s: float) -> Snapshot:
        return self.evaluate(now_s).snapshot

    def counts(self, now_s: float) -> tuple[ServiceCounts, ...]:
        return tuple(service.counts for service in self.snapshot(now_s).services)

    def dump(self) -> Arrays:
        if self.tick is not None:  # The intervals that have closed are the evaluation's.
            self.evaluate(self.tick * self._tick_s)
        return {**self.monitor.dump(), **self.evaluation.dump()}

    def load(self, state: Arrays) -> tuple[str, ...]:
        reset = self.monitor.load(state)
        assert self.evaluation.load(state) == reset
        return reset

    def shift(self, by_s: int) -> None:
        self.monitor.shift(by_s)
        self.evaluation.shift(by_s)


def shard_counts(monitor: Monitor, now_s: float, tick_s: int) -> ShardCounts:
    """What a monitor hands on at the newest tick that is not after now_s."""
    services = monitor.counts(now_s)
    assert monitor.tick is not None
    return ShardCounts(
        time_s=monitor.tick * tick_s,
        services=services,
        closed=tuple(monitor.drain_closed()),
        events=monitor.events,
        rejected={},
        sessions=monitor.sessions,
    )


def levels(tally: ServiceCounts, window_s: int) -> Counter[Level]:
    """The counts of a window as the oracle writes them."""
    counts = tally.windows[window_s]
    return Counter({(tally.groups[g], int(level)): int(counts[g, level]) for g, level in np.argwhere(counts)})


def cells(tally: ServiceCounts) -> Counter[Cell]:
    """The conditions of the base window as the oracle writes them."""
    counts = tally.qos.reshape(len(tally.groups), 21, 62)
    return Counter({(tally.groups[g], int(n), int(t)): int(counts[g, n, t]) for g, n, t in np.argwhere(counts)})


def base(monitor: OneShard, now_s: float) -> Counter[Cell]:
    """The conditions of the first service's base window."""
    return cells(monitor.counts(now_s)[0])


def same_tally(one: ServiceCounts, other: ServiceCounts) -> bool:
    """Whether two tallies are equal bit for bit."""
    arrays = [_arrays(tally) for tally in (one, other)]
    return (one.service, one.groups) == (other.service, other.groups) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(*arrays, strict=True)
    )


def _arrays(tally: ServiceCounts) -> list[np.ndarray]:
    return [
        *tally.windows.values(),
        *tally.users.values(),
        tally.qos,
        tally.active_sessions,
        tally.open_stalls,
        tally.oldest_stall_s,
        tally.quality,
        tally.expected_ratings,
        *tally.marginals,
    ]


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
