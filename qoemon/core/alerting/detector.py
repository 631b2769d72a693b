"""Alerts and regimes, tick by tick, from snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import Alert, AlertKey, Alerts
from qoemon.core.alerting.change_point import Interval
from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.presence import PresenceMonitor, ServicePresence
from qoemon.core.alerting.regime import RegimeMonitor, RegimeRules, Regimes, dump_last, load_last
from qoemon.core.alerting.rule import Rule
from qoemon.core.alerting.state import ServiceStates, states
from qoemon.core.arrays import Arrays, Ints, named, part
from qoemon.core.plan.plan import Plan, Timing
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

_Transition = tuple[str, str, AlertState, Reason, int]

_Watched = tuple[RollUpKey | None, str]
"""The groups, or sums of groups, whose regimes are kept: None for the groups themselves, and the service."""


@dataclass(frozen=True)
class Detections:
    """Alerts and regimes at a tick.

    alerts       of all groups that rules select, and once more those that have ended as their group is gone
    transitions  how often an alert of (rule, service) changed to (state, reason), since the beginning
    regimes      by service; without the groups that are newer than the last closed rating interval
    of_roll_ups  the same, by roll-up of the plan
    presence     by service: whether reports arrive, and as many as usual
    states       by service: the state of each group and of the service; alerts on a model are no state
    rules        of regimes
    """

    alerts: tuple[Alert, ...]
    transitions: Mapping[tuple[str, str, AlertState, Reason], int]
    regimes: Mapping[str, Regimes]
    of_roll_ups: Mapping[RollUpKey, Mapping[str, Regimes]] = field(default_factory=dict)
    presence: Mapping[str, ServicePresence] = field(default_factory=dict)
    states: Mapping[str, ServiceStates] = field(default_factory=dict)
    rules: RegimeRules = field(default_factory=RegimeRules)


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
        self._alerts = Alerts(rules, plan.timing.tick_s, plan.limits.group_idle_s)
        self._transitions: Counter[tuple[str, str, AlertState, Reason]] = Counter()
        self._roll_ups = tuple(map(RollUpKey, plan.roll_ups))
        self._monitors: dict[_Watched, RegimeMonitor] = {
            (key, service.name): RegimeMonitor(regimes)
            for key in (None, *self._roll_ups)
            for service in plan.services
        }
        self._regimes: dict[_Watched, Regimes] = {}
        of_groups = {rule.service for rule in rules if rule.metric.of_presence and not rule.whole}
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
            for key in (None, *self._roll_ups):
                for service in _services(snapshot, key):
                    watched = key, service.service.name
                    interval_of = self._interval(service, snapshot.time_s)
                    self._regimes[watched] = self._monitors[watched].close(interval_of)
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
            alerts,
            dict(self._transitions),
            self._by_service(None),
            {key: self._by_service(key) for key in self._roll_ups},
            presence,
            self._states(snapshot, presence, alerts),
            self._rules,
        )

    def interrupt(self) -> None:
        """Judge no fall of sessions for some time: a shard has lost its sessions, which return one by one."""
        self._interrupted = True

    def remove_groups(self, service: str, numbers: Ints, key: RollUpKey | None = None) -> None:
        """Forget the regimes of these groups, and since when they are silent; alerts that fire on them end.

        key  of the roll-up whose groups they are; None: they are the groups of the service themselves
        """
        if key is None:
            self._presences[service].groups.forget(numbers)
        watched = key, service
        if watched not in self._monitors:
            return  # Only an alert rule uses the roll-up.
        monitor = self._monitors[watched]
        monitor.remove_groups(numbers)
        if watched in self._regimes:
            regimes = load_last(monitor.current(), dump_last(self._regimes[watched]))
            # Changes are seen once: observers take each new object for that of another interval.
            nothing = np.zeros_like(regimes.direction)
            self._regimes[watched] = replace(regimes, moved=nothing.astype(np.bool_), direction=nothing)

    def dump(self) -> Arrays:
        """The whole state as arrays by name: alerts, regimes and counters continue after a restart."""
        transitions = [(*key, number) for key, number in self._transitions.items()]
        state: Arrays = {
            "alerts": np.frombuffer(self._alerts.dump(), np.uint8),
            "transitions": np.frombuffer(msgspec.json.encode(transitions), np.uint8),
            "newest": np.array(-1 if self._newest is None else self._newest),
        }
        state["disconnected"] = np.array(-1 if self._disconnected_s is None else self._disconnected_s)
        for watched, monitor in self._monitors.items():
            prefix = _prefix(watched)
            state |= named(prefix, monitor.dump())
            if watched in self._regimes:
                state |= named(f"{prefix}last/", dump_last(self._regimes[watched]))
        for name, observed in self._presences.items():
            state |= named(f"{_prefix((None, name))}presence/", observed.dump())
        return state

    def load(self, state: Mapping[str, NDArray[Any]], reset: Collection[str] = ()) -> None:
        """Restore a dump().

        Dumps of version 1 have no transitions, no newest interval, and no reasons of regimes; earlier ones have no
        presence. The groups of roll-ups must have the numbers that they had then.

        reset  services that are not restored
        """
        self._alerts.load(state["alerts"].tobytes(), reset)
        if "transitions" in state:
            transitions = msgspec.json.decode(state["transitions"].tobytes(), type=list[_Transition])
            self._transitions = Counter(
                {(rule, service, to, reason): number for rule, service, to, reason, number in transitions}
            )
            self._newest = int(state["newest"]) if state["newest"] >= 0 else None
        for watched, monitor in self._monitors.items():
            mine = part(_prefix(watched), state)
            if mine and watched[1] not in reset:
                monitor.load(mine)
                last = part("last/", mine)
                if last or "transitions" not in state:
                    self._regimes[watched] = load_last(monitor.current(), last)
        for name, observed in self._presences.items():
            if name not in reset and (presence := part(f"{_prefix((None, name))}presence/", state)):
                observed.load(presence)
        if "disconnected" in state:
            self._disconnected_s = int(state["disconnected"]) if state["disconnected"] >= 0 else None

    @property
    def adopted(self) -> Mapping[AlertKey, int]:
        """As Alerts.adopted."""
        return self._alerts.adopted

    def adopt(self, firing: Mapping[AlertKey, int]) -> None:
        """As Alerts.adopt."""
        self._alerts.adopt(firing)

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._alerts.shift(by_s)
        for watched, monitor in self._monitors.items():
            monitor.shift(by_s)
            if watched in self._regimes:
                self._regimes[watched] = load_last(monitor.current(), dump_last(self._regimes[watched]))
        for observed in self._presences.values():
            observed.shift(by_s)
        if self._newest is not None:
            self._newest += by_s // self._interval_s
        if self._disconnected_s is not None:
            self._disconnected_s += by_s

    def _states(
        self, snapshot: Snapshot, presence: Mapping[str, ServicePresence], alerts: Sequence[Alert]
    ) -> Mapping[str, ServiceStates]:
        firing = [alert for alert in alerts if alert.firing and alert.of_users]
        return {
            (name := service.service.name): states(
                service,
                self._interval_s,
                self._regimes.get((None, name)),
                presence[name],
                [alert for alert in firing if alert.rule.service == name],
                self._rules,
            )
            for service in snapshot.services
        }

    def _by_service(self, key: RollUpKey | None) -> dict[str, Regimes]:
        return {name: regimes for (of, name), regimes in self._regimes.items() if of == key}

    def _interval(self, service: ServiceSnapshot, end_s: int) -> Interval:
        rated, users = service.distributions[self._interval_s], service.counts.users[self._interval_s]
        return Interval(rated.pow, rated.pow_square, users.astype(np.float64), end_s)


def _services(snapshot: Snapshot, key: RollUpKey | None) -> Iterable[ServiceSnapshot]:
    """The services with their groups, or with the sums of a roll-up."""
    return snapshot.services if key is None else snapshot.roll_ups[key].services.values()


def _prefix(watched: _Watched) -> str:
    """Prefix of the names of arrays in a dump; no service is called "by:" something."""
    key, service = watched
    return f"{service}/" if key is None else f"by:{key.name}/{service}/"
