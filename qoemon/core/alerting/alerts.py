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
from qoemon.core.alerting.false_alarms import bound_error
from qoemon.core.alerting.figures import figures, model_figures
from qoemon.core.alerting.model import model_sample
from qoemon.core.alerting.presence import Presence, ServicePresence
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.alerting.silence import silent_since, sums_silent_since
from qoemon.core.arrays import Flags, Floats
from qoemon.core.counting.groups import Labels
from qoemon.core.plan.plan import Limits, Timing
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.qoe.confidence import lower_bound_of_many
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.qoe.scale import Scale
from qoemon.core.snapshot.roll_up import roll_up
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot

AlertKey = tuple[str, str, Labels]
"""The rule's name, the service, and the label values of the group, or of the sum of groups."""


@dataclass(frozen=True)
class Alert:
    """The state of one rule for one group, or for one sum of groups.

    group     label values
    names     their labels: those of `by`, if the rule has it
    before    the decision at the last tick
    sample    None if the group has no data
    figures   of the group while the alert fires, and when it clears; else empty
    silent_s  since when the group has sent no reports, seconds since the epoch; None while reports arrive
    """

    rule: Rule
    group: Labels
    names: tuple[str, ...]
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
    def labels(self) -> Mapping[str, str]:
        """The label values by label."""
        return dict(zip(self.names, self.group, strict=True))

    @property
    def firing(self) -> bool:
        """Whether it fires."""
        return self.decision.state is AlertState.FIRING

    @property
    def of_users(self) -> bool:
        """Whether it is about users, and not about the model that predicts what they would say."""
        return self.rule.metric is not AlertMetric.MODEL

    @property
    def ended(self) -> bool:
        """Whether it fired at the last tick, and does not now."""
        return self.before.state is AlertState.FIRING and not self.firing

    @property
    def changed(self) -> bool:
        """Whether its state differs from that of the last tick."""
        return self.decision.state is not self.before.state


