"""All alerts of all rules, tick by tick: samples of each group, decisions, and changes of state."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np

from qoemon.core.alerting.decision import (
    QUIET,
    AlertState,
    Decision,
    Figures,
    Reason,
    Sample,
    TimedFigures,
    decide,
    forget,
)
from qoemon.core.alerting.figures import figures
from qoemon.core.alerting.presence import Presence, ServicePresence
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.arrays import Flags, Floats
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

AlertKey = tuple[str, str, Labels]
"""The rule's name, the service, the group's label values; empty ones for a rule on the whole service."""


@dataclass(frozen=True)
class Alert:
    """The state of one rule for one group.

    before    the decision at the last tick
    sample    None if the group has no data
    figures   of the group while the alert fires, and when it clears; else empty
    silent_s  since when the group has sent no reports, seconds since the epoch; None while reports arrive
    """

    rule: Rule
    group: Labels
    decision: Decision
    before: Decision
    sample: Sample | None
    figures: Figures
    silent_s: float | None = None

    @property
    def key(self) -> AlertKey:
        """Its identity: rule, service, group."""
        return self.rule.name, self.rule.service, self.group

    @property
    def firing(self) -> bool:
        """Whether it fires."""
        return self.decision.state is AlertState.FIRING

    @property
    def ended(self) -> bool:
        """Whether it fired at the last tick, and does not now."""
        return self.before.state is AlertState.FIRING and not self.firing

    @property
    def changed(self) -> bool:
        """Whether its state differs from that of the last tick."""
        return self.decision.state is not self.before.state


class Alerts:
    """Holds one decision per rule and group, from tick to tick; the number of groups is limited by the plan."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._decided: dict[AlertKey, Decision] = {}

    def decide(
        self, snapshot: Snapshot, presence: Mapping[str, ServicePresence] | None = None
    ) -> tuple[Alert, ...]:
        """The alerts of all visible groups, and of those that an alert fires on; once more those that have ended.

        presence  by service; without it, rules on missing sessions have no data
        """
        services = {service.service.name: service for service in snapshot.services}
        alerts, left = [], dict(self._decided)
        for rule in self._rules:
            service, present = services[rule.service], (presence or {}).get(rule.service)
            for reading in self._readings(rule, service, present, snapshot):
                key = (rule.name, rule.service, reading.group)
                alert = _alert(rule, left.pop(key, QUIET), reading, service, snapshot.time_s)
                self._decided[key] = alert.decision
                alerts.append(alert)
        return (*alerts, *self._drop(left, snapshot.time_s))

    def dump(self) -> bytes:
        """The decisions, as JSON."""
        return msgspec.json.encode([(key, _Stored.of(decision)) for key, decision in self._decided.items()])

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds, after a step of the clock."""
        self._decided = {key: decision.shifted(by_s) for key, decision in self._decided.items()}

    def load(self, state: bytes, reset: Collection[str] = ()) -> None:
        """Restore what dump() gave, for the rules that still exist and services that are not reset."""
        names = {(rule.name, rule.service) for rule in self._rules if rule.service not in reset}
        decided = msgspec.json.decode(state, type=list[tuple[AlertKey, _Stored]])
        self._decided = {key: stored.decision() for key, stored in decided if key[:2] in names}

    def _readings(
        self, rule: Rule, service: ServiceSnapshot, present: ServicePresence | None, snapshot: Snapshot
    ) -> Iterator[_Reading]:
        """The readings of the groups that the rule selects: visible ones, and silent ones on which it fires."""
        if rule.what.of_presence:
            yield from _presence_readings(rule, service, present, snapshot)
            return
        columns, visible = _Columns.of(rule, service, snapshot), service.visible
        numbers = visible if visible.all() else visible | self._firing(rule, service)
        silent_s = [np.nan] * len(visible) if present is None else present.groups.since_s.tolist()
        for number in np.flatnonzero(numbers).tolist():
            group = service.counts.groups[number]
            if _selected(rule, dict(zip(snapshot.labels, group, strict=True))):
                yield _Reading(group, number, columns.sample(number), silent_s=_known(silent_s[number]))

    def _firing(self, rule: Rule, service: ServiceSnapshot) -> Flags:
        """(G,) on which groups the rule fired at the last tick."""
        firing = {
            key[2]
            for key, decision in self._decided.items()
            if decision.state is AlertState.FIRING and key[:2] == (rule.name, rule.service)
        }
        if not firing:
            return np.zeros(len(service.counts.groups), np.bool_)
        return np.array([group in firing for group in service.counts.groups], np.bool_) & ~service.counts.free

    def _drop(self, left: Mapping[AlertKey, Decision], now_s: int) -> Iterator[Alert]:
        rules = {(rule.name, rule.service): rule for rule in self._rules}
        for key, before in left.items():
            del self._decided[key]
            yield Alert(rules[key[:2]], key[2], forget(before, now_s), before, None, {})


class _StoredFigures(msgspec.Struct, frozen=True):
    time_s: float
    figures: Figures


class _Stored(msgspec.Struct, frozen=True):
    """A Decision, with the names of its fields on disk. Version 1 wrote times as floats after a restart."""

    state: AlertState
    reason: Reason
    since_s: float
    past_s: float | None = None
    seen: _StoredFigures | None = None

    @classmethod
    def of(cls, decision: Decision) -> _Stored:
        last = decision.last_figures
        seen = None if last is None else _StoredFigures(last.time_s, last.figures)
        return cls(decision.state, decision.reason, decision.since_s, decision.breach_since_s, seen)

    def decision(self) -> Decision:
        breach_since_s = None if self.past_s is None else int(self.past_s)
        last = None if self.seen is None else TimedFigures(int(self.seen.time_s), self.seen.figures)
        return Decision(self.state, self.reason, int(self.since_s), breach_since_s, last)


class _Reading(NamedTuple):
    """What a rule reads of one group.

    number   of the group in its service; that of a whole service is not used
    missing  why there is no sample
    """

    group: Labels
    number: int
    sample: Sample | None
    missing: Reason = Reason.NO_DATA
    silent_s: float | None = None


def _alert(rule: Rule, before: Decision, reading: _Reading, service: ServiceSnapshot, now_s: int) -> Alert:
    """The rule on the group of this reading."""
    group, sample = reading.group, reading.sample
    decision = decide(rule, before, sample, now_s, reading.missing)
    if AlertState.FIRING not in {decision.state, before.state}:
        return Alert(rule, group, decision, before, sample, {}, reading.silent_s)
    numbers = {} if sample is None else figures(rule, sample, service, reading.number)
    if decision.state is AlertState.FIRING:
        # The last figures of a group that stops reporting come from very few sessions: do not keep those.
        enough = sample is not None and sample.users >= rule.min_sessions
        last = TimedFigures(now_s, numbers) if enough else before.last_figures
        decision = replace(decision, last_figures=last)
    return Alert(rule, group, decision, before, sample, numbers, reading.silent_s)


def _presence_readings(
    rule: Rule, service: ServiceSnapshot, present: ServicePresence | None, snapshot: Snapshot
) -> Iterator[_Reading]:
    """The readings of a rule on missing sessions: of the whole service, or of the groups that it selects."""
    if present is None:
        return
    if rule.whole:
        yield _presence_reading(rule, present, present.whole, 0, ("",) * len(snapshot.labels))
        return
    for number in np.flatnonzero(~service.counts.free).tolist():
        group = service.counts.groups[number]
        if _selected(rule, dict(zip(snapshot.labels, group, strict=True))):
            yield _presence_reading(rule, present, present.groups, number, group)


def _presence_reading(
    rule: Rule, present: ServicePresence, columns: Presence, number: int, group: Labels
) -> _Reading:
    silent_s, usual = _known(float(columns.since_s[number])), int(columns.usual[number])
    cut_off = present.disconnected_s is not None
    if rule.what is AlertMetric.ABSENT:
        value = certain = float(columns.silence_s[number])
        missing, cause = Reason.NO_DATA, Reason.NOT_CONNECTED if cut_off else None
    else:
        value, certain = float(columns.fall[number]), float(columns.certain[number])
        missing, cause = Reason.NO_DATA, None
        if not columns.settled:
            missing = Reason.NOT_CONNECTED if cut_off else Reason.STARTING
    if np.isnan(value):
        return _Reading(group, number, None, missing, silent_s)
    return _Reading(group, number, Sample(value, certain, (), usual, cause=cause), silent_s=silent_s)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _selected(rule: Rule, labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) in values for name, values in rule.groups.items())


@dataclass(frozen=True)
class _Columns:
    """The samples of all groups, (G,) per column; by_theta is (G, T)."""

    value: Floats
    confident_value: Floats
    by_theta: Floats
    users: np.ndarray
    obstacles: tuple[Reason | None, ...]

    @classmethod
    def of(cls, rule: Rule, service: ServiceSnapshot, snapshot: Snapshot) -> _Columns:
        obstacles = _obstacles(service, snapshot)
        if rule.what is AlertMetric.OPEN_STALLS:
            return cls._open_stalls(service, obstacles)
        rated = service.distributions[rule.window_s]
        no_thetas = np.empty((len(rated.observations), 0))
        users = service.counts.users[rule.window_s]
        if rule.what is AlertMetric.QUANTILE:
            value = rated.quantiles[:, snapshot.quantiles.index(rule.quantile or 0)]
            return cls(value, value, no_thetas, users, obstacles)
        bounds, by_theta = {
            AlertMetric.MOS: (rated.mos_bounds, no_thetas),
            AlertMetric.GOB: (rated.gob_bounds, rated.band_gob),
            AlertMetric.POW: (rated.pow_bounds, rated.band_pow),
        }[rule.what]
        # Where high is bad, the lower bound is nearest to good.
        return cls(
            getattr(rated, rule.what), bounds[:, 0 if rule.what.high_is_bad else 1], by_theta, users, obstacles
        )

    @classmethod
    def _open_stalls(cls, service: ServiceSnapshot, obstacles: tuple[Reason | None, ...]) -> _Columns:
        active = service.counts.active_sessions
        share = np.divide(service.counts.open_stalls, active, out=np.full(len(active), np.nan), where=active > 0)
        return cls(share, share, np.empty((len(active), 0)), active, obstacles)

    def sample(self, number: int) -> Sample | None:
        """The sample of one group; None if it has no data."""
        if np.isnan(self.value[number]):
            return None
        return Sample(
            value=float(self.value[number]),
            confident_value=float(self.confident_value[number]),
            by_theta=tuple(self.by_theta[number].tolist()),
            users=int(self.users[number]),
            obstacle=self.obstacles[number],
        )


def _obstacles(service: ServiceSnapshot, snapshot: Snapshot) -> tuple[Reason | None, ...]:
    """For each group, why its figures cannot be trusted now."""
    otherwise = Reason.CATCHING_UP if snapshot.catching_up else None
    return tuple(Reason.FEED if doubtful else otherwise for doubtful in service.doubtful.tolist())
