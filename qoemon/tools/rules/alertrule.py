"""Translates a rule of the configuration to Prometheus, equal in meaning to decide() of core.alerting.rule.

decide() keeps its last decision; the only memory of PromQL is ALERTS, the series that Prometheus writes for its own
alerts. So an expression has two halves:

    condition to fire, or (not the condition to clear, and ALERTS is firing)

An alert that fires continues as long as its group is known and has not recovered; missing data do not clear it. A
group is known while it has counters, and a sum while it has a number of active sessions: both end when groups are
removed after limits.group_idle. If the daemon cannot be scraped, its last known groups are used for an hour, and
for the first two minutes after its restart. Both halves must have the same labels, or one alert would end and
another begin: so labels that only some metrics have (window, bound, theta, quantile) are aggregated away.

A rule with `by` reads the sums that the daemon exports for it: their bounds do not follow from what single groups
export.

A rule on the model reads its state: the metric does not tell when an alert may begin again, which is on the day
after it ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from qoemon.common import duration
from qoemon.common.template import ABSENT
from qoemon.core.alerting.figures import TEXTS_OF_MODEL
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.feedback.check import ModelState
from qoemon.core.plan.plan import Plan
from qoemon.outputs.metrics.roll_ups import PREFIX
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
    AlertMetric.QUANTILE: "qoemon_opinion_quantile",
}
MODEL_STATE = "qoemon_model_state"
OFF_SINCE = "qoemon_model_off_since_timestamp_seconds"
OF_MODEL: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "users": ("qoemon_model_off_ratings", {}),
    "days": ("qoemon_model_off_days", {}),
    "bias": ("qoemon_model_off_bias", {}),
    "lower": ("qoemon_model_off_bias_bound", {"bound": "lower"}),
    "upper": ("qoemon_model_off_bias_bound", {"bound": "upper"}),
    "spread": ("qoemon_model_off_spread_ratio", {}),
}
"""Figures of a rule on the model: metric and labels of each."""
_OF_PRESENCE = {AlertMetric.ABSENT: "silence_seconds", AlertMetric.DROP: "session_drop_ratio"}


class AnnotationError(ValueError):
    """An annotation without a counterpart in Prometheus's templates; the message names it and the alternatives."""


