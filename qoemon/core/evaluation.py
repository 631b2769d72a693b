"""The evaluation of a tick: the counts of all shards added up, rated, and checked for alerts and regimes.

It holds all that adds up over time and all that is a float. The sessions are the shards' business, which count in
integers: so several shards come to the same figures as one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays, named, part
from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Labels
from qoemon.core.plan.fingerprint import STATE_VERSION, fingerprint, reset_services
from qoemon.core.plan.plan import Plan
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
    """What a shard has counted since it began; as of `closed_s`, the end of its newest closed interval here."""

    events: dict[Event, int] = {}
    rejected: dict[Reject, int] = {}
    closed_s: int | None = None


class Evaluation:
    """Takes the counts of all shards at each tick, in order."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        self._plan = plan
        self._builder, self._detector = SnapshotBuilder(plan), Detector(plan, rules, regimes)
        self._mergers = {
            service.name: Merger(service, plan, self._builder.kernels[service.name]) for service in plan.services
        }
        self._shards: dict[int, Totals] = {}
        self._lost = Totals()
        """Of all shards that have lost their sessions."""
        self._events: Counter[Event] = Counter()
        self._rejected: Counter[Reject] = Counter()

    @property
    def rejected(self) -> Mapping[Reject, int]:
        """Reports that could not be accepted, by all shards, as of the newest tick."""
        return self._rejected

    @property
    def full(self) -> Mapping[str, tuple[Labels, ...]]:
        """The groups of each service that has room for no more: all shards have to pool what is beyond them."""
        return {name: merger.groups.all for name, merger in self._mergers.items() if merger.groups.full}

    @property
    def closed_s(self) -> Mapping[int, int]:
        """By shard, the end of its newest closed interval that is in here, seconds since the epoch."""
        return {shard: totals.closed_s for shard, totals in self._shards.items() if totals.closed_s is not None}

    def tick(self, shards: Sequence[ShardCounts]) -> Tick:
        """The tick of all shards; one ShardCounts of each, in order, of the same tick."""
        by_service = list(zip(*(counts.services for counts in shards), strict=True))
        numbers = [self._mergers[some[0].service].number_groups(some) for some in by_service]
        self._close(shards, numbers)
        counts = [
            self._mergers[some[0].service].merge(some, rows) for some, rows in zip(by_service, numbers, strict=True)
        ]
        snapshot = self._builder.snapshot(
            counts,
            time_s=shards[0].time_s,
            events=self._sum_events(shards),
            sessions=sum(counts.sessions for counts in shards),
        )
        return Tick(snapshot, self._detector.observe(snapshot))

    def lose(self, shard: int) -> None:
        """Keep what a shard has counted that has lost its sessions and begins from scratch."""
        if lost := self._shards.pop(shard, None):
            self._lost = Totals(
                events=Counter(self._lost.events) + Counter(lost.events),
                rejected=Counter(self._lost.rejected) + Counter(lost.rejected),
            )

    def dump(self) -> Arrays:
        """What a restart needs beside the dumps of the shards, as arrays by name."""
        meta = {
            "version": STATE_VERSION,
            "plan": fingerprint(self._plan),
            "groups": {name: merger.groups.all for name, merger in self._mergers.items()},
        }
        state: Arrays = {
            "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
            "shards": np.frombuffer(msgspec.json.encode(self._shards), np.uint8),
            "lost": np.frombuffer(msgspec.json.encode(self._lost), np.uint8),
        }
        for name, merger in self._mergers.items():
            state |= named(f"{name}/", merger.dump())
        return named("evaluation/", state) | named("watch/", self._detector.dump())

    def load(self, state: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Restore what dump() gave, into an Evaluation that has seen nothing yet.

        returns  the services that are reset, as they are rated otherwise than when the state was dumped
        raises   IncompatibleStateError if nothing of it fits
        """
        mine = part("evaluation/", state)
        meta = json.loads(mine["meta"].tobytes())
        reset = reset_services(meta, self._plan)
        for name, merger in self._mergers.items():
            if name not in reset and name in meta["groups"]:
                groups = tuple(tuple(labels) for labels in meta["groups"][name])
                merger.load(part(f"{name}/", mine), groups)
        self._shards = msgspec.json.decode(mine["shards"].tobytes(), type=dict[int, Totals])
        self._lost = msgspec.json.decode(mine["lost"].tobytes(), type=Totals)
        self._detector.load(part("watch/", state), reset)
        return reset

    def shift(self, by_s: int) -> None:
        """Move everything held in time, as the clock was set: by whole rating intervals, in seconds."""
        self._detector.shift(by_s)
        for merger in self._mergers.values():
            merger.shift(by_s)
        self._shards = {shard: _shifted(totals, by_s) for shard, totals in self._shards.items()}

    def _close(self, shards: Sequence[ShardCounts], numbers: Sequence[Sequence[Any]]) -> None:
        """Add the rating intervals that closed since the last tick, in order, each of all shards at once."""
        known = self.closed_s
        fresh = [
            {each.end_s: each for each in counts.closed if each.end_s > known.get(shard, each.end_s - 1)}
            for shard, counts in enumerate(shards)
        ]
        for end_s in sorted({end_s for intervals in fresh for end_s in intervals}):
            having = [(shard, intervals[end_s]) for shard, intervals in enumerate(fresh) if end_s in intervals]
            for service, merger in enumerate(self._mergers.values()):
                merger.close(end_s, [(numbers[service][shard], one.services[service]) for shard, one in having])
        self._shards = {
            shard: Totals(dict(counts.events), dict(counts.rejected), max(fresh[shard], default=known.get(shard)))
            for shard, counts in enumerate(shards)
        }

    def _sum_events(self, shards: Sequence[ShardCounts]) -> Counter[Event]:
        """All events; _rejected likewise.

        Neither falls, as Prometheus would take that for a restart: a shard that has just come back may still have
        to be sent again what it had not acknowledged.
        """
        events, rejected = Counter(self._lost.events), Counter(self._lost.rejected)
        for counts in shards:
            events.update(counts.events)
            rejected.update(counts.rejected)
        self._events, self._rejected = _monotonic(self._events, events), _monotonic(self._rejected, rejected)
        return self._events


def _monotonic(before: Counter[T], now: Counter[T]) -> Counter[T]:
    """Counts that have not fallen; zeros stay."""
    return Counter({name: max(before[name], now[name]) for name in before.keys() | now.keys()})


def _shifted(totals: Totals, by_s: int) -> Totals:
    return totals if totals.closed_s is None else msgspec.structs.replace(totals, closed_s=totals.closed_s + by_s)