class Alerts:
    """Holds one decision per rule and group, from tick to tick; the number of groups is limited by the plan.

    tick_s        seconds from tick to tick
    group_idle_s  seconds after which a silent group is removed
    """

    def __init__(
        self, rules: Sequence[Rule], tick_s: int = Timing.tick_s, group_idle_s: float = Limits.group_idle_s
    ) -> None:
        self._rules, self._tick_s, self._group_idle_s = tuple(rules), tick_s, group_idle_s
        self._by_name = {(rule.name, rule.service): rule for rule in rules}
        self._decided: dict[AlertKey, Decision] = {}
        self._adopted: dict[AlertKey, int] = {}
        self._adopted_s: int | None = None
        """The first tick at which they waited for their groups."""

    @property
    def adopted(self) -> Mapping[AlertKey, int]:
        """The adopted alerts whose groups have not reported yet, with the begin of each."""
        return self._adopted

    def adopt(self, firing: Mapping[AlertKey, int]) -> None:
        """Continue alerts that another daemon found firing, instead of those adopted before.

        From the next tick with a reading of its group on, each is decided as if it had fired here: it ends when its
        group recovers, but not before the window of its rule has been filled since. One whose group does not report
        ends when a group that did would have been removed.

        firing  since when each fires, seconds since the epoch
        """
        self._adopted, self._adopted_s = dict(firing), None

    def decide(
        self, snapshot: Snapshot, presence: Mapping[str, ServicePresence] | None = None
    ) -> tuple[Alert, ...]:
        """The alerts of all visible groups, and of those that an alert fires on; once more those that have ended.

        presence  by service; without it, rules on missing sessions have no data
        """
        alerts, left = [], dict(self._decided)
        for rule in self._rules:
            evaluated, present = _Evaluated.of(rule, snapshot), (presence or {}).get(rule.service)
            for reading in self._readings(rule, evaluated, present, snapshot):
                key = (rule.name, rule.service, reading.group)
                before = self._before(key, left.pop(key, QUIET), snapshot.time_s)
                alert = _alert(rule, before, reading, evaluated, snapshot)
                self._decided[key] = alert.decision
                alerts.append(alert)
        return (*alerts, *self._drop(left, snapshot), *self._drop_adopted(snapshot))

    def dump(self) -> bytes:
        """The decisions, as JSON, without adopted alerts."""
        stored = [(key, _Stored.of(decision, self._by_name[key[:2]].by)) for key, decision in self._decided.items()]
        return msgspec.json.encode(stored)

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds, after a step of the clock."""
        self._decided = {key: decision.shifted(by_s) for key, decision in self._decided.items()}
        self._adopted = {key: since_s + by_s for key, since_s in self._adopted.items()}
        if self._adopted_s is not None:
            self._adopted_s += by_s

    def load(self, state: bytes, reset: Collection[str] = ()) -> None:
        """Restore what dump() gave, for rules that still have the same `by` and services that are not reset.

        Rules on the model are restored in any case: what users said is compared with the new constants.
        """
        rules = {
            (rule.name, rule.service, rule.by)
            for rule in self._rules
            if rule.service not in reset or rule.metric is AlertMetric.MODEL
        }
        decided = msgspec.json.decode(state, type=list[tuple[AlertKey, _Stored]])
        self._decided = {key: stored.decision() for key, stored in decided if (*key[:2], stored.by) in rules}

    def _before(self, key: AlertKey, own: Decision, now_s: int) -> Decision:
        """The last decision on an alert: our own, or of the daemon from which we have adopted it."""
        since_s = self._adopted.pop(key, None)
        if since_s is None:
            return own
        if own.state is AlertState.FIRING:
            return replace(own, since_s=since_s)
        return Decision(AlertState.FIRING, Reason.PAST_THRESHOLD, since_s, adopted_s=now_s)

    def _readings(
        self, rule: Rule, evaluated: _Evaluated, present: ServicePresence | None, snapshot: Snapshot
    ) -> Iterator[_Reading]:
        """The readings of the groups that the rule selects: visible ones, and silent ones on which it fires."""
        if rule.metric.of_presence:
            yield from () if present is None else _presence_readings(rule, evaluated, present)
            return
        if rule.metric is AlertMetric.MODEL:
            if (feedback := snapshot.feedback.get(rule.service)) is not None:
                before = self._decided.get((rule.name, rule.service, ()), QUIET)
                yield _Reading((), 0, model_sample(feedback, before, snapshot.time_s))
            return
        service = evaluated.service
        shown = service.visible if service.visible.all() else service.visible | self._firing(rule, service)
        numbers = evaluated.selected(rule, shown)
        columns = _Columns.of(rule, service, snapshot, bound_error(rule, len(numbers), self._tick_s))
        groups = service.counts.groups
        silent_s = [None] * len(groups) if present is None else evaluated.silent_s(present.groups)
        for number in numbers:
            yield _Reading(groups[number], number, columns.sample(number), silent_s=silent_s[number])

    def _firing(self, rule: Rule, service: ServiceSnapshot) -> Flags:
        """(G,) on which groups the rule fired at the last tick, or is adopted."""
        firing = {
            key[2]
            for key, decision in self._decided.items()
            if decision.state is AlertState.FIRING and key[:2] == (rule.name, rule.service)
        }
        firing |= {key[2] for key in self._adopted if key[:2] == (rule.name, rule.service)}
        if not firing:
            return np.zeros(len(service.counts.groups), np.bool_)
        return np.array([group in firing for group in service.counts.groups], np.bool_) & ~service.counts.free

    def _drop(self, left: Mapping[AlertKey, Decision], snapshot: Snapshot) -> Iterator[Alert]:
        for key, before in left.items():
            del self._decided[key]
            yield _forgotten(self._by_name[key[:2]], key[2], before, snapshot)

    def _drop_adopted(self, snapshot: Snapshot) -> Iterator[Alert]:
        """End what has been adopted, and whose group has not reported since for as long as groups are kept."""
        if self._adopted_s is None:
            self._adopted_s = snapshot.time_s
        if not self._adopted or snapshot.time_s - self._adopted_s <= self._group_idle_s:
            return
        adopted, self._adopted = self._adopted, {}
        for key, since_s in adopted.items():
            rule = self._by_name.get(key[:2])
            if rule is not None and len(key[2]) == len(_names(rule, snapshot)):
                before = Decision(AlertState.FIRING, Reason.NO_DATA, since_s)
                yield _forgotten(rule, key[2], before, snapshot)


class _StoredFigures(msgspec.Struct, frozen=True):
    time_s: float
    figures: Figures


class _Stored(msgspec.Struct, frozen=True):
    """A Decision, with the names of its fields on disk. Version 1 wrote times as floats after a restart.

    by  of the rule; earlier versions had rules for single groups only
    """

    state: AlertState
    reason: Reason
    since_s: float
    past_s: float | None = None
    seen: _StoredFigures | None = None
    by: tuple[str, ...] | None = None
    adopted_s: int | None = None

    @classmethod
    def of(cls, decision: Decision, by: tuple[str, ...] | None) -> _Stored:
        last = decision.last_figures
        seen = None if last is None else _StoredFigures(last.time_s, last.figures)
        times = decision.since_s, decision.breach_since_s
        return cls(decision.state, decision.reason, *times, seen, by, decision.adopted_s)

    def decision(self) -> Decision:
        breach_since_s = None if self.past_s is None else int(self.past_s)
        last = None if self.seen is None else TimedFigures(int(self.seen.time_s), self.seen.figures)
        return Decision(self.state, self.reason, int(self.since_s), breach_since_s, last, self.adopted_s)


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


@dataclass(frozen=True)
class _Evaluated:
    """What a rule evaluates.

    names    labels of its alerts
    groups   the service with its groups
    service  the same with the sums of groups, if the rule has a roll-up
    key      of the roll-up
    labels   of the groups
    """

    names: tuple[str, ...]
    groups: ServiceSnapshot
    service: ServiceSnapshot
    key: RollUpKey | None
    labels: tuple[str, ...]

    @classmethod
    def of(cls, rule: Rule, snapshot: Snapshot) -> _Evaluated:
        groups = next(each for each in snapshot.services if each.service.name == rule.service)
        key, labels = rule.roll_up, snapshot.labels
        if key is None:
            return cls(_names(rule, snapshot), groups, groups, None, labels)
        return cls(_names(rule, snapshot), groups, roll_up(snapshot, key, groups), key, labels)

    def selected(self, rule: Rule, flags: Flags) -> list[int]:
        """The numbers of the groups, or sums, with this flag (G,) that the rule selects."""
        groups = self.service.counts.groups
        return [
            number
            for number in np.flatnonzero(flags).tolist()
            if _selected(rule, dict(zip(self.names, groups[number], strict=True)))
        ]

    def silent_s(self, presence: Presence) -> list[float | None]:
        """(G,) since when each group or sum has sent no reports. presence: of the groups."""
        if self.key is None:
            return silent_since(self.service, presence)
        return sums_silent_since(self.groups, presence, self.service, self.key, self.labels)


def _alert(rule: Rule, before: Decision, reading: _Reading, evaluated: _Evaluated, snapshot: Snapshot) -> Alert:
    """The rule on the group of this reading."""
    group, sample, now_s = reading.group, reading.sample, snapshot.time_s
    decision = decide(rule, before, sample, now_s, reading.missing)
    if AlertState.FIRING not in {decision.state, before.state}:
        return Alert(rule, group, evaluated.names, decision, before, sample, {}, reading.silent_s)
    if sample is None:
        numbers: Figures = {}
    elif rule.metric is AlertMetric.MODEL:
        numbers = model_figures(sample, snapshot.feedback[rule.service])
    else:
        numbers = figures(rule, sample, evaluated.service, reading.number)
    if decision.state is AlertState.FIRING:
        # The last figures of a group that stops reporting come from very few sessions: do not keep those.
        enough = sample is not None and sample.users >= rule.min_sessions
        last = TimedFigures(now_s, numbers) if enough else before.last_figures
        decision = replace(decision, last_figures=last)
    return Alert(rule, group, evaluated.names, decision, before, sample, numbers, reading.silent_s)


def _forgotten(rule: Rule, group: Labels, before: Decision, snapshot: Snapshot) -> Alert:
    """The rule on a group that is no longer visible, or was removed."""
    return Alert(rule, group, _names(rule, snapshot), forget(before, snapshot.time_s), before, None, {})


def _presence_readings(rule: Rule, evaluated: _Evaluated, present: ServicePresence) -> Iterator[_Reading]:
    """The readings of a rule on missing sessions: of the whole service, or of the groups that it selects."""
    if rule.whole:
        yield _presence_reading(rule, present, present.whole, 0, ())
        return
    counts = evaluated.service.counts
    for number in evaluated.selected(rule, ~counts.free):
        yield _presence_reading(rule, present, present.groups, number, counts.groups[number])


def _presence_reading(
    rule: Rule, present: ServicePresence, columns: Presence, number: int, group: Labels
) -> _Reading:
    silent_s, usual = _known(float(columns.since_s[number])), int(columns.usual[number])
    cut_off = present.disconnected_s is not None
    if rule.metric is AlertMetric.ABSENT:
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


def _names(rule: Rule, snapshot: Snapshot) -> tuple[str, ...]:
    """Names of the labels of a rule's alerts."""
    return snapshot.labels if rule.by is None else rule.by


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _selected(rule: Rule, labels: Mapping[str, str]) -> bool:
    """Whether the rule selects a group, or sum of groups; what it sums has been selected by its other labels."""
    return all(
        labels.get(name) in values for name, values in rule.groups.items() if rule.by is None or name in rule.by
    )


