"""Section `alerts`: when a value is bad enough, for long enough, and beyond its confidence interval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from qoemon.common.template import template_fault
from qoemon.config.sections.types import Count, Label, Pause, Real, ServiceName, Share, WholeSeconds
from qoemon.config.yaml.section import Section, Violation, key
from qoemon.core.alerting.figures import OF_MODEL, TEXTS_OF_MODEL
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.qoe.mapping import RatingModel

NUMBERS = ("value", "lower", "upper", "threshold", "mos", "gob", "pow")
"""Numbers that annotations can name, beside users. They can also name labels and four texts: see `text_rules`."""

Values = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
AlertName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_-]{0,62}$")]


class Alert(Section):
    """An alert rule; each group that it selects, or each sum of them, has its own alert."""

    renamed: ClassVar[dict[str, str]] = {"what": "metric", "enter": "threshold", "leave": "recovery"}

    name: AlertName = key("Name of the alert.")
    service: ServiceName | None = key("Service; null for every service.", None)
    groups: Mapping[Label, Values] = key(
        "Label values that a group must have; other labels may have any value.", {}
    )
    by: tuple[Label, ...] | None = key(
        "Sum the groups over all labels but these, and evaluate the sums; []: one sum for the whole service; null: "
        "evaluate each group by itself. With metric: absent or drop, null or []; with model, the whole service.",
        None,
    )
    metric: AlertMetric = key(
        "Metric: mos, gob, pow, opinion_quantile, open_stall_share; absent: no reports arrive; drop: share by "
        "which there are fewer active sessions than usual; model: ratings of users deviate from the predictions.",
        "pow",
    )
    quantile: Share | None = key("The quantile, if metric is opinion_quantile.", None)
    window_s: WholeSeconds | None = key("Window; null for the base window, rating_interval.", None)
    threshold: Real | None = key(
        "The alert begins when the value is at this or worse. Required, but with absent and model there is none.",
        None,
    )
    recovery: Real | None = key(
        "The alert ends when the value is at this or better; not worse than threshold. Required, but with absent "
        "and model there is none: the alert ends when reports arrive, or when users rate as predicted.",
        None,
    )
    for_s: Pause = key(
        "Time for which the value must be at threshold or worse before the alert fires; with absent, the time "
        "without reports.",
        "0s",
    )
    min_sessions: Count = key(
        "Minimum number of distinct sessions in the window; with absent and drop, of active sessions before. Not "
        "with model.",
        50,
    )
    confidence: bool = key(
        "Whether a confidence bound must be at threshold or worse as well, so that chance fires the rule at most "
        "once in 30 days, in all its groups together. With drop, whether the fall must exceed the usual variation.",
        True,
    )
    theta: Literal["service", "all"] = key(
        "service: the theta of the service; all: every theta of its theta_band must agree.", "service"
    )
    severity: str = key("Severity, for routing.", "warning")
    labels: Mapping[Label, str] = key("Additional labels of the alert.", {})
    annotations: Mapping[str, str] = key(
        "Texts for people; {value:.1%}, {users} and labels such as {region} are replaced by values.", {}
    )

    def rule(self, service: str, base_window_s: int, labels: Sequence[str]) -> Rule:
        """The rule for one service. labels: names of all labels of a group."""
        of_model = self.metric is AlertMetric.MODEL
        by = None if self.by is None else tuple(label for label in labels if label in self.by)
        threshold, recovery, for_s = self.threshold, self.recovery, self.for_s
        if self.metric is AlertMetric.ABSENT:  # Its value is the time without reports.
            threshold, recovery, for_s = self.for_s, 0.0, 0.0
        if of_model:  # Its value is 1 while the model is off, else 0.
            threshold, recovery, by = 1.0, 1.0, ()
        assert threshold is not None and recovery is not None, "rules() has checked it"  # noqa: S101, PT018 - for the type checker
        return Rule(
            name=self.name,
            service=service,
            metric=self.metric,
            window_s=self.window_s or base_window_s,
            threshold=threshold,
            recovery=recovery,
            groups=self.groups,
            quantile=self.quantile,
            for_s=for_s,
            min_sessions=0 if of_model else self.min_sessions,
            confident=self.confidence and not of_model,
            all_thetas=self.theta == "all",
            severity=self.severity,
            labels=self.labels,
            annotations=self.annotations,
            # Sums over no label are the groups themselves.
            by=None if by == tuple(labels) and self.metric.of_conditions else by,
        )

    def rules(self) -> Iterator[Violation]:
        """`recovery` is not worse than `threshold`; each metric has its keys, and no others."""
        yield from self._threshold_rules()
        if (self.metric is AlertMetric.QUANTILE) != (self.quantile is not None):
            yield Violation(
                ("quantile",), "a quantile with metric: opinion_quantile, and with nothing else", (("metric",),)
            )
        if self.metric is AlertMetric.MODEL:
            yield from self._model_rules()
        if self.metric.of_presence:
            if self.window_s is not None:
                yield Violation(("window",), f"null, as metric: {self.metric} has no window", (("metric",),))
            if self.by:
                yield Violation(("by",), f"null or [], as metric is {self.metric}", (("metric",),))
            if self.by is not None and self.groups:
                yield Violation(("groups",), f"{{}}, as by: [] with {self.metric} is the service", (("by",),))

    def _model_rules(self) -> Iterator[Violation]:
        """The check of a model has rules of its own, and is of the whole service."""
        if self.by:
            yield Violation(("by",), "null or [], as metric: model is about a whole service", (("metric",),))
        if self.groups:
            yield Violation(("groups",), "{}, as metric: model is about a whole service", (("metric",),))
        if self.window_s is not None:
            yield Violation(("window",), "null, as metric: model has no window", (("metric",),))
        for name in ("min_sessions", "for", "confidence", "theta"):
            if name in self.model_fields_set or f"{name}_s" in self.model_fields_set:
                expected = "no such key with metric: model, which counts days: see feedback.tolerance"
                yield Violation((name,), expected, (("metric",),))

    def _threshold_rules(self) -> Iterator[Violation]:
        if self.metric is AlertMetric.ABSENT:
            for name in (name for name in ("threshold", "recovery") if getattr(self, name) is not None):
                yield Violation((name,), "null with metric: absent, which has `for` only", (("metric",),))
            if not self.for_s > 0:
                yield Violation(
                    ("for",), "the time without reports, such as 2m, with metric: absent", (("metric",),)
                )
            return
        if self.metric is AlertMetric.MODEL:
            for name in (name for name in ("threshold", "recovery") if getattr(self, name) is not None):
                yield Violation((name,), "null with metric: model: see feedback.tolerance", (("metric",),))
            return
        for name in (name for name in ("threshold", "recovery") if getattr(self, name) is None):
            yield Violation((name,), "a number")
        if self.threshold is None or self.recovery is None:
            return
        if self.metric is AlertMetric.DROP and not 0 < self.recovery <= self.threshold < 1:
            yield Violation(
                ("threshold",),
                "shares above 0 and below 1, recovery at most threshold",
                (("recovery",), ("metric",)),
            )
        if self.metric.high_is_bad and not self.recovery <= self.threshold:
            expected = f"at most threshold ({self.threshold:g}), as a high {self.metric} is bad"
            yield Violation(("recovery",), expected, (("threshold",), ("metric",)))
        if not self.metric.high_is_bad and not self.recovery >= self.threshold:
            expected = f"at least threshold ({self.threshold:g}), as a low {self.metric} is bad"
            yield Violation(("recovery",), expected, (("threshold",), ("metric",)))

    def text_rules(self, labels: Sequence[str]) -> Iterator[Violation]:
        """Annotations name only values that exist: with `by`, no label that is summed."""
        of_model = self.metric is AlertMetric.MODEL
        known = labels if self.by is None and not of_model else self.by or ()
        examples: dict[str, object] = {"users": 100, **dict.fromkeys(NUMBERS, 0.5)}
        examples |= dict.fromkeys((*known, "alert", "service", "severity", "window"), "text")
        if of_model:
            examples |= {**dict.fromkeys(OF_MODEL, 0.5), "days": 7, **dict.fromkeys(TEXTS_OF_MODEL, "text")}
        for name, text in self.annotations.items():
            if fault := template_fault(text, examples):
                yield Violation(("annotations", name), fault)

    def reach_rules(self, service: Service) -> Iterator[Violation]:
        """The service can reach the thresholds; otherwise the alert would never fire, or never end."""
        if not self.metric.of_conditions or self.threshold is None or self.recovery is None:
            return
        thetas = (service.theta, *(service.theta_band if self.theta == "all" else ()))
        found: dict[str, str] = {}
        for theta in dict.fromkeys(thetas):
            worst, best = self._reach(service, theta)
            high = self.metric.high_is_bad
            where = f"{service.name} can reach with {service.mapping.name} at theta {theta:g}"
            below, above = ("at most", "at least") if high else ("at least", "at most")
            if self.threshold > worst if high else self.threshold < worst:
                found.setdefault("threshold", f"{below} {worst:.4f}, the worst that {where}")
            if self.recovery < best if high else self.recovery > best:
                found.setdefault("recovery", f"{above} {best:.4f}, the best that {where}")
        for name, expected in found.items():
            yield Violation((name,), expected, (("metric",),))

    def _reach(self, service: Service, theta: float) -> tuple[float, float]:
        """The worst and the best value that the service can reach."""
        if self.metric is AlertMetric.OPEN_STALLS:
            return 1.0, 0.0
        quantiles = (self.quantile,) if self.quantile else ()
        model = service.model if theta == service.theta else RatingModel.BETA
        kernel = replace(service, theta=theta, model=model, theta_band=()).kernel(quantiles, service.mapping.reach)
        column = _values(kernel.distribution(np.eye(2, dtype=np.int64)), self.metric)
        return float(column[0]), float(column[1])


def _values(distribution: Distribution, metric: AlertMetric) -> np.ndarray:
    return distribution.quantiles[:, 0] if metric is AlertMetric.QUANTILE else getattr(distribution, str(metric))
