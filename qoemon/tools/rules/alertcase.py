"""Test cases of promtool for each alert: phases of a group's readings, and whether the alert fires in each step.

The expected results are computed by the daemon's own decide(), on the same readings. So promtool checks that
Prometheus, with the generated rules, decides as the daemon does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from qoemon.common import duration
from qoemon.common.template import render
from qoemon.core.alerting.decision import QUIET, AlertState, Sample, decide, forget
from qoemon.core.alerting.figures import TEXTS_OF_MODEL
from qoemon.core.alerting.rule import AlertMetric
from qoemon.core.feedback.check import ModelState, Way
from qoemon.core.qoe.scale import Scale
from qoemon.tools.rules.alertrule import MODEL_STATE, OF_MODEL, OFF_SINCE, WARM_S, PromRule, constants
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Case, Check, FiringAlert, selector, steps

ADDRESS = "127.0.0.1:9877"
"""Instance label of the tests."""

_SESSIONS = 64
"""Number of sessions in a reading, a power of two, so that shares of it are exact."""

_OFF: Mapping[str, int | float] = {"days": 7, "bias": -0.25, "lower": -0.375, "upper": -0.125, "spread": 1.25}
_OFF_SINCE_S, _OFF_SINCE = 20_000 * 86_400, "2024-10-04"
"""How far a model is off, and since when."""


@dataclass(frozen=True)
class Phase:
    """Some steps with the same reading.

    reading    None: no data
    known      whether the daemon knows the group
    scraped    whether Prometheus reaches the daemon
    evaluated  whether the daemon evaluates the rule: not while it is down, nor just after its start
    """

    name: str
    steps: int
    reading: Sample | None = None
    known: bool = True
    scraped: bool = True
    evaluated: bool = True


def case(prom: PromRule, scale: Scale) -> Case:
    """The test case of a rule, on the rating scale of its service, with groups that the rule does not select."""
    phases, labels = tuple(_phases(prom, scale)), _labels(prom)
    others: dict[str, str] = {}
    for other in _unselected_groups(prom, labels):
        others |= _series(prom, other, [replace(phase, reading=_bad(prom, scale), known=True) for phase in phases])
    own = case_of(prom, phases)
    return Case(f"{prom.rule.name}, {prom.rule.service}", {**others, **own.series}, own.checks)


def case_of(prom: PromRule, phases: Sequence[Phase]) -> Case:
    """The test case of a rule and one group with these phases."""
    rule, labels = prom.rule, _labels(prom)
    series = _series(prom, {**labels, "window": duration.text(rule.window_s)}, phases)
    series[selector("process_start_time_seconds", {JOB: prom.job, INSTANCE: ADDRESS})] = steps(_starts(phases))
    return Case(f"phases of {rule.name}", series, tuple(_checks(prom, labels, phases)))


def _labels(prom: PromRule) -> dict[str, str]:
    """Labels of a group that the rule selects."""
    groups = {name: values for name, values in prom.rule.groups.items() if name in prom.names}
    labels = {JOB: prom.job, INSTANCE: ADDRESS, "service": prom.rule.service}
    labels |= {name: groups[name][-1] if name in groups else f"some-{name}" for name in prom.names}
    return {name: value for name, value in labels.items() if value}


def _phases(prom: PromRule, scale: Scale) -> Iterator[Phase]:
    """Phases of a group, first without an alert, then with one."""
    if prom.rule.metric is AlertMetric.MODEL:
        yield from _model_phases()
        return
    rule, bad, good = prom.rule, _bad(prom, scale), _good(prom, scale)
    between = confident_sample(prom, _middle(rule.threshold, rule.recovery))
    few = max(rule.min_sessions - 1, 0)
    hold = ceil(rule.for_s / STEP_S) + 2
    yield Phase("good", 2, good)
    for name, reading in _uncertain_phases(prom, bad, good, few):
        yield Phase(name, hold, reading)
    if rule.recovery != rule.threshold:
        yield Phase("between the thresholds, not firing", hold, between)
    if rule.for_s:
        yield Phase("past the threshold, but not for long enough", hold - 2, bad)
        yield Phase("no data in between", 1)
    yield Phase("past the threshold", hold, bad)
    yield Phase("between the thresholds, firing", 2, between)
    yield Phase(
        "past the threshold, but back within the confidence interval", 2, replace(bad, confident_value=good.value)
    )
    if rule.min_sessions:
        yield Phase("recovered, but too few sessions", 2, replace(good, users=few))
    yield Phase("no data", 2)
    yield Phase("the daemon cannot be scraped", 7, known=False, scraped=False, evaluated=False)
    yield Phase(
        "the daemon has restarted, the group is not yet known", WARM_S // STEP_S, known=False, evaluated=False
    )
    yield Phase("recovered", 2, good)
    yield Phase("at the threshold", hold, confident_sample(prom, rule.threshold))
    yield Phase("at the threshold to clear", 1, confident_sample(prom, rule.recovery))
    yield Phase("past the threshold again", hold, bad)
    yield Phase("the group is no longer known", 2, known=False)


def _model_phases() -> Iterator[Phase]:
    """Phases of the model of a service."""
    holds, off = (Sample(value, value, (), _SESSIONS) for value in (0.0, 1.0))
    yield Phase("the model holds", 2, holds)
    yield Phase("it is off", 2, off)
    yield Phase("the daemon cannot be scraped", 7, known=False, scraped=False, evaluated=False)
    yield Phase("the daemon has restarted, nothing is known yet", WARM_S // STEP_S, known=False, evaluated=False)
    yield Phase("the model is still off", 2, off)
    yield Phase("it holds again", 2, holds)
    yield Phase("it is off again", 2, off)
    yield Phase("the service is no longer known", 2, known=False)


def _uncertain_phases(prom: PromRule, bad: Sample, good: Sample, few: int) -> Iterator[tuple[str, Sample]]:
    if prom.bound:
        yield (
            "past the threshold, but within the confidence interval",
            replace(bad, confident_value=_unsure(prom, good)),
        )
    if prom.by_theta:
        yield "past the threshold, but not at each theta", replace(bad, by_theta=(*bad.by_theta[1:], good.value))
    if prom.rule.min_sessions:
        yield "past the threshold, but too few sessions", replace(bad, users=few)


def _unsure(prom: PromRule, good: Sample) -> float:
    """A bound that is not past what it must be."""
    return -0.125 if prom.rule.metric is AlertMetric.DROP else good.value


def _bad(prom: PromRule, scale: Scale) -> Sample:
    return confident_sample(prom, _middle(prom.rule.threshold, _ends(prom.rule.metric, scale)[1]))


def _good(prom: PromRule, scale: Scale) -> Sample:
    return confident_sample(prom, _middle(prom.rule.recovery, _ends(prom.rule.metric, scale)[0]))


def _middle(one: float, other: float) -> float:
    """The middle, rounded to readable digits."""
    return float(f"{(one + other) / 2:.6g}")


def _ends(metric: AlertMetric, scale: Scale) -> tuple[float, float]:
    """The best and the worst value of a metric."""
    if metric is AlertMetric.ABSENT:
        return 0.0, 86_400.0
    low, high = (scale.low, scale.high) if metric in {AlertMetric.MOS, AlertMetric.QUANTILE} else (0.0, 1.0)
    return (low, high) if metric.high_is_bad else (high, low)


def confident_sample(prom: PromRule, figure: float) -> Sample:
    """A reading of enough sessions, with this value at all bounds and thetas."""
    sessions = _SESSIONS
    while sessions < prom.rule.min_sessions:
        sessions *= 2
    return Sample(figure, figure, (figure,) * len(prom.band) if prom.by_theta else (), sessions)


def _unselected_groups(prom: PromRule, labels: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Labels of groups and windows that the rule does not select; their readings are always bad."""
    window = duration.text(prom.rule.window_s)
    yield {**labels, "service": "another", "window": window}
    for name in (name for name in prom.rule.groups if name in prom.names):
        yield {**labels, name: f"another-{name}", "window": window}
    if prom.rule.metric is not AlertMetric.OPEN_STALLS and prom.rule.metric.of_conditions:
        yield {**labels, "window": "99d"}
    for name in prom.roll_up_labels:
        yield {**labels, name: "another", "window": window}


