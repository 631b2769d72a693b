"""Who is not well served, tick by tick: alerts and regimes, from snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.alerting.alerts import Alert, Alerts
from qoemon.core.alerting.change_point import Interval
from qoemon.core.alerting.regime import RegimeMonitor, RegimeRules, Regimes
from qoemon.core.alerting.rule import AlertState, Reason, Rule
from qoemon.core.plan.plan import Plan
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot


@dataclass(frozen=True)
class Detections:
    """What is thought of a snapshot.

    alerts       of all groups that rules select, and those that have gone at this tick
    transitions  how often an alert of (rule, service) came to (state, reason), since the start
    regimes      by service; groups that appeared since the last rating interval are not in them yet
    """

    alerts: tuple[Alert, ...]
    transitions: Mapping[tuple[str, str, AlertState, Reason], int]
    regimes: Mapping[str, Regimes]


class Detector:
    """Remembers what was thought. Shown each snapshot once, in order."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        self._interval_s = plan.timing.interval_s
        self._alerts = Alerts(rules)
        self._transitions: Counter[tuple[str, str, AlertState, Reason]] = Counter()
        self._monitors = {service.name: RegimeMonitor(regimes) for service in plan.services}
        self._regimes: dict[str, Regimes] = {}
        self._newest: int | None = None
        """The rating interval that the last snapshot was in."""

    def observe(self, snapshot: Snapshot) -> Detections:
        """What is thought of it, given what came before."""
        # At a multiple of the rating interval the base window is exactly one closed interval. If that tick was
        # left out, the next one's is nearly that, and better than none.
        interval, late_s = divmod(snapshot.time_s, self._interval_s)
        if late_s == 0 or (self._newest is not None and interval > self._newest):
            for service in snapshot.services:
                name = service.service.name
                self._regimes[name] = self._monitors[name].close(self._interval(service, snapshot.time_s))
        self._newest = interval
        alerts = self._alerts.decide(snapshot)
        for alert in alerts:
            if alert.changed:
                self._transitions[
                    alert.rule.name, alert.rule.service, alert.decision.state, alert.decision.reason
                ] += 1
        return Detections(alerts, dict(self._transitions), dict(self._regimes))

    def dump(self) -> dict[str, NDArray[Any]]:
        """What a restart needs so as neither to forget nor to tell again."""
        state = {"alerts": np.frombuffer(self._alerts.dump(), np.uint8)}
        for name, monitor in self._monitors.items():
            state |= {f"{name}/{column}": array for column, array in monitor.dump().items()}
        return state

    def load(self, state: Mapping[str, NDArray[Any]], anew: Collection[str] = ()) -> None:
        """Take over what dump() gave; anew: services of which nothing is to be taken over."""
        self._alerts.load(state["alerts"].tobytes(), anew)
        for name, monitor in self._monitors.items():
            mine = {key.removeprefix(f"{name}/"): a for key, a in state.items() if key.startswith(f"{name}/")}
            if mine and name not in anew:
                monitor.load(mine)

    def shift(self, by_s: int) -> None:
        """Move all times, as the clock was set: by whole rating intervals, in seconds."""
        self._alerts.shift(by_s)
        for name, monitor in self._monitors.items():
            monitor.shift(by_s)
            if name in self._regimes:
                self._regimes[name] = monitor.told()
        if self._newest is not None:
            self._newest += by_s // self._interval_s

    def _interval(self, service: ServiceSnapshot, end_s: int) -> Interval:
        judged, users = service.distributions[self._interval_s], service.tally.users[self._interval_s]
        return Interval(judged.pow, judged.pow_square, users.astype(np.float64), end_s)
