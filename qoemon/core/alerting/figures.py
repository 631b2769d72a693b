"""The figures of one group that texts about an alert can name."""

from __future__ import annotations

from collections.abc import Iterator

from qoemon.core.alerting.rule import AlertMetric, Figures, Rule, Sample
from qoemon.core.snapshot.snapshot import ServiceSnapshot

NAMES = ("value", "lower", "upper", "mos", "gob", "pow", "users")


def figures(rule: Rule, reading: Sample, service: ServiceSnapshot, number: int) -> Figures:
    """What there is to tell of the group with this number: some of NAMES; lower and upper bound the value."""
    return dict(_figures(rule, reading, service, number))


def _figures(rule: Rule, reading: Sample, service: ServiceSnapshot, number: int) -> Iterator[tuple[str, float]]:
    yield "value", reading.figure
    yield "users", reading.users
    judged = service.distributions[rule.window_s]
    if not judged.observations[number]:
        return
    for name in ("mos", "gob", "pow"):
        yield name, float(getattr(judged, name)[number])
    if rule.what in {AlertMetric.MOS, AlertMetric.GOB, AlertMetric.POW}:
        bounds = {
            AlertMetric.MOS: judged.mos_bounds,
            AlertMetric.GOB: judged.gob_bounds,
            AlertMetric.POW: judged.pow_bounds,
        }[rule.what]
        yield from zip(("lower", "upper"), bounds[number].tolist(), strict=True)
