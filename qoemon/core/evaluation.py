"""The evaluation of a tick: merges the counts of all shards, predicts ratings, evaluates alerts and regimes.

It holds everything that is summed over time, and everything that is a float. Shards hold the sessions, and count in
integers: so several shards give exactly the same results as one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import AlertKey
from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays, named, part
from qoemon.core.counting.backlog import Backlog
from qoemon.core.counting.closed_ratings import ClosedRatings, dump_closed, load_closed
from qoemon.core.counting.counts import BaseCounts, Event
from qoemon.core.counting.groups import Labels
from qoemon.core.feedback.conditions import GivenAnswers
from qoemon.core.feedback.day import DaySums
from qoemon.core.plan.fingerprint import STATE_VERSION, fingerprint, reset_services
from qoemon.core.plan.plan import Plan
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.sharding.merger import Merger
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.snapshot.builder import SnapshotBuilder
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.report import Reject

T = TypeVar("T")


class Tick(NamedTuple):
    """The result of a tick."""

    snapshot: Snapshot
    detections: Detections


class Totals(msgspec.Struct, frozen=True):
    """Totals of a shard since its beginning; closed_s is the end of its newest interval that has been added."""

    events: dict[Event, int] = {}
    rejected: dict[Reject, int] = {}
    closed_s: int | None = None


class Evaluation:
    """Evaluates the counts of all shards; tick() is called with each tick, in order."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        self._plan = plan
        self._builder, self._detector = SnapshotBuilder(plan, _roll_ups(rules)), Detector(plan, rules, regimes)
        kernels = self._builder.kernels
        self._mergers = {service.name: Merger(service, plan, kernels[service.name]) for service in plan.services}
        self._shards: dict[int, Totals] = {}
        self._lost = Totals()
        """Totals of shards that have lost their state."""
        self._events: Counter[Event] = Counter()
        self._rejected: Counter[Reject] = Counter()
        self._backlog = Backlog(plan.timing.tick_s, plan.timing.interval_s)
        self._newest_closed: tuple[ClosedRatings, ...] = ()
        """What closed last. A restart may come before it is in the history, so it is returned again after one."""
        self._restored: tuple[ClosedRatings, ...] = ()

    @property
    def rejected(self) -> Mapping[Reject, int]:
        """Number of rejected reports by reason, in all shards, as of the newest tick."""
        return self._rejected

    @property
    def full(self) -> Mapping[str, tuple[Labels, ...]]:
        """The groups of each service whose limit is reached: all shards have to pool any others."""
        return {name: merger.groups.all for name, merger in self._mergers.items() if merger.groups.full}

    @property
    def feedback(self) -> Mapping[str, Mapping[int, DaySums]]:
        """What users said, by service and UTC day since the epoch."""
        return {name: merger.feedback.days for name, merger in self._mergers.items()}

    @property
    def answers(self) -> Mapping[str, GivenAnswers]:
        """The answers of users by condition and day, by service."""
        return {name: merger.feedback.given for name, merger in self._mergers.items()}

    @property
    def closed_s(self) -> Mapping[int, int]:
        """By shard, the end of its newest interval that has been added, seconds since the epoch."""
        return {shard: totals.closed_s for shard, totals in self._shards.items() if totals.closed_s is not None}

    def tick(self, shards: Sequence[ShardCounts], *, connected: bool = True) -> Tick:
        """Evaluate a tick.

        shards     the counts of each shard, in the order of shards, of the same tick
        connected  whether the daemon is connected to its broker, as far as is known
        """
        by_service = list(zip(*(counts.services for counts in shards), strict=True))
        for some in by_service:
            self._remove_idle_groups(some, shards[0].time_s)
        numbers = [self._mergers[some[0].service].number_groups(some) for some in by_service]
        closed = (*self._restored, *self._close(shards, numbers))
        self._restored, self._newest_closed = (), closed or self._newest_closed
        counts = [
            self._mergers[some[0].service].merge(some, rows, shards[0].time_s)
            for some, rows in zip(by_service, numbers, strict=True)
        ]
        events = self._sum_events(shards)
        snapshot = self._builder.snapshot(
            counts,
            time_s=shards[0].time_s,
            events=events,
            sessions=sum(counts.sessions for counts in shards),
            catching_up=self._backlog.observe(shards[0].time_s, events),
            closed=closed,
            feedback=self.feedback,
            answers=self.answers,
        )
        return Tick(snapshot, self._detector.observe(snapshot, connected=connected))

    def lose(self, shard: int) -> None:
        """Keep the totals of a shard that has lost its state and begins from scratch."""
        self._detector.interrupt()
        if lost := self._shards.pop(shard, None):
            events, rejected = Counter(self._lost.events), Counter(self._lost.rejected)
            events.update(lost.events)
            rejected.update(lost.rejected)
            self._lost = Totals(events=events, rejected=rejected)

    def adopt(self, shards: Sequence[ShardCounts]) -> None:
        """Continue with other shards, which have counted the same reports up to the newest tick.

        Totals go on where they were. What these shards have closed is known already.
        """
        closed_s = max(self.closed_s.values(), default=None)
        events, rejected = Counter(self._lost.events), Counter(self._lost.rejected)
        for totals in self._shards.values():
            events.update(totals.events)
            rejected.update(totals.rejected)
        # Neither may fall; after a restart both are empty.
        events, rejected = _monotonic(self._events, events), _monotonic(self._rejected, rejected)
        for counts in shards:
            events.subtract(counts.events)
            rejected.subtract(counts.rejected)
        self._lost = Totals(events=events, rejected=rejected)
        self._shards = {
            shard: Totals(dict(counts.events), dict(counts.rejected), closed_s)
            for shard, counts in enumerate(shards)
        }

    @property
    def adopted_alerts(self) -> Mapping[AlertKey, int]:
        """Alerts that another daemon found firing, and whose groups have not reported here; as Alerts.adopted."""
        return self._detector.adopted

    def adopt_alerts(self, firing: Mapping[AlertKey, int]) -> None:
        """Continue alerts that another daemon found firing; as Alerts.adopt."""
        self._detector.adopt(firing)

    def begin_exports(self) -> None:
        """Let groups that are still new begin again, after a restart: nothing was exported meanwhile."""
        for merger in self._mergers.values():
            merger.begin_exports()

    def dump(self) -> Arrays:
        """The whole state, as arrays by name; the shards have their own dumps."""
        meta = {
            "version": STATE_VERSION,
            "plan": fingerprint(self._plan),
            "groups": {name: merger.groups.all for name, merger in self._mergers.items()},
            "roll_ups": self._builder.dump(),
            "backlog": self._backlog.dump(),
        }
        state: Arrays = {
            "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
            "shards": np.frombuffer(msgspec.json.encode(self._shards), np.uint8),
            "lost": np.frombuffer(msgspec.json.encode(self._lost), np.uint8),
        }
        for name, merger in self._mergers.items():
            state |= named(f"{name}/", merger.dump())
        return {
            **named("evaluation/", state),
            **named("watch/", self._detector.dump()),
            **named("history/", dump_closed(self._newest_closed)),
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Restore a dump(), into a new Evaluation.

        returns  the services that are reset, because their rating parameters have changed since the dump
        raises   IncompatibleStateError if no service can be restored
        """
        mine = part("evaluation/", state)
        meta = json.loads(mine["meta"].tobytes())
        reset = reset_services(meta, self._plan)
        for name, merger in self._mergers.items():
            if name not in reset and name in meta["groups"]:
                groups = tuple(tuple(labels) for labels in meta["groups"][name])
                merger.load(part(f"{name}/", mine), groups)
            elif name in reset:
                # What users said is compared with the new constants.
                merger.feedback.load(part("feedback/", part(f"{name}/", mine)))
        self._builder.load(meta.get("roll_ups", {}), [name for name in self._mergers if name not in reset])
        self._shards = msgspec.json.decode(mine["shards"].tobytes(), type=dict[int, Totals])
        self._lost = msgspec.json.decode(mine["lost"].tobytes(), type=Totals)
        self._detector.load(part("watch/", state), reset)
        self._restored = self._newest_closed = load_closed(part("history/", state))
        if "backlog" in meta:
            self._backlog.load(meta["backlog"])
        return reset

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._detector.shift(by_s)
        self._backlog.shift(by_s)
        for merger in self._mergers.values():
            merger.shift(by_s)
        self._shards = {shard: _shifted(totals, by_s) for shard, totals in self._shards.items()}

    def _remove_idle_groups(self, shards: Sequence[BaseCounts], time_s: int) -> None:
        name = shards[0].service
        merger = self._mergers[name]
        removed = merger.remove_idle(shards, time_s)
        if len(removed):
            self._detector.remove_groups(name, removed)
            for key, numbers in self._builder.remove_groups(name, merger.groups.all, merger.groups.free):
                self._detector.remove_groups(name, numbers, key)

    def _close(self, shards: Sequence[ShardCounts], numbers: Sequence[Sequence[Any]]) -> tuple[ClosedRatings, ...]:
        """Add the rating intervals that closed since the last tick, in order, each for all shards at once."""
        ratings = []
        known = self.closed_s
        fresh = [
            {each.end_s: each for each in counts.closed if each.end_s > known.get(shard, each.end_s - 1)}
            for shard, counts in enumerate(shards)
        ]
        for end_s in sorted({end_s for intervals in fresh for end_s in intervals}):
            closing = [(shard, intervals[end_s]) for shard, intervals in enumerate(fresh) if end_s in intervals]
            for service, merger in enumerate(self._mergers.values()):
                parts = [(numbers[service][shard], one.services[service]) for shard, one in closing]
                ratings.append(merger.close(end_s, parts))
        self._shards = {
            shard: Totals(dict(counts.events), dict(counts.rejected), max(fresh[shard], default=known.get(shard)))
            for shard, counts in enumerate(shards)
        }
        return tuple(ratings)

    def _sum_events(self, shards: Sequence[ShardCounts]) -> Counter[Event]:
        """Sum the events of all shards, and update _rejected likewise.

        Neither sum may decrease, since Prometheus would take that for a counter reset: a shard that has just been
        restarted may not have received its unacknowledged messages again yet.
        """
        events, rejected = Counter(self._lost.events), Counter(self._lost.rejected)
        for counts in shards:
            events.update(counts.events)
            rejected.update(counts.rejected)
        self._events, self._rejected = _monotonic(self._events, events), _monotonic(self._rejected, rejected)
        return self._events


def _roll_ups(rules: Sequence[Rule]) -> dict[RollUpKey, frozenset[str]]:
    """The roll-ups that the rules use, each with the names of the services."""
    found: dict[RollUpKey, frozenset[str]] = {}
    for rule in rules:
        if (key := rule.roll_up) is not None:
            found[key] = found.get(key, frozenset()) | {rule.service}
    return found


def _monotonic(before: Counter[T], now: Counter[T]) -> Counter[T]:
    """The maximum of both counts; zeros are kept."""
    return Counter({name: max(before[name], now[name]) for name in before.keys() | now.keys()})


def _shifted(totals: Totals, by_s: int) -> Totals:
    return totals if totals.closed_s is None else msgspec.structs.replace(totals, closed_s=totals.closed_s + by_s)