def _series(prom: PromRule, labels: Mapping[str, str], phases: Sequence[Phase]) -> dict[str, str]:
    """All series of a group; labels: its own, the window, and another roll-up than that of the rule."""
    labels = {**prom.roll_up_labels, **labels}
    of_group = {name: value for name, value in labels.items() if name != "window"}

    def values_of(of: Callable[[Sample], float | None], without: float | None = None) -> str:
        values: list[float | None] = []
        for phase in phases:
            known = phase.known and phase.scraped
            value = (of(phase.reading) if phase.reading else without) if known else None
            values += [value] * phase.steps
        return steps(values)

    rule = prom.rule
    if rule.metric is AlertMetric.MODEL:
        return dict(_model_series(of_group, values_of))
    known, further = prom.known
    at_one_rating = dict.fromkeys(further, "1")
    series = {selector(known, {**of_group, **at_one_rating}): values_of(lambda _: 1, 1)} if further else {}
    if rule.metric.of_presence:
        series[selector(f"{prom.prefix}_usual_sessions", of_group)] = values_of(lambda reading: reading.users, 0)
        series[selector(prom.metric, of_group)] = values_of(lambda reading: reading.value)
        if prom.bound:
            bound = {**of_group, "bound": prom.confident_value}
            series[selector(prom.bound, bound)] = values_of(lambda reading: reading.confident_value)
        return series
    active = selector(prom.exported("qoemon_active_sessions"), of_group)
    series[active] = values_of(lambda reading: reading.users, 0)
    if rule.metric is AlertMetric.OPEN_STALLS:
        stalls = values_of(lambda reading: reading.value * reading.users, 0)
        return {**series, selector(prom.exported("qoemon_open_stalls"), of_group): stalls}
    quantile = {"quantile": f"{rule.quantile:g}"} if rule.quantile else {}
    series[selector(prom.metric, {**labels, **quantile})] = values_of(lambda reading: reading.value)
    series[selector(prom.exported("qoemon_window_users"), labels)] = values_of(lambda reading: reading.users)
    if prom.bound:
        of_alert = {name: value for name, value in of_group.items() if name not in prom.roll_up_labels}
        of_rule = {**of_alert, "alert": rule.name}
        series[selector(prom.bound, of_rule)] = values_of(lambda reading: reading.confident_value)
        # Annotations show the ends of the confidence interval.
        end = {**labels, "bound": prom.confident_value}
        series[selector(f"{prom.metric}_bound", end)] = values_of(lambda reading: reading.confident_value)
    for place, theta in enumerate(prom.band if prom.by_theta else ()):
        at_theta = {**labels, "theta": f"{theta:g}"}
        series[selector(f"{prom.by_theta}", at_theta)] = values_of(lambda reading, at=place: reading.by_theta[at])  # type: ignore[misc]
    return series


