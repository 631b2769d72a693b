"""Rules for service level objectives on estimated ratings: how fast the error budget burns.

The objective is a share of ratings that are good or better, over 30 days; the rest is the error budget. Alerts fire
if it burns too fast both in a long window, for significance, and in a short one, so that they clear soon (Google,
The Site Reliability Workbook, chapter 5). Shares are ratios of sums of qoemon_expected_ratings_total, so they are
exact over groups, time and daemons.

Reading the counters of each group and rating over 30 days is too expensive for Prometheus. So rates are recorded,
and longer windows sum the recorded rates: sums of ratings, never means of shares.

A window begins with the first recorded rate: two minutes after the start, a share "of the last 3 days" is one of
two minutes. So alerts also require ratings and history in the long window (`SloRules.grounds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, log

import numpy as np

from qoemon.common import duration
from qoemon.common.template import ABSENT
from qoemon.core.plan.plan import Plan, Service
from qoemon.tools.rules.rulefile import STEP_S, Alerting, Recording, RuleGroup, selector

OBJECTIVE = 0.9
"""Default objective, a share of good ratings."""

PERIOD_S = 30 * 86400
"""Period of the error budget."""

MAX_BURN_SHARE = 0.8
"""The highest burn rate of an alert, as a share of the highest possible one."""

MIN_RATINGS = 1000
"""Ratings that the long window of an alert must have. The share of 1000 independent ratings has a standard error of
0.016 at most, less than the distance between an objective and the threshold of any burn rate but 1."""

MIN_RECORDED = 0.5
"""Share of the long window in which rates must have been recorded: Prometheus may have been down in between."""

WORST_GROUPS = 3
"""Number of groups that the description of an alert names."""

GOOD, ALL = "qoemon_expected_ratings_good", "qoemon_expected_ratings"

_HOUR_S = 3600
_WINDOWS_S = (300, 1800, _HOUR_S, 2 * _HOUR_S, 6 * _HOUR_S, 24 * _HOUR_S, 72 * _HOUR_S)


@dataclass(frozen=True)
class Burn:
    """An alert on a budget that burns `factor` times as fast as allowed, in both windows."""

    factor: float
    long_s: int
    short_s: int
    severity: str


BURNS = (
    Burn(14.4, _HOUR_S, 300, "critical"),
    Burn(6, 6 * _HOUR_S, 1800, "critical"),
    Burn(3, 24 * _HOUR_S, 2 * _HOUR_S, "warning"),
    Burn(1, 72 * _HOUR_S, 6 * _HOUR_S, "warning"),
)
"""The workbook's table: 2, 5, 10 and 10 % of the budget are spent when an alert fires. Critical pages."""


class ObjectiveError(ValueError):
    """An objective that a service cannot meet or cannot miss; the message says what it can reach."""


@dataclass(frozen=True)
class Slo:
    """The objective of one service: this share of its ratings is good or better."""

    service: Service
    objective: float

    def __post_init__(self) -> None:
        worst, best = self._reach
        if not worst < self.objective < best:
            raise ObjectiveError(
                f"service {self.service.name}: found the objective {self.objective:g}, expected a share of good "
                f"ratings above {worst:.4f} and below {best:.4f}, the worst and the best of "
                f"{self.service.mapping.name}"
            )

    @cached_property
    def burns(self) -> tuple[Burn, ...]:
        """The table for this objective.

        With an objective of .9, a total outage burns the budget 10 times as fast as allowed: 14.4 times is never
        reached. Then the factors are raised to a common exponent, so that a total outage clearly exceeds the
        highest one and 1 stays 1.
        """
        fastest = MAX_BURN_SHARE * (1 - self._reach[0]) / self.budget
        exponent = min(1.0, max(log(fastest), 0) / log(BURNS[0].factor))
        return tuple(Burn(b.factor**exponent, b.long_s, b.short_s, b.severity) for b in BURNS)

    @property
    def worst(self) -> float:
        """The largest possible share of ratings that are not good, rounded down to thousandths."""
        return floor(1000 * (1 - self._reach[0])) / 1000

    @property
    def budget(self) -> float:
        """The share of ratings that may be below good."""
        return 1 - self.objective

    def threshold(self, burn: Burn) -> float:
        """The share of good ratings below which the budget burns this fast, rounded to readable digits."""
        return round(1 - burn.factor * self.budget, 4)

    @cached_property
    def _reach(self) -> tuple[float, float]:
        """The worst and the best possible share of good ratings."""
        ends = self.service.kernel((), self.service.mapping.reach).distribution(np.eye(2, dtype=np.int64))
        return float(ends.gob.min()), float(ends.gob.max())


