"""A rule of the configuration as one of Prometheus, equal in meaning to core.alert.decide.

decide() remembers what it decided; PromQL has no memory but ALERTS, the series that Prometheus writes for its own
alerts. So an expression has two halves:

    what begins an alert, or (what has not ended it, and it fires)

An alert has not ended as long as its group is there and has not recovered: what tells nothing ends nothing. If the
daemon tells nothing at all, the groups of which it told last stand in for an hour, and for the first two minutes
after it came back. Both halves must have the same labels, or the alert would end and another begin: so what only
some metrics have (window, bound, theta, quantile) is aggregated away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from qoemon.common import duration
from qoemon.common.template import ABSENT
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Plan
from qoemon.tools.rules.rulefile import INSTANCE, JOB, Alerting, literal, number, quoted, selector

MUTE = "1h"
"""How long an alert outlives a daemon of which nothing is heard."""

WARM_S = 120
"""How long after its start a daemon may not have heard of a group that is there."""

_RATIOS = (AlertMetric.GOB, AlertMetric.POW)
_METRICS = {
    AlertMetric.MOS: "qoemon_mos",
    AlertMetric.GOB: "qoemon_gob_ratio",
    AlertMetric.POW: "qoemon_pow_ratio",
    AlertMetric.QUANTILE: "qoemon_rating_quantile",
}


class AnnotationError(ValueError):
    """An annotation that Prometheus's templates have no counterpart for; says which, and what there is."""


