"""Tests for promtool of the objectives' rules: each burn rate in both windows, and in one window only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from qoemon.core.plan.plan import Service
from qoemon.tools.rules.alertcase import ADDRESS
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Case, Check, FiringAlert, Value, number, selector
from qoemon.tools.rules.slo import BURNS, Burn, Slo, SloRules, alert_name, share

_USERS = 1000
"""Ratings per step."""


@dataclass(frozen=True)
class _Phase:
    """Some steps with a constant share of ratings that are not good, by service."""

    steps: int
    bad: Mapping[str, float]


def cases(rules: SloRules) -> Iterator[Case]:
    """The tests of all these rules."""
    yield _recorded(rules)
    for row in range(len(BURNS) if rules.slos else 0):
        yield from _BurnTests(rules, row).cases()


def _recorded(rules: SloRules) -> Case:
    """Two groups of a service: one with three times the ratings, all good; of the other, half are good."""
    service, steps = rules.plan.services[0], ceil(3600 / STEP_S) + rules.base_s // STEP_S + 5
    phase = [_Phase(steps, {service.name: 0.0})], [_Phase(steps, {service.name: 0.5})]
    many, few = ({name: f"{which}-{name}" for name in rules.plan.labels} for which in ("some", "another"))
    series = _series(rules, service, many, phase[0], 3 * _USERS)
    expected: dict[tuple[str, ...], float] = {("service",): 1.0}
    if rules.plan.labels:
        series |= _series(rules, service, few, phase[1], _USERS)
        expected = {("service",): 0.875, rules.levels[0]: 0.5}
    labels = {"service": service.name}
    values = [
        Value(steps, selector(share(level, window_s), labels if len(level) == 1 else labels | few), value)
        for level, value in expected.items()
        for window_s in rules.windows_s
    ]
    return Case("shares are of sums of ratings", series, values)


class _BurnTests:
    """The tests of one row of the table, for all services at once."""

    def __init__(self, rules: SloRules, row: int) -> None:
        self._rules = rules
        self._burns = [(slo, slo.burns[row]) for slo in rules.slos]
        self._long, self._short = (length_s // STEP_S for length_s in rules.windows(BURNS[row]))
        self._alert = alert_name(BURNS[row])
        self._settle_steps = rules.base_s // STEP_S + 1
        """Steps until a change covers the whole base window."""

    def cases(self) -> Iterator[Case]:
        """Too slow to fire; firing and then cleared; begun too recently to fire."""
        steps = self._settle_steps + 5
        yield self._case("burning too slowly", [_Phase(steps, self._bad(0.9))], {steps: False})
        good, bad = self._bad(0), self._bad(1.25)
        worst = {slo.service.name: slo.worst for slo, _ in self._burns}
        short_steps = self._short + self._settle_steps
        shares = [(self._bad_share(slo, burn), slo.worst) for slo, burn in self._burns]
        ratio = max(enough / (most - enough) for enough, most in shares)
        long_enough = ceil(1.2 * short_steps * ratio) + self._settle_steps
        phases = [_Phase(long_enough, worst), _Phase(short_steps, good)]
        yield self._case("burning, then no longer", phases, {long_enough: True, long_enough + short_steps: False})
        if short_steps < 0.75 * self._long:  # Otherwise the windows hardly differ.
            before = ceil(0.5 * short_steps)
            phases = [_Phase(before, good), _Phase(short_steps, bad)]
            yield self._case("begun too recently", phases, {before + short_steps: False})

    def _bad_share(self, slo: Slo, burn: Burn) -> float:
        """The share of ratings that are not good at the threshold."""
        return 1 - slo.threshold(burn)

    def _bad(self, times: float) -> dict[str, float]:
        """By service, `times` the share at the threshold, but at most the largest possible one."""
        return {
            slo.service.name: round(min(times * self._bad_share(slo, burn), slo.worst), 3)
            for slo, burn in self._burns
        }

    def _case(self, name: str, phases: Sequence[_Phase], fires: Mapping[int, bool]) -> Case:
        labels = {name: f"some-{name}" for name in self._rules.plan.labels}
        series: dict[str, str] = {}
        for slo, _ in self._burns:
            series |= _series(self._rules, slo.service, labels, phases, _USERS)
        firing_alerts = [
            self._firing_alert(slo, burn, phases[0].bad[slo.service.name]) for slo, burn in self._burns
        ]
        checks = [Check(step, self._alert, firing_alerts if firing else ()) for step, firing in fires.items()]
        return Case(f"{self._alert}, {name}", series, checks)

    def _firing_alert(self, slo: Slo, burn: Burn, bad: float) -> FiringAlert:
        texts = {"summary": self._rules.summary(slo, burn, f"{100 * (1 - bad):.4g}%")}
        texts["description"] = self._rules.description(burn)
        return FiringAlert({"service": slo.service.name, "severity": burn.severity}, texts)


def _series(
    rules: SloRules, service: Service, group: Mapping[str, str], phases: Sequence[_Phase], users: float
) -> dict[str, str]:
    """Counters of the best and the worst rating, for a group with `users` ratings per step."""
    labels = {JOB: rules.job, INSTANCE: ADDRESS, "service": service.name, **group}
    rise = {
        service.scale.high: [(phase.steps, users * (1 - phase.bad[service.name])) for phase in phases],
        service.scale.low: [(phase.steps, users * phase.bad[service.name]) for phase in phases],
    }
    return {
        selector("qoemon_expected_ratings_total", {**labels, "rating": str(rating)}): _counter(rises)
        for rating, rises in rise.items()
    }


def _counter(rises: Sequence[tuple[int, float]]) -> str:
    """A counter from zero, given (steps, rise per step) in sequence."""
    parts, value = ["0"], 0.0
    for steps, rise in rises:
        parts.append(f"{number(round(value + rise, 6))}+{number(round(rise, 6))}x{steps - 1}")
        value += steps * rise
    return " ".join(parts)
