"""Tests for promtool of the objectives' rules: each burn rate in both windows, and in one window only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from qoemon.core.plan.plan import Service
from qoemon.tools.rules.alertcase import ADDRESS
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Case, Check, FiringAlert, Value, number, selector
from qoemon.tools.rules.slo import BURNS, MIN_RATINGS, Burn, Slo, SloRules, alert_name, share

_USERS = 1000
"""Ratings per step."""

_THOROUGH_S = 6 * 3600
"""Longest window that has all tests: promtool evaluates each minute of it, which takes a minute for 3 days."""


@dataclass(frozen=True)
class _Phase:
    """Some steps with a constant share of ratings that are not good, by service; {}: nothing is scraped."""

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
    """The tests of one row of the table, for all services at once; of a long window only one, for one service."""

    def __init__(self, rules: SloRules, row: int) -> None:
        self._rules = rules
        self._long, self._short = (length_s // STEP_S for length_s in rules.windows(BURNS[row]))
        self._thorough = self._long * STEP_S <= _THOROUGH_S
        self._burns = [(slo, slo.burns[row]) for slo in (rules.slos if self._thorough else rules.slos[:1])]
        self._alert = alert_name(BURNS[row])
        self._settle_steps = rules.base_s // STEP_S + 1
        """Steps until a change covers the whole base window."""

    def cases(self) -> Iterator[Case]:
        """Too little history, then firing, then cleared; and all reasons not to fire."""
        worst = {slo.service.name: slo.worst for slo, _ in self._burns}
        good, slow, bad = (self._bad(times) for times in (0, 0.9, 1.25))
        enough, recent = self._long + self._settle_steps, self._short + self._settle_steps
        phases = [_Phase(enough, worst), _Phase(recent, good)]
        checks = {self._long - 1: False, enough: True, enough + recent: False}
        yield self._case("without history, with it, and burning no longer", phases, checks)
        if not self._thorough:
            return
        few = 0.9 * MIN_RATINGS / self._long
        yield self._case("too few ratings", [_Phase(enough, worst)], {enough: False}, users=few)
        if 10 * self._settle_steps <= self._long:  # A longer base window bridges most of the gap.
            phases = [_Phase(enough, worst), _Phase(7 * self._long // 10, {}), _Phase(self._long // 5, worst)]
            yield self._case(
                "not recorded for most of the time", phases, {sum(each.steps for each in phases): False}
            )
        yield self._case("burning too slowly", [_Phase(enough, slow)], {enough: False})
        if 1.25 * recent < 0.9 * self._long:  # Otherwise the windows hardly differ.
            phases = [_Phase(enough, good), _Phase(recent, bad)]
            yield self._case("begun too recently", phases, {enough + recent: False})

    def _bad(self, times: float) -> dict[str, float]:
        """By service, `times` the share at the threshold, but at most the largest possible one."""
        return {
            slo.service.name: round(min(times * (1 - slo.threshold(burn)), slo.worst), 3)
            for slo, burn in self._burns
        }

    def _case(self, name: str, phases: Sequence[_Phase], fires: Mapping[int, bool], users: float = _USERS) -> Case:
        labels = {name: f"some-{name}" for name in self._rules.plan.labels}
        series: dict[str, str] = {}
        for slo, _ in self._burns:
            series |= _series(self._rules, slo.service, labels, phases, users)
        alerts = [self._firing_alert(slo, burn, phases[0]) for slo, burn in self._burns]
        checks = [Check(step, self._alert, alerts if firing else ()) for step, firing in fires.items()]
        return Case(f"{self._alert}, {name}", series, checks)

    def _firing_alert(self, slo: Slo, burn: Burn, phase: _Phase) -> FiringAlert:
        bad = phase.bad[slo.service.name]
        texts = {"summary": self._rules.summary(slo, burn, f"{100 * (1 - bad):.4g}%")}
        groups = " ".join(f"{name}=some-{name}" for name in self._rules.plan.labels)
        texts["description"] = self._rules.description(burn, f"{groups} 100%")
        return FiringAlert({"service": slo.service.name, "severity": burn.severity}, texts)


def _series(
    rules: SloRules, service: Service, group: Mapping[str, str], phases: Sequence[_Phase], users: float
) -> dict[str, str]:
    """Counters of the best and the worst rating, for a group with `users` ratings per step."""
    labels = {JOB: rules.job, INSTANCE: ADDRESS, "service": service.name, **group}
    parts: dict[int, list[str]] = {service.scale.high: ["0"], service.scale.low: ["0"]}
    values = dict.fromkeys(parts, 0.0)
    for phase in phases:
        if not phase.bad:
            parts = {rating: [*written, f"_x{phase.steps}"] for rating, written in parts.items()}
            continue
        bad = phase.bad[service.name]
        for rating, share_of in ((service.scale.high, 1 - bad), (service.scale.low, bad)):
            rise, value = users * share_of, values[rating]
            parts[rating].append(f"{number(round(value + rise, 6))}+{number(round(rise, 6))}x{phase.steps - 1}")
            values[rating] += phase.steps * rise
    return {
        selector("qoemon_expected_ratings_total", {**labels, "rating": str(rating)}): " ".join(written)
        for rating, written in parts.items()
    }
