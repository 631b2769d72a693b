"""Section `alerts`: when a value is bad enough, for long enough, and beyond its confidence interval."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from qoemon.common.template import template_fault
from qoemon.config.sections.types import Count, Label, Pause, Real, ServiceName, Share, WholeSeconds
from qoemon.config.yaml.section import Section, Violation, key
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

    name: AlertName = key("Name of the alert.")
    service: ServiceName | None = key("Service; null for every service.", None)
    groups: Mapping[Label, Values] = key(
        "Label values that a group must have; other labels may have any value.", {}
    )
    by: tuple[Label, ...] | None = key(
        "Sum the groups over all labels but these, and evaluate the sums; []: one sum for the whole service; null: "
        "evaluate each group by itself. With what: absent or drop, null or [].",
        None,
    )
    what: AlertMetric = key(
        "Metric: mos, gob, pow, quantile, open_stall_share; absent: no reports arrive; drop: share by which there "
        "are fewer active sessions than usual.",
        "pow",
    )
    quantile: Share | None = key("The quantile, if what is quantile.", None)
    window_s: WholeSeconds | None = key("Window; null for the base window, rating_interval.", None)
    enter: Real | None = key(
        "The alert begins when the value is at this threshold or worse. Required, but with absent there is none.",
        None,
    )
    leave: Real | None = key(
        "The alert ends when the value is at this threshold or better; not worse than enter. Required, but with "
        "absent there is none: the alert ends when reports arrive.",
        None,
    )
    for_s: Pause = key(
        "Time for which the value must be at enter or worse before the alert fires; with absent, the time without "
        "reports.",
        "0s",
    )
    min_sessions: Count = key(
        "Minimum number of distinct sessions in the window; with absent and drop, of active sessions before.", 50
    )
    confidence: bool = key(
        "Whether a confidence bound must be at enter or worse as well, so that chance fires the rule at most once"
        " in 30 days, in all its groups together. With drop, whether the fall must be beyond the usual variation.",
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
        by = None if self.by is None else tuple(label for label in labels if label in self.by)
        enter, leave, for_s = self.enter, self.leave, self.for_s
        if self.what is AlertMetric.ABSENT:  # Its value is the time without reports.
            enter, leave, for_s = self.for_s, 0.0, 0.0
        assert enter is not None and leave is not None, "rules() has checked it"  # noqa: S101, PT018 - for the type checker
        return Rule(
            name=self.name,
            service=service,
            what=self.what,
            window_s=self.window_s or base_window_s,
            enter=enter,
            leave=leave,
            groups=self.groups,
            quantile=self.quantile,
            for_s=for_s,
            min_sessions=self.min_sessions,
            confident=self.confidence,
            all_thetas=self.theta == "all",
            severity=self.severity,
            labels=self.labels,
            annotations=self.annotations,
            # Sums over no label are the groups themselves.
            by=None if by == tuple(labels) and not self.what.of_presence else by,
        )

    def rules(self) -> Iterator[Violation]:
        """`leave` is not worse than `enter`; each metric has its keys, and no others."""
        yield from self._threshold_rules()
        if (self.what is AlertMetric.QUANTILE) != (self.quantile is not None):
            yield Violation(("quantile",), "a quantile with what: quantile, and with nothing else", (("what",),))
        if self.what.of_presence:
            if self.window_s is not None:
                yield Violation(("window",), f"null, as what: {self.what} has no window", (("what",),))
            if self.by:
                yield Violation(("by",), f"null or [], as what is {self.what}", (("what",),))
            if self.by is not None and self.groups:
                yield Violation(("groups",), f"{{}}, as by: [] with what: {self.what} is the service", (("by",),))

    def _threshold_rules(self) -> Iterator[Violation]:
        if self.what is AlertMetric.ABSENT:
            for name in (name for name in ("enter", "leave") if getattr(self, name) is not None):
                yield Violation((name,), "null with what: absent, which has `for` only", (("what",),))
            if not self.for_s > 0:
                yield Violation(("for",), "the time without reports, such as 2m, with what: absent", (("what",),))
            return
        for name in (name for name in ("enter", "leave") if getattr(self, name) is None):
            yield Violation((name,), "a number")
        if self.enter is None or self.leave is None:
            return
        if self.what is AlertMetric.DROP and not 0 < self.leave <= self.enter < 1:
            yield Violation(("enter",), "shares above 0 and below 1, leave at most enter", (("leave",), ("what",)))
        if self.what.high_is_bad and not self.leave <= self.enter:
            expected = f"at most enter ({self.enter:g}), as a high {self.what} is bad"
            yield Violation(("leave",), expected, (("enter",), ("what",)))
        if not self.what.high_is_bad and not self.leave >= self.enter:
            expected = f"at least enter ({self.enter:g}), as a low {self.what} is bad"
            yield Violation(("leave",), expected, (("enter",), ("what",)))

    def text_rules(self, labels: Sequence[str]) -> Iterator[Violation]:
        """Annotations name only values that exist: with `by`, no label that is summed."""
        known = labels if self.by is None else self.by
        examples: dict[str, object] = {"users": 100, **dict.fromkeys(NUMBERS, 0.5)}
        examples |= dict.fromkeys((*known, "alert", "service", "severity", "window"), "text")
        for name, text in self.annotations.items():
            if fault := template_fault(text, examples):
                yield Violation(("annotations", name), fault)

    def reach_rules(self, service: Service) -> Iterator[Violation]:
        """The service can reach the thresholds; otherwise the alert would never fire, or never end."""
        if self.what.of_presence or self.enter is None or self.leave is None:
            return
        thetas = (service.theta, *(service.theta_band if self.theta == "all" else ()))
        found: dict[str, str] = {}
        for theta in dict.fromkeys(thetas):
            worst, best = self._reach(service, theta)
            high = self.what.high_is_bad
            where = f"{service.name} can reach with {service.mapping.name} at theta {theta:g}"
            below, above = ("at most", "at least") if high else ("at least", "at most")
            if self.enter > worst if high else self.enter < worst:
                found.setdefault("enter", f"{below} {worst:.4f}, the worst that {where}")
            if self.leave < best if high else self.leave > best:
                found.setdefault("leave", f"{above} {best:.4f}, the best that {where}")
        for name, expected in found.items():
            yield Violation((name,), expected, (("what",),))

    def _reach(self, service: Service, theta: float) -> tuple[float, float]:
        """The worst and the best value that the service can reach."""
        if self.what is AlertMetric.OPEN_STALLS:
            return 1.0, 0.0
        quantiles = (self.quantile,) if self.quantile else ()
        model = service.model if theta == service.theta else RatingModel.BETA
        kernel = replace(service, theta=theta, model=model, theta_band=()).kernel(quantiles, service.mapping.reach)
        column = _values(kernel.distribution(np.eye(2, dtype=np.int64)), self.what)
        return float(column[0]), float(column[1])


def _values(distribution: Distribution, what: AlertMetric) -> np.ndarray:
    return distribution.quantiles[:, 0] if what is AlertMetric.QUANTILE else getattr(distribution, str(what))
