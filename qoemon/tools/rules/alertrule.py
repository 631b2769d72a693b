"""Translates a rule of the configuration to Prometheus, equal in meaning to decide() of core.alerting.rule.

decide() keeps its last decision; the only memory of PromQL is ALERTS, the series that Prometheus writes for its own
alerts. So an expression has two halves:

    condition to fire, or (not the condition to clear, and ALERTS is firing)

An alert that fires continues as long as its group is known and has not recovered; missing data do not clear it. A
group is known while it has counters: they end when it is removed after limits.group_idle. If the daemon cannot be
scraped, its last known groups are used for an hour, and for the first two minutes after its restart. Both halves
must have the same labels, or one alert would end and another begin: so labels that only some metrics have (window,
bound, theta, quantile) are aggregated away.
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

HOLD = "1h"
"""Time that an alert continues to fire while the daemon cannot be scraped."""

EXPECTED = "qoemon_expected_ratings_total"

WARM_S = 120
"""Time after its start within which a daemon may not yet know all its groups."""

_RATIOS = (AlertMetric.GOB, AlertMetric.POW)
_METRICS = {
    AlertMetric.MOS: "qoemon_mos",
    AlertMetric.GOB: "qoemon_gob_ratio",
    AlertMetric.POW: "qoemon_pow_ratio",
    AlertMetric.QUANTILE: "qoemon_rating_quantile",
}
_OF_PRESENCE = {AlertMetric.ABSENT: "silence_seconds", AlertMetric.DROP: "session_drop_ratio"}


class AnnotationError(ValueError):
    """An annotation without a counterpart in Prometheus's templates; the message names it and the alternatives."""


