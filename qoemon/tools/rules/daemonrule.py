"""A rule on the daemon itself, with series for which it fires and series for which it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil

from qoemon.tools.rules.alertcase import ADDRESS
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Alerting, Case, Check, FiringAlert, number, selector

Growth = tuple[float, float]


@dataclass(frozen=True)
class DaemonRule:
    """A rule on the daemon itself.

    failing, healthy  series for which it fires and does not fire, by selector without job and instance: the first
                      value and the growth per step
    shown             {{ $value }} of the failing series, as the summary shows it
    labels            further labels that the alert has from its series
    """

    alert: str
    severity: str
    for_s: float
    expr: str
    summary: str
    description: str
    failing: Mapping[str, Growth]
    healthy: Mapping[str, Growth]
    shown: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def alerting(self) -> Alerting:
        """The rule as an alerting rule."""
        texts = {"summary": self.summary, "description": self.description}
        return Alerting(self.alert, self.expr, self.for_s, {"severity": self.severity}, texts)

    def cases(self, job: str) -> Iterator[Case]:
        """A test in which the rule fires, and one in which it does not."""
        step = ceil(self.for_s / STEP_S) + 15
        labels = {JOB: job, INSTANCE: ADDRESS, **self.labels}
        summary = self.summary.replace("{{ $labels.instance }}", labels[INSTANCE])
        summary = re.sub(r"\{\{ \$value.*?\}\}", self.shown, summary)
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: labels[label[1]], summary)
        labels = {name: value for name, value in labels.items() if value}
        firing = FiringAlert(
            labels | {"severity": self.severity}, {"summary": summary, "description": self.description}
        )
        yield Case(f"{self.alert} fires", series(self.failing, job, step), (Check(step, self.alert, (firing,)),))
        yield Case(f"{self.alert} does not fire", series(self.healthy, job, step), (Check(step, self.alert, ()),))


def gauge_rule(
    alert: str,
    gauge: str,
    summary: str,
    description: str,
    *,
    severity: str = "critical",
    for_s: float = 60,
    labels: Mapping[str, str] | None = None,
) -> DaemonRule:
    """A rule on a gauge that is 1 while all is in order, and 0 otherwise."""
    series_name = selector(gauge, labels or {})
    return DaemonRule(
        alert=alert,
        severity=severity,
        for_s=for_s,
        expr=f"{gauge} == 0",
        summary=summary,
        description=description,
        failing={series_name: (0, 0)},
        healthy={series_name: (1, 0)},
        labels=labels or {},
    )


def counter_rule(alert: str, counter: str, what: str, description: str, for_s: float = 0) -> DaemonRule:
    """A rule on a counter that should not increase."""
    return DaemonRule(
        alert=alert,
        severity="warning",
        for_s=for_s,
        expr=f"increase({counter}[10m]) > 0",
        summary=f"qoemon at {{{{ $labels.instance }}}} {what}",
        description=description,
        failing={counter: (0, 5)},
        healthy={counter: (5, 0)},
    )


def series(growths: Mapping[str, Growth], job: str, last: int) -> dict[str, str]:
    """The series up to the last step, with the labels that Prometheus adds."""
    scraped = f'job="{job}",instance="{ADDRESS}"'

    def named(name: str) -> str:
        return f"{name[:-1]},{scraped}}}" if name.endswith("}") else f"{name}{{{scraped}}}"

    return {
        named(name): f"{number(begin)}{'-' if rise < 0 else '+'}{number(abs(rise))}x{last}"
        for name, (begin, rise) in growths.items()
    }
