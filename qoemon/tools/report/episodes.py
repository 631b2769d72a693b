"""Spans and events of regimes and alerts over a period. Bounded in number; those beyond are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from qoemon.core.alerting.alerts import Alert
from qoemon.core.alerting.decision import AlertState
from qoemon.core.alerting.regime import Regime, Regimes
from qoemon.core.counting.groups import Labels

MOST_SPANS = 20_000
MOST_EVENTS = 2000

Key = TypeVar("Key", bound=Hashable)


class Span(NamedTuple):
    """A state with its begin and end, seconds since the epoch."""

    state: int
    from_s: float
    to_s: float


class Spans(Generic[Key]):
    """Spans of states, by key."""

    def __init__(self) -> None:
        self._open: dict[Key, tuple[int, float]] = {}
        self._closed: dict[Key, list[Span]] = {}
        self._number = 0
        self.left_out = 0
        """Spans beyond MOST_SPANS, not kept."""

    def set(self, key: Key, state: int | None, at_s: float) -> None:
        """Set the state from at_s on; None: no span."""
        before = self._open.pop(key, None)
        if before is not None:
            self._close(key, Span(before[0], before[1], at_s))
        if state is not None:
            self._open[key] = (state, at_s)

    def of(self, key: Key, end_s: float) -> list[Span]:
        """Spans of a key in the order of time, the open one up to end_s."""
        last = self._open.get(key)
        closed = list(self._closed.get(key, ()))
        return closed if last is None else [*closed, Span(last[0], last[1], end_s)]

    def keys(self) -> list[Key]:
        """All keys with a span."""
        return list(dict.fromkeys([*self._closed, *self._open]))

    def seconds(self, key: Key, end_s: float) -> Counter[int]:
        """Seconds that a key spent in each state."""
        total: Counter[int] = Counter()
        for span in self.of(key, end_s):
            total[span.state] += round(span.to_s - span.from_s)
        return total

    def _close(self, key: Key, span: Span) -> None:
        if self._number >= MOST_SPANS:
            self.left_out += 1
        elif span.to_s > span.from_s:
            self._number += 1
            self._closed.setdefault(key, []).append(span)


@dataclass
class Fired:
    """An alert that fired.

    names  labels of the group; those that the rule sums are missing
    to_s   None if it still fired at the end
    worst  the worst value of its metric
    """

    rule: str
    service: str
    group: Labels
    names: tuple[str, ...]
    severity: str
    from_s: float
    to_s: float | None
    worst: float
    users: int


class AlertLog:
    """Alerts over time. Spans are of AlertState, without INACTIVE."""

    def __init__(self) -> None:
        self.spans: Spans[tuple[str, str, Labels]] = Spans()
        self.fired: list[Fired] = []
        self.left_out = 0
        """Alerts beyond MOST_EVENTS, not kept."""
        self._firing: dict[tuple[str, str, Labels], Fired] = {}

    def observe(self, alerts: tuple[Alert, ...], now_s: float) -> None:
        """Record the alerts of a tick."""
        for alert in alerts:
            if alert.changed:
                state = alert.decision.state
                self.spans.set(alert.key, None if state is AlertState.INACTIVE else int(state), now_s)
            if alert.ended and alert.key in self._firing:
                self._firing.pop(alert.key).to_s = now_s
            elif alert.firing:
                self._update_firing(alert, now_s)

    def _update_firing(self, alert: Alert, now_s: float) -> None:
        fired = self._firing.get(alert.key)
        if fired is None:
            fired = Fired(*alert.key, alert.names, alert.rule.severity, now_s, None, np.nan, 0)
            self._firing[alert.key] = fired
            if len(self.fired) < MOST_EVENTS:
                self.fired.append(fired)
            else:
                self.left_out += 1
        if alert.sample is not None:
            value = alert.sample.value
            if np.isnan(fired.worst) or (value > fired.worst) == alert.rule.metric.high_is_bad:
                fired.worst, fired.users = value, alert.sample.users


class Change(NamedTuple):
    """A change of PoW that was established at at_s, or a regime that was entered then.

    direction  1 worse, -1 better, 0 if only the regime changed
    began_s    estimated begin of the change
    entered    the regime that was entered, None if it is the same
    """

    group: Labels
    at_s: float
    direction: int
    began_s: float
    entered: Regime | None
    level: float
    reason: str


class RegimeLog:
    """Regimes of one service over time. Spans are of Regime."""

    def __init__(self) -> None:
        self.spans: Spans[Labels] = Spans()
        self.changes: list[Change] = []
        self.left_out = 0
        """Changes beyond MOST_EVENTS, not kept."""
        self._newest: Regimes | None = None
        self._states = np.zeros(0, np.int64)

    def observe(self, regimes: Regimes, groups: tuple[Labels, ...], now_s: float) -> None:
        """Record the regimes of a tick; nothing happens if they are those of the tick before."""
        if regimes is self._newest:
            return
        self._newest = regimes
        states = np.where(regimes.known, regimes.regime, -1)
        before = np.full(len(states), -1)
        before[: len(self._states)] = self._states
        for group in np.flatnonzero(states != before).tolist():
            self.spans.set(groups[group], int(states[group]) if states[group] >= 0 else None, now_s)
        self._states = states
        for change in self._changes(regimes, groups, now_s):
            if len(self.changes) < MOST_EVENTS:
                self.changes.append(change)
            else:
                self.left_out += 1

    def _changes(self, regimes: Regimes, groups: tuple[Labels, ...], now_s: float) -> Iterator[Change]:
        for group in np.flatnonzero(regimes.moved | (regimes.direction != 0)).tolist():
            yield Change(
                group=groups[group],
                at_s=now_s,
                direction=int(regimes.direction[group]),
                began_s=float(regimes.changed_s[group]) if regimes.direction[group] else np.nan,
                entered=Regime(int(regimes.regime[group])) if regimes.moved[group] else None,
                level=float(regimes.level[group]),
                reason=str(regimes.reason[group]),
            )
