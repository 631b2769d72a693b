"""The figures of one group that texts of an alert can use."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qoemon.core.alerting.decision import Figures, Sample
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.snapshot.feedback import Feedback
from qoemon.core.snapshot.snapshot import ServiceSnapshot

OF_MODEL = ("bias", "spread", "days")
"""Names of figures of rules on the model only."""
NAMES = ("value", "lower", "upper", "mos", "gob", "pow", "users", *OF_MODEL)

TEXTS_OF_MODEL = ("way", "since")
"""Names of texts of rules on the model only: how ratings deviate, and since which day."""

SINCE_S = "off_since_s"
"""Name of the time since when the model is off, seconds since the epoch."""


def figures(rule: Rule, sample: Sample, service: ServiceSnapshot, number: int) -> Figures:
    """The known figures of the group with this number, by NAMES; lower and upper are the bounds of value.

    Of rules on missing sessions, users are those as usual; number is not used.
    """
    return dict(_figures(rule, sample, service, number))


def _figures(rule: Rule, sample: Sample, service: ServiceSnapshot, number: int) -> Iterator[tuple[str, float]]:
    yield "value", sample.value
    yield "users", sample.users
    if not rule.metric.of_conditions:
        return
    rated = service.distributions[rule.window_s]
    if not rated.observations[number]:
        return
    for name in ("mos", "gob", "pow"):
        yield name, float(getattr(rated, name)[number])
    if rule.metric in {AlertMetric.MOS, AlertMetric.GOB, AlertMetric.POW}:
        bounds = {
            AlertMetric.MOS: rated.mos_bounds,
            AlertMetric.GOB: rated.gob_bounds,
            AlertMetric.POW: rated.pow_bounds,
        }[rule.metric]
        yield from zip(("lower", "upper"), bounds[number].tolist(), strict=True)


def model_figures(sample: Sample, feedback: Feedback) -> Figures:
    """The known figures of a rule on the model, and SINCE_S; lower and upper are the bounds of the bias."""
    known: dict[str, int | float] = {"value": sample.value, "users": sample.users}
    if (off := feedback.deviation) is None:
        return known
    if feedback.check.since is not None:
        known[SINCE_S] = feedback.check.since * DAY_S
    columns = dict(zip(("bias", "lower", "upper"), off.bias, strict=True), spread=off.spread.value)
    known |= {name: float(value) for name, value in columns.items() if not math.isnan(value)}
    return {**known, "days": off.days}
