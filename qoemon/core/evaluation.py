"""All shards together: their counts added up, judged, and thought about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays, named, part
from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Groups, Labels
from qoemon.core.pipeline import Tick
from qoemon.core.plan.fingerprint import STATE_VERSION, begin_anew, fingerprint
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.merger import Merger
from qoemon.core.sharding.shard_counts import Share, both, counted
from qoemon.core.snapshot.builder import SnapshotBuilder
from qoemon.core.wire.report import Reject


class Union:
    """Shown the shares of all shards at each tick, in order. The sessions themselves are the shards' business."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        self._plan = plan
        self._judge, self._watch = SnapshotBuilder(plan), Detector(plan, rules, regimes)
        self._mergers = {
            service.name: Merger(Groups(len(plan.labels), plan.limits.groups)) for service in plan.services
        }
        self.rejected: Counter[Reject] = Counter()
        """Reports that could not be taken, by all shards, as of the newest tick."""
        self._events: Counter[Event] = Counter()
        self._newest: dict[int, Share] = {}
        self._lost: list[Share] = []
        """One that stands for all shards that have lost their sessions, if there are any."""

    @property
    def full(self) -> Mapping[str, tuple[Labels, ...]]:
        """The groups of each service that has room for no more: all shards have to pool what is beyond them."""
        return {name: merger.groups.all for name, merger in self._mergers.items() if merger.groups.full}

    def lose(self, shard: int) -> None:
        """A shard has lost its sessions and begins anew: what it had counted goes on being counted."""
        share = self._newest.pop(shard, None)
        if share is not None:
            self._lost = [reduce(both, [*self._lost, counted(share)])]

    def tick(self, newest: Sequence[Share]) -> Tick:
        """What all of them come to; one share of each shard, in order, of the same tick."""
        self._newest, shares = dict(enumerate(newest)), [*newest, *self._lost]
        by_service = zip(*(share.tallies for share in shares), strict=True)
        tallies = [self._mergers[some[0].service].merge(some) for some in by_service]
        # As in Merger: they do not fall.
        self.rejected |= _sum([share.rejected for share in shares])
        self._events |= _sum([share.events for share in shares])
        sessions = sum(share.sessions for share in shares)
        snapshot = self._judge.snapshot(tallies, time_s=shares[0].time_s, events=self._events, sessions=sessions)
        return Tick(snapshot, self._watch.observe(snapshot))

    def inherit(self, before: Union) -> None:
        """Go on with what the Union before this one held, as far as that fits; StateError if nothing does."""
        if not self.load(before.dump()):
            self._newest, self._lost = before._newest, before._lost
            self.rejected, self._events = before.rejected, before._events

    def dump(self) -> Arrays:
        """What a restart needs beside the shards' own dumps, as arrays by name."""
        meta = {
            "version": STATE_VERSION,
            "plan": fingerprint(self._plan),
            "groups": {name: merger.groups.all for name, merger in self._mergers.items()},
        }
        return {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)} | named("watch/", self._watch.dump())

    def load(self, state: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Take over what dump() gave, into a Union that has seen nothing yet.

        returns  the services that begin anew, as they are judged otherwise than when the state was dumped
        raises   StateError if nothing of it fits
        """
        meta = json.loads(state["meta"].tobytes())
        anew = begin_anew(meta, self._plan)
        for name, merger in self._mergers.items():
            if name not in anew and name in meta["groups"]:
                merger.groups.load(tuple(tuple(labels) for labels in meta["groups"][name]))
        self._watch.load(part("watch/", state), anew)
        return anew

    def shift(self, by_s: int) -> None:
        """Move everything held in time, as the clock was set: by whole rating intervals, in seconds."""
        self._watch.shift(by_s)


def _sum(parts: Sequence[Mapping[Any, int]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for one in parts:
        total.update(one)
    return total
