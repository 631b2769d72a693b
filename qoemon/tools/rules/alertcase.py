"""A story for each alert, as a test of promtool: what a group goes through, and after each scene whether it fires.

Whether it fires is not written here: core.alert.decide is told the same story and asked. So promtool finds out
whether Prometheus, by the rules written, decides as the daemon does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from qoemon.common import duration
from qoemon.common.template import render
from qoemon.core.alerting.rule import QUIET, AlertMetric, AlertState, Sample, decide, forget
from qoemon.core.qoe.scale import Scale
from qoemon.tools.rules.alertrule import WARM_S, PromRule, constants
from qoemon.tools.rules.rulefile import INSTANCE, JOB, STEP_S, Case, Check, Told, selector, steps

ADDRESS = "127.0.0.1:9877"
"""The instance that the tests are about."""

_SESSIONS = 64
"""Enough of them; more are a power of two too, so that a share of them is exact."""


@dataclass(frozen=True)
class Scene:
    """Something that lasts for some steps.

    reading  None is no data
    there    whether the group is known
    heard    whether Prometheus reaches the daemon
    decides  whether the daemon has something to decide: not while it is away, or has only just begun
    """

    name: str
    steps: int
    reading: Sample | None = None
    there: bool = True
    heard: bool = True
    decides: bool = True


def case(prom: PromRule, scale: Scale) -> Case:
    """The story of one rule, on the rating scale of its service, among others that it does not look at."""
    scenes, labels = tuple(_scenes(prom, scale)), _labels(prom)
    others: dict[str, str] = {}
    for other in _bystanders(prom, labels):
        others |= _series(prom, other, [replace(scene, reading=_bad(prom, scale), there=True) for scene in scenes])
    told = story(prom, scenes)
    return Case(f"{prom.rule.name}, {prom.rule.service}", {**others, **told.series}, told.checks)


def story(prom: PromRule, scenes: Sequence[Scene]) -> Case:
    """What follows for the alert of one group that goes through these scenes."""
    rule, labels = prom.rule, _labels(prom)
    series = _series(prom, {**labels, "window": duration.text(rule.window_s)}, scenes)
    series[selector("process_start_time_seconds", {JOB: prom.job, INSTANCE: ADDRESS})] = steps(_starts(scenes))
    return Case(f"a story of {rule.name}", series, tuple(_checks(prom, labels, scenes)))


def _labels(prom: PromRule) -> dict[str, str]:
    """Those of a group that the rule looks at."""
    groups = prom.rule.groups
    labels = {JOB: prom.job, INSTANCE: ADDRESS, "service": prom.rule.service}
    labels |= {name: groups[name][-1] if name in groups else f"some-{name}" for name in prom.names}
    return {name: value for name, value in labels.items() if value}


def _scenes(prom: PromRule, scale: Scale) -> Iterator[Scene]:
    """What the group goes through, first without an alert, then with one."""
    rule, bad, good = prom.rule, _bad(prom, scale), _good(prom, scale)
    between = sure(prom, _middle(rule.enter, rule.leave))
    few = max(rule.min_sessions - 1, 0)
    hold = ceil(rule.for_s / STEP_S) + 2
    yield Scene("all is well", 2, good)
    for name, reading in _doubtful(prom, bad, good, few):
        yield Scene(name, hold, reading)
    if rule.leave != rule.enter:
        yield Scene("between the thresholds on the way in", hold, between)
    if rule.for_s:
        yield Scene("past the threshold, but not for long enough", hold - 2, bad)
        yield Scene("no data in between", 1)
    yield Scene("past the threshold", hold, bad)
    yield Scene("between the thresholds on the way out", 2, between)
    yield Scene("past the threshold, but no longer for sure", 2, replace(bad, confident_value=good.figure))
    if rule.min_sessions:
        yield Scene("well, but too few sessions", 2, replace(good, users=few))
    yield Scene("no data", 2)
    yield Scene("nothing is heard of the daemon", 7, there=False, heard=False, decides=False)
    yield Scene("the daemon is back, the group not yet", WARM_S // STEP_S, there=False, decides=False)
    yield Scene("recovered", 2, good)
    yield Scene("on the threshold", hold, sure(prom, rule.enter))
    yield Scene("on the threshold to leave", 1, sure(prom, rule.leave))
    yield Scene("past the threshold once more", hold, bad)
    yield Scene("the group is gone", 2, there=False)


def _doubtful(prom: PromRule, bad: Sample, good: Sample, few: int) -> Iterator[tuple[str, Sample]]:
    if prom.bound:
        yield "past the threshold, but not for sure", replace(bad, confident_value=good.figure)
    if prom.by_theta:
        yield "past the threshold, but not at each theta", replace(bad, by_theta=(*bad.by_theta[1:], good.figure))
    if prom.rule.min_sessions:
        yield "past the threshold, but too few sessions", replace(bad, users=few)


def _bad(prom: PromRule, scale: Scale) -> Sample:
    return sure(prom, _middle(prom.rule.enter, _ends(prom.rule.what, scale)[1]))


def _good(prom: PromRule, scale: Scale) -> Sample:
    return sure(prom, _middle(prom.rule.leave, _ends(prom.rule.what, scale)[0]))


def _middle(one: float, other: float) -> float:
    """Between them, in digits that can be read."""
    return float(f"{(one + other) / 2:.6g}")


def _ends(what: AlertMetric, scale: Scale) -> tuple[float, float]:
    """The best and the worst that a figure can be."""
    low, high = (scale.low, scale.high) if what in {AlertMetric.MOS, AlertMetric.QUANTILE} else (0.0, 1.0)
    return (low, high) if what.high_is_bad else (high, low)


def sure(prom: PromRule, figure: float) -> Sample:
    """A reading of enough sessions, all whose figures are the same."""
    sessions = _SESSIONS
    while sessions < prom.rule.min_sessions:
        sessions *= 2
    return Sample(figure, figure, (figure,) * len(prom.band) if prom.by_theta else (), sessions)


def _bystanders(prom: PromRule, labels: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The labels of groups and windows that the rule does not look at; they will do badly all the time."""
    window = duration.text(prom.rule.window_s)
    yield {**labels, "service": "another", "window": window}
    for name in prom.rule.groups:
        yield {**labels, name: f"another-{name}", "window": window}
    if prom.rule.what is not AlertMetric.OPEN_STALLS:
        yield {**labels, "window": "99d"}