@dataclass(frozen=True)
class PromRule:
    """A rule of the configuration, with what its translation to PromQL needs.

    names  label names of a group; none for a rule on the whole service
    band   theta_band of the service
    job    job label under which Prometheus scrapes the daemon
    """

    rule: Rule
    names: Sequence[str]
    band: Sequence[float]
    job: str

    @classmethod
    def of(cls, rule: Rule, plan: Plan, job: str) -> PromRule:
        """A rule of a plan."""
        bands = {service.name: service.theta_band for service in plan.services}
        return cls(rule, () if rule.whole else plan.labels, bands[rule.service], job)

    def alerting(self) -> Alerting:
        """The rule as an alerting rule of Prometheus."""
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
        """Metric of the rule's value; OPEN_STALLS has none."""
        if self.rule.what.of_presence:
            return f"{self.prefix}_{_OF_PRESENCE[self.rule.what]}"
        return _METRICS[self.rule.what]

    @property
    def prefix(self) -> str:
        """Prefix of the metrics on missing sessions."""
        return "qoemon_service" if self.rule.whole else "qoemon"

    @property
    def known(self) -> tuple[str, str]:
        """Metric that exists as long as the group is known, and its further label."""
        return (f"{self.prefix}_usual_sessions", "") if self.rule.whole else (EXPECTED, "rating")

    @property
    def bound(self) -> str | None:
        """Metric of the confidence bounds; None if the rule does not use them."""
        exported = self.rule.what in {AlertMetric.MOS, *_RATIOS, AlertMetric.DROP}
        return f"{self.metric}_bound" if exported and self.rule.confident else None

    @property
    def by_theta(self) -> str | None:
        """Metric of the value by theta; None if the rule does not use it."""
        used = self.rule.all_thetas and self.band and self.rule.what in _RATIOS
        return f"{self.metric}_theta" if used else None

    @property
    def confident_value(self) -> str:
        """The end of the confidence interval that is nearest to good."""
        return "lower" if self.rule.what.high_is_bad else "upper"

    @cached_property
    def expr(self) -> str:
        """The PromQL expression."""
        rule = self.rule
        enter = number(rule.enter)
        worse, better = (">", "<") if rule.what.high_is_bad else ("<", ">")
        nearest = "min" if rule.what.high_is_bad else "max"
        fires = [f"{self._figure} {worse}= {enter}"]
        if self.bound:
            bound = self._per_group(self.bound, bound=self.confident_value)
            fires.append(f"{bound} {worse}= {number(rule.certain_at)}")
        if self.by_theta:
            fires.append(f"{nearest} without (window, theta) ({self._selector(self.by_theta)}) {worse}= {enter}")
        # A value at `leave` clears the alert, but if both thresholds are equal, a value at them fires.
        clears = [f"{self._figure} {better}{'' if rule.leave == rule.enter else '='} {number(rule.leave)}"]
        if rule.min_sessions:
            enough = f"{self._users} >= {rule.min_sessions}"
            fires, clears = [*fires, enough], [*clears, enough]
        firing = selector("ALERTS", {"alertname": rule.name, "alertstate": "firing", "service": rule.service})
        known, further = self.known
        exists = selector(known, self._group)
        return _LAYOUT.format(
            fires="\n  and ".join(fires),
            clears="\n    and ".join(clears),
            figure=self._figure,
            known=f"max without ({further}) ({exists})",
            known_before=f"max without ({further}) (last_over_time({exists}[{HOLD}]))",
            start=selector("process_start_time_seconds", {JOB: self.job}),
            warm_s=WARM_S,
            by=", ".join((JOB, INSTANCE, "service", *self.names)),
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
            return self._per_group(self.metric, quantile=f"{self.rule.quantile:g}")
        return self._per_group(self.metric)

    @property
    def _users(self) -> str:
        if self.rule.what is AlertMetric.OPEN_STALLS:
            return selector("qoemon_active_sessions", self._group)
        if self.rule.what.of_presence:
            return selector(f"{self.prefix}_usual_sessions", self._group)
        return self._per_group("qoemon_window_users")

    def _selector(self, metric: str, **more: str) -> str:
        window = {} if self.rule.what.of_presence else {"window": duration.text(self.rule.window_s)}
        return selector(metric, {**self._group, **window, **more})

    def _per_group(self, metric: str, **more: str) -> str:
        """A metric with only the labels of its group."""
        return f"max without ({', '.join(('window', *more))}) ({self._selector(metric, **more)})"

    def _template(self, name: str, text: str) -> str:
        """An annotation as a Go template, which queries each value when it is rendered."""
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
            names = ", ".join(("service", *self.names, *known, *figures))
            raise AnnotationError(
                f"alert {self.rule.name}: annotation {annotation}: found {{{field}}}, expected one of {names}"
            )
        factor, verb = self._format(annotation, field, spec)
        return _query_template(factor + figures[field], ("service", *self.names), verb)

    def figures(self) -> dict[str, str]:
        """Queries of the values that annotations may name; %s is the place of the group's matchers."""
        what = self.rule.what
        if what.of_presence:
            return {"value": f"{self.metric}{{%s}}", "users": f"{self.prefix}_usual_sessions{{%s}}"}
        window = f'window="{duration.text(self.rule.window_s)}"'
        figures = {str(each): f"{_METRICS[each]}{{{window},%s}}" for each in (AlertMetric.MOS, *_RATIOS)}
        users = f"qoemon_window_users{{{window},%s}}"
        if what is AlertMetric.OPEN_STALLS:
            figures[what] = "qoemon_open_stalls{%s} / (qoemon_active_sessions{%s} > 0)"
            users = "qoemon_active_sessions{%s}"
        if what is AlertMetric.QUANTILE:
            figures[what] = f'qoemon_rating_quantile{{{window},quantile="{self.rule.quantile:g}",%s}}'
        figures |= {"value": figures[what], "users": users}
        if what in {AlertMetric.MOS, *_RATIOS}:
            clears = ("lower", "upper")
            figures |= {end: f'{self.metric}_bound{{{window},bound="{end}",%s}}' for end in clears}
        return figures

    def _format(self, annotation: str, field: str, spec: str) -> tuple[str, str]:
        """Factor of a value, and the verb of Go, for a format of Python."""
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
    """Values that annotations may name and that are the same for all groups."""
    return {
        "alert": rule.name,
        "severity": rule.severity,
        "window": duration.text(rule.window_s),
        "threshold": rule.enter,
    }


_LAYOUT = """\
(
  # condition to fire
  {fires}
)
or
(
  # firing, and not cleared
  (
    {figure}
    or
    NaN * (
      {known}
      or (
        {known_before}
        unless on (job, instance) (time() - {start} > {warm_s})
      )
    )
  )
  unless (
    {clears}
  )
  and on ({by}) {firing}
)
"""


def _query_template(query: str, labels: Sequence[str], verb: str) -> str:
    """A Go template that queries a value for the group of the alert, and prints it."""
    names = (JOB, INSTANCE, *labels)
    times = query.count("%s")
    matchers = ",".join(f"{name}=%q" for name in names)
    values = " ".join(f"$labels.{name}" for name in names)
    printf = f"printf `{query.replace('%s', matchers)}` {' '.join([values] * times)}"
    value = f"{{{{ . | first | value | printf {quoted(verb)} }}}}"
    return f"{{{{ with {printf} | query }}}}{value}{{{{ else }}}}{ABSENT}{{{{ end }}}}"