@dataclass(frozen=True)
class _Columns:
    """The samples of all groups, (G,) per column; by_theta is (G, T)."""

    value: Floats
    confident_value: Floats
    by_theta: Floats
    users: np.ndarray
    obstacles: tuple[Reason | None, ...]

    @classmethod
    def of(cls, rule: Rule, service: ServiceSnapshot, snapshot: Snapshot, error: float) -> _Columns:
        """error: probability with which the bound may be wrong, if the rule uses it."""
        obstacles = _obstacles(service, snapshot)
        if rule.metric is AlertMetric.OPEN_STALLS:
            return cls._open_stalls(service, obstacles)
        rated = service.distributions[rule.window_s]
        no_thetas = np.empty((len(rated.observations), 0))
        users = service.counts.users[rule.window_s]
        if rule.metric is AlertMetric.QUANTILE:
            value = rated.quantiles[:, snapshot.quantiles.index(rule.quantile or 0)]
            return cls(value, value, no_thetas, users, obstacles)
        by_theta = {AlertMetric.GOB: rated.band_gob, AlertMetric.POW: rated.band_pow}.get(rule.metric, no_thetas)
        value = getattr(rated, rule.metric)
        confident_value = _bound_of_many(rule, rated, service.service.scale, error)
        return cls(value, confident_value, by_theta, users, obstacles)

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


