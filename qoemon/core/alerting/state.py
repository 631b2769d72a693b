"""The one state of a group or service that is shown: the first that holds, in the order of State."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.presence import ServicePresence
from qoemon.core.alerting.regime import Regime, RegimeRules, Regimes
from qoemon.core.alerting.silence import silent_since, sums_silent_since
from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.plan.roll_up import RollUpKey
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
    """The states of a service and of its groups, in the order of their numbers; None of a sum without a regime."""

    groups: Sequence[GroupState | None]
    whole: GroupState


def states(
    service: ServiceSnapshot,
    interval_s: int,
    regimes: Regimes | None,
    presence: ServicePresence,
    alerts: Collection[Alert],
    rules: RegimeRules,
) -> ServiceStates:
    """The states at a tick. alerts: those of this service that fire; those on sums are of the whole service."""
    columns = _Columns.of(service, interval_s, regimes)
    of_single = [alert for alert in alerts if alert.rule.by is None]
    since_s = silent_since(service, presence.groups)
    of_groups = _with_alerts(columns.states(rules), service, since_s, of_single, presence)
    heard = columns.shown & (service.counts.heard > 0)
    whole = _whole(
        [each for each, one in zip(of_groups, heard.tolist(), strict=True) if each and one], presence, alerts
    )
    return ServiceStates(tuple(of_groups), whole)


def sum_states(
    service: ServiceSnapshot,
    sums: ServiceSnapshot,
    by: tuple[str, ...],
    labels: Sequence[str],
    regimes: Regimes | None,
    presence: ServicePresence,
    alerts: Iterable[Alert],
    rules: RegimeRules,
) -> tuple[GroupState | None, ...]:
    """The states of a service's sums over all labels but these; None where nothing is known.

    sums    the service, rolled up
    labels  names of the groups' labels
    alerts  those of this service that fire
    """
    key = RollUpKey(by)
    of_sums = [alert for alert in alerts if alert.rule.by == by and not (alert.rule.roll_up or key).where]
    since_s = sums_silent_since(service, presence.groups, sums, key, labels)
    columns = _Columns.of(sums, min(sums.distributions), regimes)
    unknown: list[GroupState | None] = [None] * len(sums.counts.groups)
    before = unknown if regimes is None else columns.states(rules)
    return tuple(_with_alerts(before, sums, since_s, of_sums, presence))


def _with_alerts(
    before: Sequence[GroupState | None],
    service: ServiceSnapshot,
    since_s: Sequence[float | None],
    alerts: Iterable[Alert],
    presence: ServicePresence,
) -> list[GroupState | None]:
    """The states with regard to alerts and silence. since_s: (G,) since when groups have been silent."""
    firing, out = _by_group(alerts), list(before)
    for number, group in enumerate(service.counts.groups):
        if group in firing:
            out[number] = _alert_state(firing[group])
    for number in np.flatnonzero(service.counts.heard == 0).tolist():
        known = out[number]
        out[number] = _no_data(presence, since_s[number], () if known is None else known.alerts)
    return out


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

    def states(self, rules: RegimeRules) -> list[GroupState | None]:
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


def _whole(shown: Sequence[GroupState], presence: ServicePresence, alerts: Collection[Alert]) -> GroupState:
    """The state of the service: that of its most urgent group, unless it has one of its own.

    shown  the states of the groups that send reports
    """
    names = tuple(dict.fromkeys(alert.rule.name for alert in alerts))
    if presence.whole.silence_s[0] != 0:  # Also before the first report, where it is NaN.
        return _no_data(presence, _time(float(presence.whole.since_s[0])), names)
    if alerts:
        return _alert_state(tuple(alerts))
    if not shown:
        return GroupState(State.LEARNING)
    first = min((each.state for each in shown), key=_ORDER.__getitem__)
    same = [each for each in shown if each.state is first]
    since_s = [each.since_s for each in same if each.since_s is not None]
    most = max(same, key=lambda each: each.have)
    return GroupState(first, min(since_s, default=None), most.have, most.need)


def _no_data(service: ServicePresence, since_s: float | None, alerts: tuple[str, ...]) -> GroupState:
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
