"""A rule on the daemon itself, with the series that show when it fires and when it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil

from qoemon.tools.rules.alertcase import ADDRESS
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Alerting, Case, Check, Told, number

Growth = tuple[float, float]


@dataclass(frozen=True)
class Detector:
    """A rule, and series with which it fires and with which it does not.

    bad, well  series by selector, without job and instance: the first value, and by how much it grows a step
    shown      what {{ $value }} is with the bad series, as the summary shows it
    labels     further labels that the alert has from its series
    """

    alert: str
    severity: str
    for_s: float
    expr: str
    summary: str
    description: str
    bad: Mapping[str, Growth]
    well: Mapping[str, Growth]
    shown: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def alerting(self) -> Alerting:
        """The rule."""
        texts = {"summary": self.summary, "description": self.description}
        return Alerting(self.alert, self.expr, self.for_s, {"severity": self.severity}, texts)

    def cases(self, job: str) -> Iterator[Case]:
        """One test in which it fires, one in which it does not."""
        step = ceil(self.for_s / STEP_S) + 15
        labels = {JOB: job, INSTANCE: ADDRESS, **self.labels}
        summary = self.summary.replace("{{ $labels.instance }}", labels[INSTANCE])
        summary = re.sub(r"\{\{ \$value.*?\}\}", self.shown, summary)
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: labels[label[1]], summary)
        labels = {name: value for name, value in labels.items() if value}
        told = Told(labels | {"severity": self.severity}, {"summary": summary, "description": self.description})
        yield Case(f"{self.alert} fires", series(self.bad, job, step), (Check(step, self.alert, (told,)),))
        yield Case(f"{self.alert} does not fire", series(self.well, job, step), (Check(step, self.alert, ()),))


def rising(alert: str, counter: str, what: str, description: str, for_s: float = 0) -> Detector:
    """A rule on a counter that should stand still."""
    return Detector(
        alert=alert,
        severity="warning",
        for_s=for_s,
        expr=f"increase({counter}[10m]) > 0",
        summary=f"qoemon at {{{{ $labels.instance }}}} {what}",
        description=description,
        bad={counter: (0, 5)},
        well={counter: (5, 0)},
    )


def series(growths: Mapping[str, Growth], job: str, last: int) -> dict[str, str]:
    """The series up to the last step, with the labels that Prometheus gives them."""
    scraped = f'job="{job}",instance="{ADDRESS}"'

    def named(name: str) -> str:
        return f"{name[:-1]},{scraped}}}" if name.endswith("}") else f"{name}{{{scraped}}}"

    return {named(name): f"{number(begin)}+{number(rise)}x{last}" for name, (begin, rise) in growths.items()}