@dataclass(frozen=True)
class PromRule:
    """One rule, with what it takes to say it in PromQL.

    names  the labels of a group
    band   the thetas of the service
    job    under which Prometheus scrapes the daemon
    """

    rule: Rule
    names: Sequence[str]
    band: Sequence[float]
    job: str

    @classmethod
    def of(cls, rule: Rule, plan: Plan, job: str) -> PromRule:
        """A rule of a plan."""
        bands = {service.name: service.theta_band for service in plan.services}
        return cls(rule, plan.labels, bands[rule.service], job)

    def alerting(self) -> Alerting:
        """The whole rule."""
        rule = self.rule
        # Rules of one name for several services differ in this label, which the series have anyway.
        labels = {"service": rule.service, "severity": rule.severity, **(rule.labels or {})}
        return Alerting(
            alert=rule.name,
            expr=self.expr,
            for_s=rule.for_s,
            labels={name: literal(value) for name, value in labels.items()},
            annotations={name: self._template(name, text) for name, text in (rule.annotations or {}).items()},
        )

    @property
    def metric(self) -> str:
        """The metric of the figure, if it has one of its own."""
        return _METRICS[self.rule.what]

    @property
    def bound(self) -> str | None:
        """The metric of the figure's confidence interval; None where there is none to ask for."""
        exported = self.rule.what in {AlertMetric.MOS, *_RATIOS}
        return f"{self.metric}_bound" if exported and self.rule.confident else None

    @property
    def by_theta(self) -> str | None:
        """The metric of the figure by theta; None where all thetas agree anyway."""
        asked = self.rule.all_thetas and self.band and self.rule.what in _RATIOS
        return f"{self.metric}_theta" if asked else None

    @property
    def confident_value(self) -> str:
        """The end of the confidence interval that is nearest to good."""
        return "lower" if self.rule.what.high_is_bad else "upper"

    @cached_property
    def expr(self) -> str:
        """What Prometheus evaluates."""
        rule = self.rule
        enter = number(rule.enter)
        worse, better = (">", "<") if rule.what.high_is_bad else ("<", ">")
        nearest = "min" if rule.what.high_is_bad else "max"
        begins = [f"{self._figure} {worse}= {enter}"]
        if self.bound:
            begins.append(f"{self._one(self.bound, bound=self.confident_value)} {worse}= {enter}")
        if self.by_theta:
            begins.append(f"{nearest} without (window, theta) ({self._of(self.by_theta)}) {worse}= {enter}")
        # On the threshold to leave counts as left, but on the one to enter as entered.
        ends = [f"{self._figure} {better}{'' if rule.leave == rule.enter else '='} {number(rule.leave)}"]
        if rule.min_sessions:
            enough = f"{self._users} >= {rule.min_sessions}"
            begins, ends = [*begins, enough], [*ends, enough]
        firing = selector("ALERTS", {"alertname": rule.name, "alertstate": "firing", "service": rule.service})
        return _LAYOUT.format(
            begins="\n  and ".join(begins),
            ends="\n    and ".join(ends),
            figure=self._figure,
            there=selector("qoemon_active_sessions", self._group),
            start=selector("process_start_time_seconds", {JOB: self.job}),
            mute=MUTE,
            warm_s=WARM_S,
            who=", ".join((JOB, INSTANCE, "service", *self.names)),
            firing=firing,
        )

    @property
    def _group(self) -> dict[str, str | Sequence[str]]:
        return {"service": self.rule.service, **self.rule.groups}

    @property
    def _figure(self) -> str:
        what = self.rule.what
        if what is AlertMetric.OPEN_STALLS:
            stalls, active = (
                selector(f"qoemon_{name}", self._group) for name in ("open_stalls", "active_sessions")
            )
            return f"{stalls} / ({active} > 0)"
        if what is AlertMetric.QUANTILE:
            return self._one(self.metric, quantile=f"{self.rule.quantile:g}")
        return self._one(self.metric)

    @property
    def _users(self) -> str:
        if self.rule.what is AlertMetric.OPEN_STALLS:
            return selector("qoemon_active_sessions", self._group)
        return self._one("qoemon_window_users")

    def _of(self, metric: str, **more: str) -> str:
        return selector(metric, {**self._group, "window": duration.text(self.rule.window_s), **more})

    def _one(self, metric: str, **more: str) -> str:
        """A metric with the labels of its group only."""
        return f"max without ({', '.join(('window', *more))}) ({self._of(metric, **more)})"

    def _template(self, name: str, text: str) -> str:
        """An annotation as a Go template: each figure is asked for when the text is made."""
        return "".join(
            literal(before) + ("" if field is None else self._field(name, field, spec or ""))
            for before, field, spec, _ in Formatter().parse(text)
        )

    def _field(self, annotation: str, field: str, spec: str) -> str:
        known = constants(self.rule)
        if field in {"service", *self.names}:
            return f"{{{{ $labels.{field} }}}}"
        if field in known:
            value = known[field]
            return literal(value if isinstance(value, str) else format(value, spec))
        figures = self.figures()
        if field not in figures:
            there = ", ".join(("service", *self.names, *known, *figures))
            raise AnnotationError(
                f"alert {self.rule.name}: annotation {annotation}: found {{{field}}}, expected one of {there}"
            )
        factor, verb = self._format(annotation, field, spec)
        return _asked(factor + figures[field], ("service", *self.names), verb)

    def figures(self) -> dict[str, str]:
        """The figures that annotations may name: a metric, or a ratio of two, each with its further matchers."""
        window = f'window="{duration.text(self.rule.window_s)}"'
        what = self.rule.what
        figures = {str(each): f"{_METRICS[each]}{{{window},%s}}" for each in (AlertMetric.MOS, *_RATIOS)}
        users = f"qoemon_window_users{{{window},%s}}"
        if what is AlertMetric.OPEN_STALLS:
            figures[what] = "qoemon_open_stalls{%s} / (qoemon_active_sessions{%s} > 0)"
            users = "qoemon_active_sessions{%s}"
        if what is AlertMetric.QUANTILE:
            figures[what] = f'qoemon_rating_quantile{{{window},quantile="{self.rule.quantile:g}",%s}}'
        figures |= {"value": figures[what], "users": users}
        if what in {AlertMetric.MOS, *_RATIOS}:
            ends = ("lower", "upper")
            figures |= {end: f'{self.metric}_bound{{{window},bound="{end}",%s}}' for end in ends}
        return figures

    def _format(self, annotation: str, field: str, spec: str) -> tuple[str, str]:
        """What a figure is multiplied with, and Go's verb for a format of Python's."""
        digits, kind = spec[:-1], spec[-1:]
        plain = digits == "" or (digits[0] == "." and digits[1:].isdecimal())
        if not plain or kind not in {"", "d", "f", "g", "e", "%"} or (kind == "d" and digits):
            raise AnnotationError(
                f"alert {self.rule.name}: annotation {annotation}: found {{{field}:{spec}}}, "
                "expected a format such as .1%, .2f, .3g or d: Prometheus has no counterpart for others"
            )
        if kind == "%":
            return "100 * ", f"%{digits}f%%"
        verbs = {"": "%g", "d": "%.0f"}
        return "", verbs.get(kind, f"%{digits}{kind}")


def constants(rule: Rule) -> Mapping[str, float | str]:
    """What annotations may name that is the same for all groups."""
    return {
        "alert": rule.name,
        "severity": rule.severity,
        "window": duration.text(rule.window_s),
        "threshold": rule.enter,
    }


_LAYOUT = """\
(
  # begins
  {begins}
)
or
(
  # fires, and has not ended
  (
    {figure}
    or
    NaN * (
      {there}
      or (
        last_over_time({there}[{mute}])
        unless on (job, instance) (time() - {start} > {warm_s})
      )
    )
  )
  unless (
    {ends}
  )
  and on ({who}) {firing}
)
"""


def _asked(query: str, labels: Sequence[str], verb: str) -> str:
    """A Go template that makes a query for the group of the alert, and prints its value."""
    names = (JOB, INSTANCE, *labels)
    times = query.count("%s")
    matchers = ",".join(f"{name}=%q" for name in names)
    values = " ".join(f"$labels.{name}" for name in names)
    made = f"printf `{query.replace('%s', matchers)}` {' '.join([values] * times)}"
    value = f"{{{{ . | first | value | printf {quoted(verb)} }}}}"
    return f"{{{{ with {made} | query }}}}{value}{{{{ else }}}}{ABSENT}{{{{ end }}}}"
