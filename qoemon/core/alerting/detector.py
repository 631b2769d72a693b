"""Alerts and regimes, tick by tick, from snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import Alert, Alerts
from qoemon.core.alerting.change_point import Interval
from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.presence import PresenceMonitor, ServicePresence
from qoemon.core.alerting.regime import RegimeMonitor, RegimeRules, Regimes, dump_last, load_last
from qoemon.core.alerting.rule import Rule
from qoemon.core.alerting.state import ServiceStates, states
from qoemon.core.arrays import Arrays, Ints, named, part
from qoemon.core.plan.plan import Plan, Timing
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

_Transition = tuple[str, str, AlertState, Reason, int]


@dataclass(frozen=True)
class Detections:
    """Alerts and regimes at a tick.

    alerts       of all groups that rules select, and once more those that have ended as their group is gone
    transitions  how often an alert of (rule, service) changed to (state, reason), since the beginning
    regimes      by service; without the groups that are newer than the last closed rating interval
    presence     by service: whether reports arrive, and as many as usual
    states       by service: the state of each group and of the service
    """

    alerts: tuple[Alert, ...]
    transitions: Mapping[tuple[str, str, AlertState, Reason], int]
    regimes: Mapping[str, Regimes]
    presence: Mapping[str, ServicePresence] = field(default_factory=dict)
    states: Mapping[str, ServiceStates] = field(default_factory=dict)


class _Presences:
    """The presence of a service and of its groups. levels: whether groups have a usual number of sessions, too."""

    def __init__(self, timing: Timing, *, levels: bool) -> None:
        self.groups = PresenceMonitor(timing.tick_s, timing.interval_s, levels=levels)
        self._whole = PresenceMonitor(timing.tick_s, timing.interval_s, levels=True)

    def observe(
        self,
        service: ServiceSnapshot,
        snapshot: Snapshot,
        *,
        closes: bool,
        disconnected_s: int | None,
        paused: bool,
    ) -> ServicePresence:
        counts, paused = service.counts, paused or disconnected_s is not None
        sessions, heard = (np.array([each.sum()]) for each in (counts.active_sessions, counts.heard))
        return ServicePresence(
            self.groups.observe(
                counts.active_sessions, counts.heard, snapshot.time_s, closes=closes, paused=paused
            ),
            self._whole.observe(sessions, heard, snapshot.time_s, closes=closes, paused=paused),
            disconnected_s,
        )

    def dump(self) -> Arrays:
        return named("groups/", self.groups.dump()) | named("whole/", self._whole.dump())

    def load(self, state: Arrays) -> None:
        self.groups.load(part("groups/", state))
        self._whole.load(part("whole/", state))

    def shift(self, by_s: int) -> None:
        self.groups.shift(by_s)
        self._whole.shift(by_s)


class Detector:
    """Holds alerts and regimes from tick to tick. observe() is called once with each snapshot, in order."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        self._interval_s, self._rules = plan.timing.interval_s, regimes
        self._alerts = Alerts(rules)
        self._transitions: Counter[tuple[str, str, AlertState, Reason]] = Counter()
        self._monitors = {service.name: RegimeMonitor(regimes) for service in plan.services}
        self._regimes: dict[str, Regimes] = {}
        of_groups = {rule.service for rule in rules if rule.what.of_presence and not rule.whole}
        self._presences = {
            service.name: _Presences(plan.timing, levels=service.name in of_groups) for service in plan.services
        }
        self._disconnected_s: int | None = None
        """The first tick since when the daemon has not been connected."""
        self._interrupted = False
        self._newest: int | None = None
        """Number of the rating interval of the last snapshot."""

    def observe(self, snapshot: Snapshot, *, connected: bool = True) -> Detections:
        """The alerts and regimes at this snapshot, which is newer than the last.

        connected  whether the daemon is connected to its broker
        """
        # At a multiple of the rating interval the base window is exactly one closed interval. If that tick was
        # skipped, the base window of the next one is used instead: it differs by a few ticks only.
        interval, late_s = divmod(snapshot.time_s, self._interval_s)
        closes = late_s == 0 or (self._newest is not None and interval > self._newest)
        if closes:
            for service in snapshot.services:
                name = service.service.name
                self._regimes[name] = self._monitors[name].close(self._interval(service, snapshot.time_s))
        self._newest = interval
        if connected:
            self._disconnected_s = None
        elif self._disconnected_s is None:
            self._disconnected_s = snapshot.time_s
        presence = {
            service.service.name: self._presences[service.service.name].observe(
                service,
                snapshot,
                closes=closes,
                disconnected_s=self._disconnected_s,
                paused=self._interrupted or snapshot.catching_up,
            )
            for service in snapshot.services
        }
        self._interrupted = False
        alerts = self._alerts.decide(snapshot, presence)
        for alert in alerts:
            if alert.changed:
                self._transitions[
                    alert.rule.name, alert.rule.service, alert.decision.state, alert.decision.reason
                ] += 1
        return Detections(
            alerts, dict(self._transitions), dict(self._regimes), presence, self._states(snapshot, presence, alerts)
        )

    def interrupt(self) -> None:
        """Judge no fall of sessions for some time: a shard has lost its sessions, which return one by one."""
        self._interrupted = True

    def remove_groups(self, service: str, numbers: Ints) -> None:
        """Forget the regimes of these groups, and since when they are silent; alerts that fire on them end."""
        self._presences[service].groups.forget(numbers)
        monitor = self._monitors[service]
        monitor.remove_groups(numbers)
        if service in self._regimes:
            regimes = load_last(monitor.current(), dump_last(self._regimes[service]))
            # Changes are seen once: observers take each new object for that of another interval.
            nothing = np.zeros_like(regimes.direction)
            self._regimes[service] = replace(regimes, moved=nothing.astype(np.bool_), direction=nothing)

    def dump(self) -> Arrays:
        """The whole state as arrays by name: alerts, regimes and counters continue after a restart."""
        transitions = [(*key, number) for key, number in self._transitions.items()]
        state: Arrays = {
            "alerts": np.frombuffer(self._alerts.dump(), np.uint8),
            "transitions": np.frombuffer(msgspec.json.encode(transitions), np.uint8),
            "newest": np.array(-1 if self._newest is None else self._newest),
        }
        state["disconnected"] = np.array(-1 if self._disconnected_s is None else self._disconnected_s)
        for name, monitor in self._monitors.items():
            state |= named(f"{name}/", monitor.dump())
            state |= named(f"{name}/presence/", self._presences[name].dump())
            if name in self._regimes:
                state |= named(f"{name}/last/", dump_last(self._regimes[name]))
        return state

    def load(self, state: Mapping[str, NDArray[Any]], reset: Collection[str] = ()) -> None:
        """Restore a dump().

        Dumps of version 1 have no transitions, no newest interval, and no reasons of regimes; earlier ones have no
        presence.

        reset  services that are not restored
        """
        self._alerts.load(state["alerts"].tobytes(), reset)
        if "transitions" in state:
            transitions = msgspec.json.decode(state["transitions"].tobytes(), type=list[_Transition])
            self._transitions = Counter(
                {(rule, service, to, reason): number for rule, service, to, reason, number in transitions}
            )
            self._newest = int(state["newest"]) if state["newest"] >= 0 else None
        for name, monitor in self._monitors.items():
            mine = part(f"{name}/", state)
            if mine and name not in reset:
                monitor.load(mine)
                last = part("last/", mine)
                if last or "transitions" not in state:
                    self._regimes[name] = load_last(monitor.current(), last)
                if presence := part("presence/", mine):
                    self._presences[name].load(presence)
        if "disconnected" in state:
            self._disconnected_s = int(state["disconnected"]) if state["disconnected"] >= 0 else None

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._alerts.shift(by_s)
        for name, monitor in self._monitors.items():
            monitor.shift(by_s)
            if name in self._regimes:
                self._regimes[name] = load_last(monitor.current(), dump_last(self._regimes[name]))
            self._presences[name].shift(by_s)
        if self._newest is not None:
            self._newest += by_s // self._interval_s
        if self._disconnected_s is not None:
            self._disconnected_s += by_s

    def _states(
        self, snapshot: Snapshot, presence: Mapping[str, ServicePresence], alerts: Sequence[Alert]
    ) -> Mapping[str, ServiceStates]:
        firing = [alert for alert in alerts if alert.firing]
        return {
            (name := service.service.name): states(
                service,
                self._interval_s,
                self._regimes.get(name),
                presence[name],
                [alert for alert in firing if alert.rule.service == name],
                self._rules,
            )
            for service in snapshot.services
        }

    def _interval(self, service: ServiceSnapshot, end_s: int) -> Interval:
        rated, users = service.distributions[self._interval_s], service.counts.users[self._interval_s]
        return Interval(rated.pow, rated.pow_square, users.astype(np.float64), end_s)
