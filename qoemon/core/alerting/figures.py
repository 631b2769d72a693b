"""The figures of one group that texts of an alert can use."""

from __future__ import annotations

from collections.abc import Iterator

from qoemon.core.alerting.decision import Figures, Sample
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.snapshot.snapshot import ServiceSnapshot

NAMES = ("value", "lower", "upper", "mos", "gob", "pow", "users")


def figures(rule: Rule, sample: Sample, service: ServiceSnapshot, number: int) -> Figures:
    """The known figures of the group with this number, by NAMES; lower and upper are the bounds of value.

    Of rules on missing sessions, users are those as usual; number is not used.
    """
    return dict(_figures(rule, sample, service, number))


def _figures(rule: Rule, sample: Sample, service: ServiceSnapshot, number: int) -> Iterator[tuple[str, float]]:
    yield "value", sample.value
    yield "users", sample.users
    if rule.metric.of_presence:
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
