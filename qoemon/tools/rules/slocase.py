"""Tests for promtool of the objectives' rules: each burn rate seen in both windows, and in one of them only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from qoemon.core.plan.plan import Service
from qoemon.tools.rules.alertcase import ADDRESS
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Case, Check, Told, Value, number, selector
from qoemon.tools.rules.slo import BURNS, Burn, Slo, SloRules, alert_name, share

_USERS = 1000
"""Ratings a step."""


@dataclass(frozen=True)
class _Phase:
    """For so many steps, each service has its share of ratings that are not good."""

    steps: int
    bad: Mapping[str, float]


def cases(rules: SloRules) -> Iterator[Case]:
    """All of them."""
    yield _recorded(rules)
    for row in range(len(BURNS) if rules.slos else 0):
        yield from _Row(rules, row).cases()


def _recorded(rules: SloRules) -> Case:
    """Two groups of one service: one with three times the ratings, all good; of the other's, half are."""
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


class _Row:
    """The tests of one row of the table, for all services at once."""

    def __init__(self, rules: SloRules, row: int) -> None:
        self._rules = rules
        self._burns = [(slo, slo.burns[row]) for slo in rules.slos]
        self._long, self._short = (length_s // STEP_S for length_s in rules.windows(BURNS[row]))
        self._alert = alert_name(BURNS[row])
        self._settled = rules.base_s // STEP_S + 1
        """Steps until a change has come to the base window whole."""

    def cases(self) -> Iterator[Case]:
        """Burning and then no longer, not as fast, and only just begun."""
        steps = self._settled + 5
        yield self._case("not burning as fast", [_Phase(steps, self._bad(0.9))], {steps: False})
        good, bad = self._bad(0), self._bad(1.25)
        worst = {slo.service.name: slo.worst for slo, _ in self._burns}
        passed = self._short + self._settled
        past = [(self._past(slo, burn), slo.worst) for slo, burn in self._burns]
        ratio = max(enough / (most - enough) for enough, most in past)
        long_enough = ceil(1.2 * passed * ratio) + self._settled
        story = [_Phase(long_enough, worst), _Phase(passed, good)]
        yield self._case("burning, then no longer", story, {long_enough: True, long_enough + passed: False})
        if passed < 0.75 * self._long:  # Else the windows hardly differ.
            before = ceil(0.5 * passed)
            story = [_Phase(before, good), _Phase(passed, bad)]
            yield self._case("only just begun", story, {before + passed: False})

    def _past(self, slo: Slo, burn: Burn) -> float:
        """The share of ratings that are not good past which it burns as fast."""
        return 1 - slo.least(burn)

    def _bad(self, times: float) -> dict[str, float]:
        """So many times what it takes, but no more than there can be."""
        return {
            slo.service.name: round(min(times * self._past(slo, burn), slo.worst), 3) for slo, burn in self._burns
        }

    def _case(self, name: str, story: Sequence[_Phase], fires: Mapping[int, bool]) -> Case:
        labels = {name: f"some-{name}" for name in self._rules.plan.labels}
        series: dict[str, str] = {}
        for slo, _ in self._burns:
            series |= _series(self._rules, slo.service, labels, story, _USERS)
        told = [self._told(slo, burn, story[0].bad[slo.service.name]) for slo, burn in self._burns]
        checks = [Check(step, self._alert, told if firing else ()) for step, firing in fires.items()]
        return Case(f"{self._alert}, {name}", series, checks)

    def _told(self, slo: Slo, burn: Burn, bad: float) -> Told:
        texts = {"summary": self._rules.summary(slo, burn, f"{100 * (1 - bad):.4g}%")}
        texts["description"] = self._rules.description(burn)
        return Told({"service": slo.service.name, "severity": burn.severity}, texts)


def _series(
    rules: SloRules, service: Service, group: Mapping[str, str], story: Sequence[_Phase], users: float
) -> dict[str, str]:
    """The counters of the best and the worst rating, for a group with so many ratings a step."""
    labels = {JOB: rules.job, INSTANCE: ADDRESS, "service": service.name, **group}
    rise = {
        service.scale.high: [(phase.steps, users * (1 - phase.bad[service.name])) for phase in story],
        service.scale.low: [(phase.steps, users * phase.bad[service.name]) for phase in story],
    }
    return {
        selector("qoemon_expected_ratings_total", {**labels, "rating": str(rating)}): _counter(rises)
        for rating, rises in rise.items()
    }


def _counter(rises: Sequence[tuple[int, float]]) -> str:
    """A counter from zero that rises for some steps by so much a step, then by another amount."""
    parts, value = ["0"], 0.0
    for steps, rise in rises:
        parts.append(f"{number(round(value + rise, 6))}+{number(round(rise, 6))}x{steps - 1}")
        value += steps * rise
    return " ".join(parts)