@dataclass(frozen=True)
class PromRule:
    """A rule of the configuration, with what its translation to PromQL needs.

    names  label names of a group, or of the sums that the rule evaluates; none for a rule on the whole service
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
        return cls(rule, plan.labels if rule.by is None else rule.by, bands[rule.service], job)

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
        if self.rule.metric is AlertMetric.MODEL:
            return MODEL_STATE
        if self.rule.metric.of_presence:
            return f"{self.prefix}_{_OF_PRESENCE[self.rule.metric]}"
        return self.exported(_METRICS[self.rule.metric])

    @property
    def prefix(self) -> str:
        """Prefix of the metrics on missing sessions."""
        return "qoemon_service" if self.rule.whole else "qoemon"

    @property
    def known(self) -> tuple[str, tuple[str, ...]]:
        """Metric that exists as long as the group is known, and its further labels."""
        if self.rule.whole:
            return f"{self.prefix}_usual_sessions", ()
        if self.rule.metric is AlertMetric.MODEL:
            return MODEL_STATE, ("state",)
        if self.rule.roll_up is None:
            return EXPECTED, ("rating",)
        return self.exported("qoemon_active_sessions"), ()

    @property
    def bound(self) -> str | None:
        """Series of the bound that the daemon compares with the threshold; None if the rule does not use it."""
        if self.rule.metric is AlertMetric.DROP and self.rule.confident:
            return f"{self.metric}_bound"
        return "qoemon_alert_bound" if self.rule.bounded else None

    @property
    def by_theta(self) -> str | None:
        """Metric of the value by theta; None if the rule does not use it."""
        used = self.rule.all_thetas and self.band and self.rule.metric in _RATIOS
        return f"{self.metric}_theta" if used else None

    @property
    def confident_value(self) -> str:
        """The end of the confidence interval that is nearest to good."""
        return "lower" if self.rule.metric.high_is_bad else "upper"

    @cached_property
    def expr(self) -> str:
        """The PromQL expression."""
        rule = self.rule
        threshold = number(rule.threshold)
        worse, better = (">", "<") if rule.metric.high_is_bad else ("<", ">")
        nearest = "min" if rule.metric.high_is_bad else "max"
        fires = [f"{self._figure} {worse}= {threshold}"]
        if self.bound:
            fires.append(f"{self._bound(self.bound)} {worse}= {number(rule.certain_at)}")
        if self.by_theta:
            thetas = self._selector(self.by_theta)
            fires.append(f"{nearest} without ({self._without('window', 'theta')}) ({thetas}) {worse}= {threshold}")
        # A value at `recovery` clears the alert, but if both thresholds are equal, a value at them fires.
        clears = [
            f"{self._figure} {better}{'' if rule.recovery == rule.threshold else '='} {number(rule.recovery)}"
        ]
        if rule.min_sessions:
            enough = f"{self._users} >= {rule.min_sessions}"
            fires, clears = [*fires, enough], [*clears, enough]
        firing = selector("ALERTS", {"alertname": rule.name, "alertstate": "firing", "service": rule.service})
        known, further = self.known
        exists, without = selector(known, self._group), self._without(*further)
        before = f"last_over_time({exists}[{HOLD}])"
        return _LAYOUT.format(
            fires="\n  and ".join(fires),
            clears="\n    and ".join(clears),
            figure=self._figure,
            known=f"max without ({without}) ({exists})" if without else exists,
            known_before=f"max without ({without}) ({before})" if without else before,
            start=selector("process_start_time_seconds", {JOB: self.job}),
            warm_s=WARM_S,
            by=", ".join((JOB, INSTANCE, "service", *self.names)),
            firing=firing,
        )

    def exported(self, metric: str) -> str:
        """Name of a metric of groups as the rule reads it: the daemon exports the sums with their bounds."""
        return metric if self.rule.roll_up is None else metric.replace("qoemon_", PREFIX, 1)

    @property
    def roll_up_labels(self) -> dict[str, str]:
        """The labels of a roll-up's metrics that say which roll-up it is; none for single groups."""
        key = self.rule.roll_up
        if key is None:
            return {}
        return {"by": key.name, **({"where": key.selection} if key.where else {})}

    @property
    def _group(self) -> dict[str, str | Sequence[str]]:
        groups = {name: values for name, values in self.rule.groups.items() if name in self.names}
        return {"service": self.rule.service, **self.roll_up_labels, **groups}

    def _without(self, *more: str) -> str:
        """The labels that are no labels of the alert."""
        return ", ".join((*more, *self.roll_up_labels))

    @property
    def _figure(self) -> str:
        metric = self.rule.metric
        if metric is AlertMetric.OPEN_STALLS:
            return f"{self._sessions('open_stalls')} / ({self._sessions('active_sessions')} > 0)"
        if metric is AlertMetric.QUANTILE:
            return self._per_group(self.metric, quantile=f"{self.rule.quantile:g}")
        if metric is AlertMetric.MODEL:
            return self._per_group(self.metric, state=str(ModelState.OFF))
        return self._per_group(self.metric)

    @property
    def _users(self) -> str:
        if self.rule.metric is AlertMetric.OPEN_STALLS:
            return self._sessions("active_sessions")
        if self.rule.metric.of_presence:
            return selector(f"{self.prefix}_usual_sessions", self._group)
        return self._per_group(self.exported("qoemon_window_users"))

    def _bound(self, series: str) -> str:
        """The bound with only the labels of its group."""
        if self.rule.metric.of_presence:
            return self._per_group(series, bound=self.confident_value)
        # It has the labels of the alert, also if that is on a sum.
        group = {name: values for name, values in self._group.items() if name not in self.roll_up_labels}
        of_rule = selector(series, {**group, "alert": self.rule.name})
        return f"max without (alert) ({of_rule})"

    def _sessions(self, name: str) -> str:
        """A number of sessions with only the labels of its group."""
        series = selector(self.exported(f"qoemon_{name}"), self._group)
        return f"max without ({self._without()}) ({series})" if self.roll_up_labels else series

    def _selector(self, metric: str, **more: str) -> str:
        window = {"window": duration.text(self.rule.window_s)} if self.rule.metric.of_conditions else {}
        return selector(metric, {**self._group, **window, **more})

    def _per_group(self, metric: str, **more: str) -> str:
        """A metric with only the labels of its group."""
        return f"max without ({self._without('window', *more)}) ({self._selector(metric, **more)})"

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
        if self.rule.metric is AlertMetric.MODEL and field in TEXTS_OF_MODEL:
            return _query_template(f"{OFF_SINCE}{{%s}}", ("service",), _SHOWN_TEXTS[field])
        figures = self.figures()
        if field not in figures:
            names = ", ".join(("service", *self.names, *known, *figures))
            raise AnnotationError(
                f"alert {self.rule.name}: annotation {annotation}: found {{{field}}}, expected one of {names}"
            )
        factor, verb = self._format(annotation, field, spec)
        return _query_template(
            factor + figures[field], ("service", *self.names), f". | first | value | printf {quoted(verb)}"
        )

    def figures(self) -> dict[str, str]:
        """Queries of the values that annotations may name; %s is the place of the group's matchers."""
        metric = self.rule.metric
        if metric.of_presence:
            return {"value": f"{self.metric}{{%s}}", "users": f"{self.prefix}_usual_sessions{{%s}}"}
        if metric is AlertMetric.MODEL:
            series = {"value": (self.metric, {"state": str(ModelState.OFF)}), **OF_MODEL}
            return {name: f"{each}{{{_matchers(labels)}%s}}" for name, (each, labels) in series.items()}
        # In a raw string of Go, as a format of printf: without backquotes and %.
        of_sum = [
            f"{name}={quoted(value)}".replace("`", r"\x60").replace("%", r"\x25")
            for name, value in self.roll_up_labels.items()
        ]
        always = ",".join((*of_sum, "%s"))
        window = f'window="{duration.text(self.rule.window_s)}",{always}'
        figures = {
            str(each): f"{self.exported(_METRICS[each])}{{{window}}}" for each in (AlertMetric.MOS, *_RATIOS)
        }
        users = f"{self.exported('qoemon_window_users')}{{{window}}}"
        if metric is AlertMetric.OPEN_STALLS:
            stalls, active = (
                f"{self.exported(name)}{{{always}}}" for name in ("qoemon_open_stalls", "qoemon_active_sessions")
            )
            figures[metric] = f"{stalls} / ({active} > 0)"
            users = active
        if metric is AlertMetric.QUANTILE:
            figures[metric] = f'{self.metric}{{quantile="{self.rule.quantile:g}",{window}}}'
        figures |= {"value": figures[metric], "users": users}
        if metric in {AlertMetric.MOS, *_RATIOS}:
            clears = ("lower", "upper")
            figures |= {end: f'{self.metric}_bound{{bound="{end}",{window}}}' for end in clears}
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


def _matchers(labels: Mapping[str, str]) -> str:
    """The matchers of labels, each with a comma after it."""
    return "".join(f"{name}={quoted(value)}," for name, value in labels.items())


def constants(rule: Rule) -> Mapping[str, float | str]:
    """Values that annotations may name and that are the same for all groups."""
    return {
        "alert": rule.name,
        "severity": rule.severity,
        "window": duration.text(rule.window_s),
        "threshold": rule.threshold,
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


_SHOWN_TEXTS = {
    "way": '. | first | label "way"',
    "since": '(. | first | value | toTime).Format "2006-01-02"',
}
"""How Go templates print the texts of a rule on the model."""


def _query_template(query: str, labels: Sequence[str], shown: str) -> str:
    """A Go template that queries a value for the group of the alert, and prints it as `shown` says."""
    names = (JOB, INSTANCE, *labels)
    times = query.count("%s")
    matchers = ",".join(f"{name}=%q" for name in names)
    values = " ".join(f"$labels.{name}" for name in names)
    printf = f"printf `{query.replace('%s', matchers)}` {' '.join([values] * times)}"
    return f"{{{{ with {printf} | query }}}}{{{{ {shown} }}}}{{{{ else }}}}{ABSENT}{{{{ end }}}}"
