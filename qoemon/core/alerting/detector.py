"""Alerts and regimes, tick by tick, from snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import Alert, Alerts
from qoemon.core.alerting.change_point import Interval
from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.regime import RegimeMonitor, RegimeRules, Regimes, dump_last, load_last
from qoemon.core.alerting.rule import Rule
from qoemon.core.arrays import Arrays, Ints, named, part
from qoemon.core.plan.plan import Plan
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

_Transition = tuple[str, str, AlertState, Reason, int]

_Watched = tuple[RollUpKey | None, str]
"""The groups, or sums of groups, whose regimes are kept: None for the groups themselves, and the service."""


@dataclass(frozen=True)
class Detections:
    """Alerts and regimes at a tick.

    alerts       of all groups that rules select, and of groups that have become invisible at this tick
    transitions  how often an alert of (rule, service) changed to (state, reason), since the beginning
    regimes      by service; without the groups that are newer than the last closed rating interval
    of_roll_ups  the same, by roll-up of the plan
    """

    alerts: tuple[Alert, ...]
    transitions: Mapping[tuple[str, str, AlertState, Reason], int]
    regimes: Mapping[str, Regimes]
    of_roll_ups: Mapping[RollUpKey, Mapping[str, Regimes]] = field(default_factory=dict)


class Detector:
    """Holds alerts and regimes from tick to tick. observe() is called once with each snapshot, in order."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        self._interval_s = plan.timing.interval_s
        self._alerts = Alerts(rules, plan.timing.tick_s)
        self._transitions: Counter[tuple[str, str, AlertState, Reason]] = Counter()
        self._roll_ups = tuple(map(RollUpKey, plan.roll_ups))
        self._monitors: dict[_Watched, RegimeMonitor] = {
            (key, service.name): RegimeMonitor(regimes)
            for key in (None, *self._roll_ups)
            for service in plan.services
        }
        self._regimes: dict[_Watched, Regimes] = {}
        self._newest: int | None = None
        """Number of the rating interval of the last snapshot."""

    def observe(self, snapshot: Snapshot) -> Detections:
        """The alerts and regimes at this snapshot, which is newer than the last."""
        # At a multiple of the rating interval the base window is exactly one closed interval. If that tick was
        # skipped, the base window of the next one is used instead: it differs by a few ticks only.
        interval, late_s = divmod(snapshot.time_s, self._interval_s)
        if late_s == 0 or (self._newest is not None and interval > self._newest):
            for key in (None, *self._roll_ups):
                for service in _services(snapshot, key):
                    watched = key, service.service.name
                    interval_of = self._interval(service, snapshot.time_s)
                    self._regimes[watched] = self._monitors[watched].close(interval_of)
        self._newest = interval
        alerts = self._alerts.decide(snapshot)
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
        )

    def remove_groups(self, service: str, numbers: Ints, key: RollUpKey | None = None) -> None:
        """Forget the regimes of these groups; alerts of silent groups have ended before.

        key  of the roll-up whose groups they are; None: they are the groups of the service themselves
        """
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
        for watched, monitor in self._monitors.items():
            prefix = _prefix(watched)
            state |= named(prefix, monitor.dump())
            if watched in self._regimes:
                state |= named(f"{prefix}last/", dump_last(self._regimes[watched]))
        return state

    def load(self, state: Mapping[str, NDArray[Any]], reset: Collection[str] = ()) -> None:
        """Restore a dump().

        Dumps of version 1 have no transitions, no newest interval, and no reasons of regimes. The groups of
        roll-ups must have the numbers that they had then.

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

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._alerts.shift(by_s)
        for watched, monitor in self._monitors.items():
            monitor.shift(by_s)
            if watched in self._regimes:
                self._regimes[watched] = load_last(monitor.current(), dump_last(self._regimes[watched]))
        if self._newest is not None:
            self._newest += by_s // self._interval_s

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
