"""The one state of a group or service that is shown: the first that holds, in the order of State."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.presence import Presence, ServicePresence
from qoemon.core.alerting.regime import Regime, RegimeRules, Regimes
from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import ServiceSnapshot


class State(StrEnum):
    """What is shown of a group or service: the first that holds."""

    NO_DATA = "no_data"
    """no report arrived in the last rating interval"""
    ALERT = "alert"
    """an alert fires"""
    BAD = "bad"
    DEGRADED = "degraded"
    GOOD = "good"
    """its regime; that of a service is the worst of its groups"""
    TOO_FEW_USERS = "too_few_users"
    """it has no regime yet, and too few sessions to get one"""
    LEARNING = "learning"
    """its regime will be known after some more rating intervals"""


class GroupState(NamedTuple):
    """The state of one group or service.

    since_s     when it began, seconds since the epoch; None if unknown
    have, need  sessions, for TOO_FEW_USERS; rating intervals, for LEARNING; else 0
    alerts      names of the alerts that fire, also without data
    cut_off     whether there are no data because the daemon is not connected to its broker
    """

    state: State
    since_s: float | None = None
    have: int = 0
    need: int = 0
    alerts: tuple[str, ...] = ()
    cut_off: bool = False


@dataclass(frozen=True)
class ServiceStates:
    """The states of a service and of its groups, in the order of their numbers."""

    groups: Sequence[GroupState]
    whole: GroupState


def states(
    service: ServiceSnapshot,
    interval_s: int,
    regimes: Regimes | None,
    presence: ServicePresence,
    alerts: Collection[Alert],
    rules: RegimeRules,
) -> ServiceStates:
    """The states at a tick. alerts: those of this service that fire."""
    groups = service.counts.groups
    columns = _Columns.of(service, interval_s, regimes)
    silent = service.counts.heard == 0
    firing = _by_group(alert for alert in alerts if not alert.rule.whole)
    of_groups = columns.states(rules)
    for number, group in enumerate(groups):
        if group in firing:
            of_groups[number] = _alert_state(firing[group])
    for number in np.flatnonzero(silent).tolist():
        of_groups[number] = _no_data(presence, presence.groups, number, of_groups[number].alerts)
    return ServiceStates(tuple(of_groups), _whole(of_groups, columns.shown & ~silent, presence, alerts))


class _Columns(NamedTuple):
    """(G,) regime, whether it is known, since when, intervals rated so far, users, and whether it is shown."""

    regime: Ints
    known: Flags
    since_s: Floats
    age: Ints
    users: Ints
    shown: Flags

    @classmethod
    def of(cls, service: ServiceSnapshot, interval_s: int, regimes: Regimes | None) -> _Columns:
        users = service.counts.users[interval_s]
        size = len(users)
        regime, age, since_s = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, np.nan)
        known = np.zeros(size, np.bool_)
        if regimes is not None:
            old = min(size, len(regimes.regime))
            regime[:old], known[:old] = regimes.regime[:old], regimes.known[:old]
            since_s[:old], age[:old] = regimes.since_s[:old], regimes.age[:old]
        return cls(regime, known, since_s, age, users, service.visible)

    def states(self, rules: RegimeRules) -> list[GroupState]:
        """The states without regard to reports and alerts."""
        few = self.users < rules.min_sessions
        columns = (self.regime, self.known, self.since_s, self.age, self.users, few)
        return [
            GroupState(_OF_REGIME[regime], _time(since_s))
            if known
            else GroupState(State.TOO_FEW_USERS, None, users, rules.min_sessions)
            if is_few
            else GroupState(State.LEARNING, None, min(age, rules.unknown), rules.unknown)
            for regime, known, since_s, age, users, is_few in zip(*(c.tolist() for c in columns), strict=True)
        ]


_OF_REGIME = {int(Regime.BAD): State.BAD, int(Regime.DEGRADED): State.DEGRADED, int(Regime.GOOD): State.GOOD}
_ORDER = {state: place for place, state in enumerate(State)}


def _whole(
    groups: Sequence[GroupState], heard: Flags, presence: ServicePresence, alerts: Collection[Alert]
) -> GroupState:
    """The state of the service: that of its most urgent group that sends reports, unless it has one of its own."""
    names = tuple(dict.fromkeys(alert.rule.name for alert in alerts))
    if presence.whole.silence_s[0] != 0:  # Also before the first report, where it is NaN.
        return _no_data(presence, presence.whole, 0, names)
    if alerts:
        return _alert_state(tuple(alerts))
    shown = [groups[number] for number in np.flatnonzero(heard).tolist()]
    if not shown:
        return GroupState(State.LEARNING)
    first = min((each.state for each in shown), key=_ORDER.__getitem__)
    same = [each for each in shown if each.state is first]
    since_s = [each.since_s for each in same if each.since_s is not None]
    most = max(same, key=lambda each: each.have)
    return GroupState(first, min(since_s, default=None), most.have, most.need)


def _no_data(service: ServicePresence, units: Presence, number: int, alerts: tuple[str, ...]) -> GroupState:
    since_s = _time(float(units.since_s[number]))
    return GroupState(State.NO_DATA, since_s, alerts=alerts, cut_off=service.disconnected_s is not None)


def _alert_state(alerts: Sequence[Alert]) -> GroupState:
    names = tuple(dict.fromkeys(alert.rule.name for alert in alerts))
    return GroupState(State.ALERT, min(alert.decision.since_s for alert in alerts), alerts=names)


def _by_group(alerts: Iterable[Alert]) -> Mapping[Labels, tuple[Alert, ...]]:
    out: dict[Labels, tuple[Alert, ...]] = {}
    for alert in alerts:
        out[alert.group] = (*out.get(alert.group, ()), alert)
    return out


def _time(time_s: float) -> float | None:
    return None if math.isnan(time_s) else time_s