def _series(prom: PromRule, labels: Mapping[str, str], scenes: Sequence[Scene]) -> dict[str, str]:
    """All that is told of a group: labels are its own and the window."""
    of_group = {name: value for name, value in labels.items() if name != "window"}

    def told(of: Callable[[Sample], float], without: float | None = None) -> str:
        values: list[float | None] = []
        for scene in scenes:
            there = scene.there and scene.heard
            value = (of(scene.reading) if scene.reading else without) if there else None
            values += [value] * scene.steps
        return steps(values)

    rule = prom.rule
    series = {selector("qoemon_active_sessions", of_group): told(lambda reading: reading.users, 0)}
    if rule.what is AlertMetric.OPEN_STALLS:
        stalls = told(lambda reading: reading.figure * reading.users, 0)
        return {**series, selector("qoemon_open_stalls", of_group): stalls}
    quantile = {"quantile": f"{rule.quantile:g}"} if rule.quantile else {}
    series[selector(prom.metric, {**labels, **quantile})] = told(lambda reading: reading.figure)
    series[selector("qoemon_window_users", labels)] = told(lambda reading: reading.users)
    if prom.bound:
        bound = {**labels, "bound": prom.confident_value}
        series[selector(prom.bound, bound)] = told(lambda reading: reading.confident_value)
    for place, theta in enumerate(prom.band if prom.by_theta else ()):
        at_theta = {**labels, "theta": f"{theta:g}"}
        series[selector(f"{prom.by_theta}", at_theta)] = told(lambda reading, at=place: reading.by_theta[at])  # type: ignore[misc]
    return series


def _starts(scenes: Sequence[Scene]) -> list[float | None]:
    """When the daemon that is heard at each step was started, seconds."""
    starts: list[float | None] = []
    begun_s = 0.0
    for scene in scenes:
        if not scene.heard:
            begun_s = float((len(starts) + scene.steps) * STEP_S)
        starts += [begun_s if scene.heard else None] * scene.steps
    return starts


def _checks(prom: PromRule, labels: Mapping[str, str], scenes: Sequence[Scene]) -> Iterator[Check]:
    rule, decision, step = prom.rule, QUIET, -1
    on_alert = {**labels, "severity": rule.severity, **(rule.labels or {})}
    for scene in scenes:
        for _ in range(scene.steps):
            step += 1
            if scene.decides:
                now_s = step * STEP_S
                decision = decide(rule, decision, scene.reading, now_s) if scene.there else forget(decision, now_s)
        told = Told(on_alert, _annotations(prom, labels, scene))
        yield Check(step, rule.name, (told,) if decision.state is AlertState.FIRING else (), scene.name)


def _annotations(prom: PromRule, labels: Mapping[str, str], scene: Scene) -> dict[str, str]:
    """The annotations as the daemon itself would fill them in."""
    rule = prom.rule
    values = {**dict.fromkeys(prom.names, ""), **labels, **constants(rule), **_figures(prom, scene)}
    return {name: render(text, values) for name, text in (rule.annotations or {}).items()}


def _figures(prom: PromRule, scene: Scene) -> dict[str, float | None]:
    reading, figures = scene.reading, dict.fromkeys(prom.figures())
    if reading is None:
        empty = prom.rule.what is AlertMetric.OPEN_STALLS and scene.there and scene.heard
        return {**figures, "users": 0 if empty else None}
    # Go writes 1 where Python writes 1.0.
    figure = int(reading.figure) if float(reading.figure).is_integer() else reading.figure
    told = {"value": figure, str(prom.rule.what): figure, "users": reading.users}
    return {**figures, **told, **({prom.confident_value: reading.confident_value} if prom.bound else {})}