@dataclass(frozen=True)
class SloRules:
    """The rules of all objectives of a plan.

    objectives  by service; shares are recorded also for services without one
    """

    plan: Plan
    objectives: Mapping[str, float]
    job: str

    @cached_property
    def slos(self) -> tuple[Slo, ...]:
        """The objectives; ObjectiveError if one cannot be met or missed."""
        named = [service for service in self.plan.services if service.name in self.objectives]
        return tuple(Slo(service, self.objectives[service.name]) for service in named)

    @cached_property
    def base_s(self) -> int:
        """The shortest window, seconds, whole minutes: it must contain several closed rating intervals."""
        return max(_WINDOWS_S[0], 60 * ceil(4 * self.plan.timing.interval_s / 60))

    def group(self) -> RuleGroup:
        """The rules as a group of the file."""
        recordings = [*self._rates(), *self._shares()]
        return RuleGroup("qoemon-slo", STEP_S, [*recordings, *self._alerts()])

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Label sets by which ratings are summed, those of a group first."""
        return tuple(dict.fromkeys([("service", *self.plan.labels), ("service",)]))

    @property
    def windows_s(self) -> tuple[int, ...]:
        """Windows of the recorded shares, seconds."""
        return (*dict.fromkeys(max(each, self.base_s) for each in _WINDOWS_S), PERIOD_S)

    @property
    def _step_s(self) -> int:
        return max(_HOUR_S, self.base_s)

    def windows(self, burn: Burn) -> tuple[int, int]:
        """The long and the short window of an alert, seconds, at least base_s."""
        return max(burn.long_s, self.base_s), max(burn.short_s, self.base_s)

    def _rates(self) -> Iterator[Recording]:
        finest, *coarser = self.levels
        counter, by = "qoemon_expected_ratings_total", f"sum by ({', '.join(finest)})"
        per, base = _rate(self.base_s), f"[{duration.text(self.base_s)}]"

        def rate_of(series: str) -> str:
            # Two daemons of a pair count the same ratings.
            return f"{by} (max without (instance) (rate({series}{base})))"

        yield Recording(_name(finest, ALL, per), rate_of(counter), {})
        for service in self.plan.services:
            good = [str(r) for r in service.scale.ratings.tolist() if r >= service.scale.good]
            rated = selector(counter, {"service": service.name, "rating": good})
            # The series have this label anyway; set explicitly, promtool sees that the rules are no duplicates.
            yield Recording(_name(finest, GOOD, per), rate_of(rated), {"service": service.name})
        for level in coarser:
            for metric in (ALL, GOOD):
                summed = f"sum by ({', '.join(level)}) ({_name(finest, metric, per)})"
                yield Recording(_name(level, metric, per), summed, {})
        if self._step_s != self.base_s:
            yield from self._step_rates()

    def _step_rates(self) -> Iterator[Recording]:
        for level in self.levels:
            for metric in (ALL, GOOD):
                mean = f"avg_over_time({_name(level, metric, _rate(self.base_s))}[{duration.text(self._step_s)}])"
                yield Recording(_name(level, metric, _rate(self._step_s)), mean, {})

    def _shares(self) -> Iterator[Recording]:
        for level in self.levels:
            for window_s in self.windows_s:
                good, all_ratings = (self._summed(level, metric, window_s) for metric in (GOOD, ALL))
                yield Recording(share(level, window_s), f"{good}\n/ ({all_ratings} > 0)\n", {})

    def _summed(self, level: Sequence[str], metric: str, window_s: int) -> str:
        """The ratings of a window, up to a constant factor."""
        if window_s == self.base_s:
            return _name(level, metric, _rate(self.base_s))
        if window_s < PERIOD_S:
            return f"sum_over_time({_name(level, metric, _rate(self.base_s))}[{duration.text(window_s)}])"
        # Subquery steps that neither overlap nor leave gaps.
        subquery = f"[{duration.text(window_s)}:{duration.text(self._step_s)}]"
        return f"sum_over_time({_name(level, metric, _rate(self._step_s))}{subquery})"

    def _alerts(self) -> Iterator[Alerting]:
        for slo in self.slos:
            for burn in slo.burns:
                yield self._alert(slo, burn)

    def _alert(self, slo: Slo, burn: Burn) -> Alerting:
        of_service = {"service": slo.service.name}
        shares = [selector(share(("service",), window_s), of_service) for window_s in self.windows(burn)]
        burning = [f"{share} < {slo.threshold(burn):g}" for share in shares]
        expr = "\nand ".join([*burning, *self.grounds(slo, burn)]) + "\n"
        texts = {"summary": self.summary(slo, burn, "{{ $value | humanizePercentage }}")}
        texts["description"] = self.description(burn, self._worst_groups(slo))
        return Alerting(alert_name(burn), expr, 0, {"service": slo.service.name, "severity": burn.severity}, texts)

    def summary(self, slo: Slo, burn: Burn, good: str) -> str:
        """Summary of an alert, given the share of good ratings as text."""
        long_s, _ = self.windows(burn)
        return (
            f"{good} of the ratings of {slo.service.name} in the last {duration.text(long_s)} "
            f"are good or better; the objective is {100 * slo.objective:g}%"
        )

    def grounds(self, slo: Slo, burn: Burn) -> Iterator[str]:
        """Conditions on the long window: enough ratings, rates recorded for half of it, and since before it began.

        They use the recorded rate of the service, which has a sample a minute as long as the daemon is scraped,
        with or without ratings. Resets of counters do not change it, and a new group only adds to it.
        """
        long_s, _ = self.windows(burn)
        rate = selector(_name(("service",), ALL, _rate(self.base_s)), {"service": slo.service.name})
        window = f"[{duration.text(long_s)}]"
        yield f"{STEP_S} * sum_over_time({rate}{window}) >= {MIN_RATINGS}"
        yield f"count_over_time({rate}{window}) >= {ceil(MIN_RECORDED * long_s / STEP_S)}"
        yield f"present_over_time({rate}{window} offset {duration.text(long_s)})"

    def description(self, burn: Burn, groups: str) -> str:
        """Description of an alert: time until the budget is used up, and the groups to look at, as text."""
        spent = duration.text(_HOUR_S * round(PERIOD_S / burn.factor / _HOUR_S))
        text = f"At this rate the 30-day error budget is used up in {spent}."
        if not self.plan.labels:
            return text
        span = duration.text(self._step_s)
        return f"{text} Ratings below good in the last {span} by group, the largest share first: {groups}."

    def _worst_groups(self, slo: Slo) -> str:
        """A Go template that writes the groups with most ratings below good, each with its labels and its share."""
        level, of_service = self.levels[0], {"service": slo.service.name}
        every, good = (selector(_name(level, of, _rate(self._step_s)), of_service) for of in (ALL, GOOD))
        query = f"topk({WORST_GROUPS}, ({every} - {good}) / scalar(sum({every} - {good})) > 0)"
        labels = " ".join(f"{name}={{{{ $group.Labels.{name} }}}}" for name in self.plan.labels)
        return (
            f"{{{{ range $place, $group := query `{query}` }}}}{{{{ if $place }}}}, {{{{ end }}}}"
            f"{labels} {{{{ $group.Value | humanizePercentage }}}}{{{{ else }}}}{ABSENT}{{{{ end }}}}"
        )


def alert_name(burn: Burn) -> str:
    """Name of the alert of a row of the table."""
    return f"QoemonSloBurn{duration.text(burn.long_s)}"


def share(level: Sequence[str], window_s: int) -> str:
    """Name of the recorded share of good ratings."""
    return _name(level, GOOD, f"ratio_{_rate(window_s)}")


def _rate(window_s: int) -> str:
    return f"rate{duration.text(window_s)}"


def _name(level: Sequence[str], metric: str, operation: str) -> str:
    """Name of a recorded series by Prometheus's convention, level:metric:operation."""
    return f"{'_'.join(level)}:{metric}:{operation}"
