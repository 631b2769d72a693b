"""The daemon minus its I/O: batches in, snapshots out, time as an argument.

    batch ─▶ sessions ─▶ base histogram (G,B) ─▶ longer windows ─▶ @ kernel ─▶ Snapshot

A Monitor holds one shard of the sessions. Time only moves forward, tick by tick: whatever is asked of it, first
the ticks that have passed are entered, so that a base window is complete before anything of the next tick is
taken in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from qoemon.core.arrays import Arrays
from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.service_monitor import ServiceMonitor
from qoemon.core.plan.fingerprint import STATE_VERSION, begin_anew, fingerprint
from qoemon.core.plan.plan import Plan
from qoemon.core.snapshot.builder import SnapshotBuilder
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import Batch


class Monitor:
    """Judges the sessions of all services of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._judge = plan, SnapshotBuilder(plan)
        self._services = [ServiceMonitor(s, plan, self._judge.kernels[s.name]) for s in plan.services]
        self._number = {s.name: index for index, s in enumerate(plan.services)}
        self._events: Counter[Event] = Counter()
        self._tick: int | None = None

    @property
    def tick(self) -> int | None:
        """The newest tick that was entered, in ticks since the epoch; None before the first."""
        return self._tick

    @property
    def sessions(self) -> int:
        """How many sessions are held."""
        return sum(len(monitor.sessions) for monitor in self._services)

    def apply(self, batch: Batch, now_s: float) -> None:
        """Take in reports at now_s, seconds since the epoch."""
        tick = self._advance(now_s)
        of_route = np.array([self._number[route.service] for route in batch.routes], np.int64)
        for number in np.unique(of_route).tolist():
            mine = batch.take(np.flatnonzero(of_route[batch.route] == number))
            self._events.update(self._services[number].apply(mine, tick))

    @property
    def events(self) -> Mapping[Event, int]:
        """What was counted since the beginning; a copy."""
        return self._events.copy()

    def know_only(self, groups: Mapping[str, Iterable[Labels]]) -> None:
        """From now on take every other label set of these services as one too many: so all shards pool the same."""
        for monitor in self._services:
            if monitor.service.name in groups:
                monitor.groups.know_only(groups[monitor.service.name])

    def tallies(self, now_s: float) -> tuple[ServiceCounts, ...]:
        """The counts of each service at the newest tick that is not after now_s."""
        at_s = self._advance(now_s) * self._plan.timing.tick_s
        return tuple(monitor.tally(at_s) for monitor in self._services)

    def snapshot(self, now_s: float) -> Snapshot:
        """What all users answer, as of the newest tick that is not after now_s."""
        tallies = self.tallies(now_s)
        time_s = self._advance(now_s) * self._plan.timing.tick_s
        return self._judge.snapshot(tallies, time_s=time_s, events=self._events, sessions=self.sessions)

    def dump(self) -> Arrays:
        """Everything held, as arrays by name: what a restart, a replay or another shard needs."""
        meta = {
            "version": STATE_VERSION,
            "plan": fingerprint(self._plan),
            "tick": self._tick,
            "events": self._events,
            "groups": {m.service.name: m.groups.all for m in self._services},
        }
        state: Arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for monitor in self._services:
            state |= {f"{monitor.service.name}/{name}": array for name, array in monitor.dump().items()}
        return state

    def load(self, state: Arrays) -> tuple[str, ...]:
        """Take over what dump() gave, into a Monitor that has seen nothing yet.

        returns  the services that begin anew, as they are judged otherwise than when the state was dumped
        raises   StateError if nothing of it fits
        """
        meta = json.loads(state["meta"].tobytes())
        anew = begin_anew(meta, self._plan)
        self._events = Counter({Event(name): number for name, number in meta["events"].items()})
        self._tick = meta["tick"]
        for monitor in self._services:
            name = monitor.service.name
            if name in anew or name not in meta["groups"]:
                monitor.begin(self._tick or 0)
                continue
            groups = tuple(tuple(labels) for labels in meta["groups"][name])
            mine = {key.removeprefix(f"{name}/"): a for key, a in state.items() if key.startswith(f"{name}/")}
            monitor.load(mine, groups, self._tick or 0)
        return anew

    def shift(self, by_s: int) -> None:
        """Move everything held in time, as the clock was set: by whole rating intervals, in seconds."""
        timing = self._plan.timing
        if by_s % timing.interval_s:
            raise ValueError(
                f"shift by {by_s} s: expected a multiple of the rating interval, {timing.interval_s} s"
            )
        if self._tick is None:
            return
        self._tick += by_s // timing.tick_s
        for monitor in self._services:
            monitor.shift(by_s, self._tick)

    def _advance(self, now_s: float) -> int:
        """Enter every tick up to now_s; the present one. A clock that was set back stands still here."""
        tick = int(now_s // self._plan.timing.tick_s)
        if self._tick is None:
            self._tick = tick
            for monitor in self._services:
                self._events.update(monitor.enter(tick, evaluate=True))
        for passed in self._ticks_between(self._tick, tick):
            for monitor in self._services:
                self._events.update(monitor.enter(passed, evaluate=passed == tick))
        self._tick = max(self._tick, tick)
        return self._tick

    def _ticks_between(self, old: int, new: int) -> Iterable[int]:
        """The ticks to enter. After a very long gap, a year say, those in which nothing can happen are left out:
        every session has timed out, and the longest window has not begun.
        """
        timing = self._plan.timing
        settled = old + int((timing.session_timeout_s + 2 * timing.interval_s) // timing.tick_s) + 1
        resume = new - max(timing.windows_s) // timing.tick_s
        yield from range(old + 1, min(settled, new) + 1)
        yield from range(max(settled, resume) + 1, new + 1)