def _bound_of_many(rule: Rule, rated: Distribution, scale: Scale, error: float) -> Floats:
    """(G,) the end nearest to good of the interval for all looks of the rule, no narrower than the exported one."""
    low, span = {
        AlertMetric.POW: (0, 1),
        AlertMetric.GOB: (1, -1),
        AlertMetric.MOS: (scale.high, scale.low - scale.high),
    }[rule.metric]
    value, square = getattr(rated, rule.metric), getattr(rated, f"{rule.metric}_square")
    # Of the distance from the best value, as a share of the scale.
    mean, square = (value - low) / span, (square - 2 * low * value + low**2) / span**2
    bound = low + span * lower_bound_of_many(mean, square, rated.effective_users, error)
    ends = getattr(rated, f"{rule.metric}_bounds")
    return np.asarray(np.minimum(bound, ends[:, 0]) if rule.metric.high_is_bad else np.maximum(bound, ends[:, 1]))


def _obstacles(service: ServiceSnapshot, snapshot: Snapshot) -> tuple[Reason | None, ...]:
    """For each group, why its figures cannot be trusted now."""
    otherwise = Reason.CATCHING_UP if snapshot.catching_up else None
    return tuple(Reason.FEED if doubtful else otherwise for doubtful in service.doubtful.tolist())
