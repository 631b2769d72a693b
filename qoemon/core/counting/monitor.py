"""The sessions of all services in one shard: batches in, counts out, time as an argument.

    batch ─▶ sessions ─▶ base window (G, B) ─▶ counts of the tick, counts of each rating interval that closes

Time only moves forward, tick by tick: every call first enters the ticks that have passed, so a base window is
complete before a report of the next tick is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from qoemon.core.arrays import Arrays, Ints, named, part
from qoemon.core.counting.counts import BaseCounts, ClosedInterval, Event
from qoemon.core.counting.findings import Finding
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.players import Heard, PlayerSessions
from qoemon.core.counting.service_monitor import ServiceMonitor
from qoemon.core.counting.session_log import OnSession
from qoemon.core.plan.fingerprint import STATE_VERSION, fingerprint, reset_services
from qoemon.core.plan.plan import Plan
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.player import PlayerBatch

PLAYERS = "/players/"
"""Prefix of the names of their arrays; no service has an empty name."""


class Monitor:
    """Counts the sessions of all services of a plan; on_session as of ServiceMonitor."""

    def __init__(self, plan: Plan, on_session: OnSession | None = None) -> None:
        self._plan = plan
        self._services = [ServiceMonitor(service, plan, on_session) for service in plan.services]
        self._number = {service.name: index for index, service in enumerate(plan.services)}
        self._players = PlayerSessions(plan, lambda number, run: run in self._services[number].sessions)
        self._events: Counter[Event] = Counter()
        self._closed: list[ClosedInterval] = []
        self._tick: int | None = None

    @property
    def tick(self) -> int | None:
        """The newest tick that was entered, in ticks since the epoch; None before the first."""
        return self._tick

    @property
    def sessions(self) -> int:
        """Number of sessions held."""
        return sum(len(monitor.sessions) for monitor in self._services)

    @property
    def events(self) -> Mapping[Event, int]:
        """Number of events since the beginning, as a copy."""
        return self._events.copy()

    def apply(self, batch: Batch, now_s: float) -> None:
        """Count reports at now_s, seconds since the epoch."""
        self._apply(batch, self._advance(now_s))

    def apply_players(self, players: PlayerBatch, now_s: float) -> Ints:
        """Count records of players at now_s, seconds since the epoch.

        returns  (N,) positions of those that are rejected, because their session sends too many
        """
        tick = self._advance(now_s)
        heard = self._players.apply(players)
        self._apply_heard(heard, tick)
        return heard.too_many

    def drain_findings(self) -> list[tuple[str, Event, Finding]]:
        """A sample of each kind of report that cannot be right, since the last call: service, kind, sample."""
        return [
            (monitor.service.name, event, finding)
            for monitor in self._services
            for event, finding in monitor.findings.drain().items()
        ]

    def freeze_groups(self, groups: Mapping[str, Iterable[Labels]]) -> None:
        """Pool all other label values of these services, and none of the others, as all shards do from now on."""
        for monitor in self._services:
            monitor.groups.freeze(groups.get(monitor.service.name))

    def counts(self, now_s: float) -> tuple[BaseCounts, ...]:
        """The counts of each service at the newest tick that is not after now_s."""
        at_s = self._advance(now_s) * self._plan.timing.tick_s
        return tuple(monitor.counts(at_s) for monitor in self._services)

    def drain_closed(self) -> list[ClosedInterval]:
        """The rating intervals that closed since the last call, oldest first."""
        closed, self._closed = self._closed, []
        return closed

    def hand_on_sessions(self) -> None:
        """Call on_session with the runs that are not over: nothing follows."""
        for monitor in self._services:
            monitor.hand_on_sessions()

    def dump(self) -> Arrays:
        """The whole state except closed intervals, as arrays by name."""
        meta = {
            "version": STATE_VERSION,
            "plan": fingerprint(self._plan),
            "tick": self._tick,
            "events": self._events,
            "groups": {m.service.name: m.groups.all for m in self._services},
            "frozen": {m.service.name: m.groups.only for m in self._services if m.groups.only is not None},
        }
        state: Arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for monitor in self._services:
            state |= named(f"{monitor.service.name}/", monitor.dump())
        return state | named(PLAYERS, self._players.dump())

    def load(self, state: Arrays) -> tuple[str, ...]:
        """Restore a dump(), into a Monitor without sessions.

        returns  the services that are reset, because their rating parameters have changed since the dump
        raises   IncompatibleStateError if no service can be restored
        """
        meta = json.loads(state["meta"].tobytes())
        reset = reset_services(meta, self._plan)
        self._events = Counter({Event(name): number for name, number in meta["events"].items()})
        self._tick = meta["tick"]
        for monitor in self._services:
            name = monitor.service.name
            if name in reset or name not in meta["groups"]:
                monitor.begin(self._tick or 0)
                continue
            groups = tuple(tuple(labels) for labels in meta["groups"][name])
            monitor.load(part(f"{name}/", state), groups, self._tick or 0)
            if (only := meta.get("frozen", {}).get(name)) is not None:
                monitor.groups.freeze(map(tuple, only))
        if players := part(PLAYERS, state):
            self._players.load(players)
        return reset

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock; ValueError otherwise."""
        timing = self._plan.timing
        if by_s % timing.interval_s:
            raise ValueError(
                f"shift by {by_s} s: expected a multiple of the rating interval, {timing.interval_s} s"
            )
        if self._tick is None:
            return
        self._tick += by_s // timing.tick_s
        self._players.shift(by_s)
        self._closed = [interval.shifted(by_s) for interval in self._closed]
        for monitor in self._services:
            monitor.shift(by_s, self._tick)

    def _advance(self, now_s: float) -> int:
        """Enter every tick up to now_s; returns the current tick. It does not move if the clock was set back."""
        tick = int(now_s // self._plan.timing.tick_s)
        if self._tick is None:
            self._tick = tick
            self._enter(tick, base_wanted=True)
        for passed in self._ticks_between(self._tick, tick):
            self._enter(passed, base_wanted=passed == tick)
        self._tick = max(self._tick, tick)
        return self._tick

    def _apply(self, batch: Batch, tick: int) -> None:
        of_route = np.array([self._number[route.service] for route in batch.routes], np.int64)
        for number in np.unique(of_route).tolist():
            mine = batch.take(np.flatnonzero(of_route[batch.route] == number))
            self._events.update(self._services[number].apply(mine, tick))

    def _apply_heard(self, heard: Heard, tick: int) -> None:
        """Count what records of players have come to."""
        self._events.update(heard.events)
        for reports in (heard.reports, heard.startups):
            if len(reports):
                self._apply(reports, tick)
        for route, key, startup_ms in heard.starts:
            self._services[self._number[route.service]].count_start(route.labels, key, startup_ms)
        for route, session in heard.mute:
            findings = self._services[self._number[route.service]].findings
            findings.add(Event.STATELESS, Finding(route.labels, session))

    def _enter(self, tick: int, *, base_wanted: bool) -> None:
        if self._players:
            self._apply_heard(self._players.release(tick * self._plan.timing.tick_s), tick - 1)
        closed = []
        for monitor in self._services:
            events, interval = monitor.enter(tick, base_wanted=base_wanted)
            self._events.update(events)
            if interval is not None:
                closed.append(interval)
        if closed:
            self._closed.append(ClosedInterval(tick * self._plan.timing.tick_s, tuple(closed)))

    def _ticks_between(self, old: int, new: int) -> Iterable[int]:
        """The ticks to enter after `old` up to `new`.

        Of a very long gap, ticks without effect are skipped: those after the last session has expired, and before
        the longest window begins.
        """
        timing = self._plan.timing
        settled = old + int((timing.session_timeout_s + 2 * timing.interval_s) // timing.tick_s) + 1
        resume = new - max(timing.windows_s) // timing.tick_s
        yield from range(old + 1, min(settled, new) + 1)
        yield from range(max(settled, resume) + 1, new + 1)