def _model_series(
    of_service: Mapping[str, str], values_of: Callable[[Callable[[Sample], float | None]], str]
) -> Iterator[tuple[str, str]]:
    """The series of the model of a service; values_of gives the values of all phases."""
    states = {ModelState.OFF: 1.0, ModelState.HOLDS: 0.0}
    for state in ModelState:
        now = states.get(state)
        yield (
            selector(MODEL_STATE, {**of_service, "state": str(state)}),
            values_of(lambda reading, now=now: float(reading.value == now)),  # type: ignore[misc]
        )
    while_off = {name: selector(metric, {**of_service, **labels}) for name, (metric, labels) in OF_MODEL.items()}
    for name, series in while_off.items():
        yield series, values_of(lambda reading, name=name: _off(reading, name))  # type: ignore[misc]
    since = selector(OFF_SINCE, {**of_service, "way": str(Way.LOWER)})
    yield since, values_of(lambda reading: float(_OFF_SINCE_S) if reading.value else None)


def _off(reading: Sample, name: str) -> float | None:
    """A figure of a model; None while it is not off."""
    return _OFF.get(name, reading.users) if reading.value else None


def _starts(phases: Sequence[Phase]) -> list[float | None]:
    """Start time of the daemon that is scraped at each step, seconds."""
    starts: list[float | None] = []
    started_s = 0.0
    for phase in phases:
        if not phase.scraped:
            started_s = float((len(starts) + phase.steps) * STEP_S)
        starts += [started_s if phase.scraped else None] * phase.steps
    return starts


def _checks(prom: PromRule, labels: Mapping[str, str], phases: Sequence[Phase]) -> Iterator[Check]:
    rule, decision, step = prom.rule, QUIET, -1
    on_alert = {**labels, "severity": rule.severity, **(rule.labels or {})}
    for phase in phases:
        for _ in range(phase.steps):
            step += 1
            if phase.evaluated:
                now_s = step * STEP_S
                decision = decide(rule, decision, phase.reading, now_s) if phase.known else forget(decision, now_s)
        firing = FiringAlert(on_alert, _annotations(prom, labels, phase))
        yield Check(step, rule.name, (firing,) if decision.state is AlertState.FIRING else (), phase.name)


def _annotations(prom: PromRule, labels: Mapping[str, str], phase: Phase) -> dict[str, str]:
    """The annotations as the daemon renders them."""
    rule = prom.rule
    values = {**dict.fromkeys(prom.names, ""), **labels, **constants(rule), **_figures(prom, phase)}
    return {name: render(text, values) for name, text in (rule.annotations or {}).items()}


def _figures(prom: PromRule, phase: Phase) -> dict[str, object]:
    reading, figures = phase.reading, dict.fromkeys(prom.figures())
    if prom.rule.metric is AlertMetric.MODEL:
        texts: dict[str, object] = dict(zip(TEXTS_OF_MODEL, (str(Way.LOWER), _OFF_SINCE), strict=True))
        known = {**_OFF, **texts, "value": 1, "users": reading.users} if reading else {}
        return {**figures, **dict.fromkeys(texts), **known}
    if reading is None:
        counted = prom.rule.metric is AlertMetric.OPEN_STALLS or prom.rule.metric.of_presence
        empty = counted and phase.known and phase.scraped
        return {**figures, "users": 0 if empty else None}
    # Go writes 1 where Python writes 1.0.
    figure = int(reading.value) if float(reading.value).is_integer() else reading.value
    values = {"value": figure, str(prom.rule.metric): figure, "users": reading.users}
    bounds = {prom.confident_value: reading.confident_value} if prom.confident_value in figures else {}
    return {**figures, **values, **(bounds if prom.bound else {})}
