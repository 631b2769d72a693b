"""All alerts of all rules, tick by tick: what each group's figures are, what is decided, and what has changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from qoemon.core.alerting.figures import figures
from qoemon.core.alerting.rule import (
    QUIET,
    AlertMetric,
    AlertState,
    Decision,
    Figures,
    Reason,
    Rule,
    Sample,
    Seen,
    decide,
    forget,
)
from qoemon.core.arrays import Floats
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

AlertKey = tuple[str, str, Labels]
"""The rule's name, the service, the group's label values."""


@dataclass(frozen=True)
class Alert:
    """One rule on one group as it stands.

    before   what was decided at the last tick
    figures  what there is to tell of the group while it fires, and as it ends; else nothing
    """

    rule: Rule
    group: Labels
    decision: Decision
    before: Decision
    reading: Sample | None
    figures: Figures

    @property
    def key(self) -> AlertKey:
        """What tells it from all others."""
        return self.rule.name, self.rule.service, self.group

    @property
    def firing(self) -> bool:
        """Whether it fires."""
        return self.decision.state is AlertState.FIRING

    @property
    def ended(self) -> bool:
        """Whether it fired at the last tick, and does no more."""
        return self.before.state is AlertState.FIRING and not self.firing

    @property
    def changed(self) -> bool:
        """Whether its state is another than at the last tick."""
        return self.decision.state is not self.before.state


class Alerts:
    """Remembers what was decided. One decision a rule and group; groups are bounded by the Monitor's limit."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._decided: dict[AlertKey, Decision] = {}

    def decide(self, snapshot: Snapshot) -> tuple[Alert, ...]:
        """The alerts of all groups that are shown, and for a last time of those that have gone."""
        services = {service.service.name: service for service in snapshot.services}
        alerts, gone = [], dict(self._decided)
        for rule in self._rules:
            service = services[rule.service]
            for number, reading in _readings(rule, service, snapshot):
                key = (rule.name, rule.service, service.counts.groups[number])
                alert = _alert(rule, gone.pop(key, QUIET), reading, service, number, snapshot.time_s)
                self._decided[key] = alert.decision
                alerts.append(alert)
        return (*alerts, *self._forget(gone, snapshot.time_s))

    def dump(self) -> bytes:
        """The decisions, as JSON."""
        return msgspec.json.encode([(key, _Stored.of(decision)) for key, decision in self._decided.items()])

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds, as the clock was set."""
        self._decided = {key: decision.shifted(by_s) for key, decision in self._decided.items()}

    def load(self, state: bytes, reset: Collection[str] = ()) -> None:
        """Restore what dump() gave, for the rules that still exist and services that are not reset."""
        names = {(rule.name, rule.service) for rule in self._rules if rule.service not in reset}
        decided = msgspec.json.decode(state, type=list[tuple[AlertKey, _Stored]])
        self._decided = {key: stored.decision() for key, stored in decided if key[:2] in names}

    def _forget(self, gone: Mapping[AlertKey, Decision], now_s: int) -> Iterator[Alert]:
        rules = {(rule.name, rule.service): rule for rule in self._rules}
        for key, before in gone.items():
            del self._decided[key]
            yield Alert(rules[key[:2]], key[2], forget(before, now_s), before, None, {})


class _StoredSeen(msgspec.Struct, frozen=True):
    time_s: float
    figures: Figures


class _Stored(msgspec.Struct, frozen=True):
    """A Decision under its names on disk. Version 1 wrote times as floats after a restart."""

    state: AlertState
    reason: Reason
    since_s: float
    past_s: float | None = None
    seen: _StoredSeen | None = None

    @classmethod
    def of(cls, decision: Decision) -> _Stored:
        seen = None if decision.seen is None else _StoredSeen(decision.seen.time_s, decision.seen.figures)
        return cls(decision.state, decision.reason, decision.since_s, decision.breach_since_s, seen)

    def decision(self) -> Decision:
        breach_since_s = None if self.past_s is None else int(self.past_s)
        seen = None if self.seen is None else Seen(int(self.seen.time_s), self.seen.figures)
        return Decision(self.state, self.reason, int(self.since_s), breach_since_s, seen)


def _alert(
    rule: Rule, before: Decision, reading: Sample | None, service: ServiceSnapshot, number: int, now_s: int
) -> Alert:
    """The rule on the group with this number."""
    group, decision = service.counts.groups[number], decide(rule, before, reading, now_s)
    if AlertState.FIRING not in {decision.state, before.state}:
        return Alert(rule, group, decision, before, reading, {})
    told = {} if reading is None else figures(rule, reading, service, number)
    if decision.state is AlertState.FIRING:
        # As a group falls silent, its last figures are those of one session or two.
        enough = reading is not None and reading.users >= rule.min_sessions
        decision = replace(decision, seen=Seen(now_s, told) if enough else before.seen)
    return Alert(rule, group, decision, before, reading, told)


def _readings(rule: Rule, service: ServiceSnapshot, snapshot: Snapshot) -> Iterator[tuple[int, Sample | None]]:
    """The number of every shown group that the rule selects, and what the rule sees of it."""
    columns = _Columns.of(rule, service, snapshot)
    for number in np.flatnonzero(service.visible).tolist():
        group = service.counts.groups[number]
        if _selected(rule, dict(zip(snapshot.labels, group, strict=True))):
            yield number, columns.reading(number)


def _selected(rule: Rule, labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) in values for name, values in rule.groups.items())


@dataclass(frozen=True)
class _Columns:
    """What a rule sees of all groups, (G,); by_theta (G, T)."""

    figure: Floats
    confident_value: Floats
    by_theta: Floats
    users: np.ndarray

    @classmethod
    def of(cls, rule: Rule, service: ServiceSnapshot, snapshot: Snapshot) -> _Columns:
        if rule.what is AlertMetric.OPEN_STALLS:
            return cls._open_stalls(service)
        judged = service.distributions[rule.window_s]
        nowhere = np.empty((len(judged.observations), 0))
        users = service.counts.users[rule.window_s]
        if rule.what is AlertMetric.QUANTILE:
            figure = judged.quantiles[:, snapshot.quantiles.index(rule.quantile or 0)]
            return cls(figure, figure, nowhere, users)
        bounds, by_theta = {
            AlertMetric.MOS: (judged.mos_bounds, nowhere),
            AlertMetric.GOB: (judged.gob_bounds, judged.band_gob),
            AlertMetric.POW: (judged.pow_bounds, judged.band_pow),
        }[rule.what]
        # Of a high figure that is bad, the lower bound is nearest to good.
        return cls(getattr(judged, rule.what), bounds[:, 0 if rule.what.high_is_bad else 1], by_theta, users)

    @classmethod
    def _open_stalls(cls, service: ServiceSnapshot) -> _Columns:
        active = service.counts.active_sessions
        share = np.divide(service.counts.open_stalls, active, out=np.full(len(active), np.nan), where=active > 0)
        return cls(share, share, np.empty((len(active), 0)), active)

    def reading(self, number: int) -> Sample | None:
        """What is seen of one group; None if nothing is."""
        if np.isnan(self.figure[number]):
            return None
        return Sample(
            figure=float(self.figure[number]),
            confident_value=float(self.confident_value[number]),
            by_theta=tuple(self.by_theta[number].tolist()),
            users=int(self.users[number]),
        )
