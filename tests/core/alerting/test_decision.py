"""Alert decisions: a table, properties of random histories, and a twin that evaluates the whole history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qoemon.core.alerting.decision import QUIET, AlertState, Decision, Reason, Sample, decide, forget
from qoemon.core.alerting.model import CAUSES
from qoemon.core.alerting.rule import AlertMetric, Rule

RULE = Rule(
    name="ManyPoor",
    service="video",
    metric=AlertMetric.POW,
    window_s=60,
    threshold=0.2,
    recovery=0.1,
    groups={},
    min_sessions=20,
    all_thetas=True,
)
SLOW = replace(RULE, for_s=30)
MODEL = Rule("ModelOff", "video", AlertMetric.MODEL, 60, 1, 1, {}, confident=False, by=())
MANY = settings(max_examples=300)

SILENT = Rule("Silent", "video", AlertMetric.ABSENT, 60, 120, 0, {}, confident=False, by=())
CALM = Decision(AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD, 10.0)
WAITING = Decision(AlertState.PENDING, Reason.NOT_LONG_ENOUGH, 70.0, 70.0)
ALARMED = Decision(AlertState.FIRING, Reason.PAST_THRESHOLD, 50.0, 20.0)

Story = list[tuple[float, Sample | None]]
"""Time and sample of each tick."""


def sampled(
    value: float, confident_value: float | None = None, thetas: tuple[float, ...] = (), users: int = 100
) -> Sample:
    """A sample; the bound defaults to the value."""
    return Sample(value, value if confident_value is None else confident_value, thetas, users)


BAD, FINE = sampled(0.3), sampled(0.05)
FEED, CATCHING_UP = (replace(BAD, obstacle=each) for each in (Reason.FEED, Reason.CATCHING_UP))
"""Values that cannot be trusted."""
CUT_OFF = replace(BAD, cause=Reason.NOT_CONNECTED)
OFF, NOT_OFF = sampled(1), sampled(0)
TABLE = [
    # Nothing before: as good as calm.
    (RULE, QUIET, BAD, AlertState.FIRING, Reason.PAST_THRESHOLD),
    (RULE, QUIET, None, AlertState.INACTIVE, Reason.NO_DATA),
    # Calm.
    (RULE, CALM, None, AlertState.INACTIVE, Reason.NO_DATA),
    (RULE, CALM, sampled(0.3, users=8), AlertState.INACTIVE, Reason.TOO_FEW_SESSIONS),
    (RULE, CALM, sampled(0.3, users=20), AlertState.FIRING, Reason.PAST_THRESHOLD),
    (RULE, CALM, sampled(0.199), AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD),
    (RULE, CALM, sampled(0.15), AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD),
    (RULE, CALM, sampled(0.2), AlertState.FIRING, Reason.PAST_THRESHOLD),
    (RULE, CALM, sampled(0.3, 0.19), AlertState.UNCERTAIN, Reason.BOUND_NOT_PAST_THRESHOLD),
    (RULE, CALM, sampled(0.3, thetas=(0.25, 0.19)), AlertState.UNCERTAIN, Reason.THETAS_DISAGREE),
    (RULE, CALM, sampled(0.3, 0.2, (0.25, 0.2)), AlertState.FIRING, Reason.PAST_THRESHOLD),
    # One that another daemon began ends when the window has been filled here; what has no window ends at once.
    (RULE, replace(ALARMED, adopted_s=41), FINE, AlertState.FIRING, Reason.STARTING),
    (RULE, replace(ALARMED, adopted_s=40), FINE, AlertState.INACTIVE, Reason.RECOVERED),
    (RULE, replace(ALARMED, adopted_s=99), BAD, AlertState.FIRING, Reason.PAST_THRESHOLD),
    (SILENT, replace(ALARMED, adopted_s=99), sampled(0), AlertState.INACTIVE, Reason.RECOVERED),
    # A feed that cannot be trusted starts no alert, and ends none.
    (RULE, CALM, FEED, AlertState.UNCERTAIN, Reason.FEED),
    (RULE, CALM, CATCHING_UP, AlertState.UNCERTAIN, Reason.CATCHING_UP),
    (RULE, CALM, replace(FINE, obstacle=Reason.FEED), AlertState.UNCERTAIN, Reason.FEED),
    (RULE, CALM, replace(FEED, users=8), AlertState.INACTIVE, Reason.TOO_FEW_SESSIONS),
    (SLOW, WAITING, FEED, AlertState.UNCERTAIN, Reason.FEED),
    (RULE, ALARMED, FEED, AlertState.FIRING, Reason.FEED),
    (RULE, ALARMED, replace(FINE, obstacle=Reason.CATCHING_UP), AlertState.FIRING, Reason.CATCHING_UP),
    # Of several obstacles the first one is the reason.
    (RULE, CALM, sampled(0.1, 0.05, (0.01,), users=3), AlertState.INACTIVE, Reason.TOO_FEW_SESSIONS),
    (RULE, CALM, sampled(0.3, 0.05, (0.01,)), AlertState.UNCERTAIN, Reason.BOUND_NOT_PAST_THRESHOLD),
    # Disabled conditions are not checked.
    (replace(RULE, confident=False), CALM, sampled(0.3, 0.01), AlertState.FIRING, Reason.PAST_THRESHOLD),
    (replace(RULE, all_thetas=False), CALM, sampled(0.3, thetas=(0.01,)), AlertState.FIRING, Reason.PAST_THRESHOLD),
    (replace(RULE, min_sessions=0), CALM, sampled(0.3, users=0), AlertState.FIRING, Reason.PAST_THRESHOLD),
    # Not for long enough: at 100, past since 70.
    (SLOW, CALM, BAD, AlertState.PENDING, Reason.NOT_LONG_ENOUGH),
    (SLOW, WAITING, BAD, AlertState.FIRING, Reason.PAST_THRESHOLD),
    (replace(SLOW, for_s=30.5), WAITING, BAD, AlertState.PENDING, Reason.NOT_LONG_ENOUGH),
    (SLOW, WAITING, None, AlertState.INACTIVE, Reason.NO_DATA),
    (SLOW, WAITING, sampled(0.3, 0.1), AlertState.UNCERTAIN, Reason.BOUND_NOT_PAST_THRESHOLD),
    (SLOW, WAITING, sampled(0.15), AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD),
    # Firing: the value alone decides when it is over.
    (RULE, ALARMED, BAD, AlertState.FIRING, Reason.PAST_THRESHOLD),
    (RULE, ALARMED, sampled(0.3, 0.01, (0.01,)), AlertState.FIRING, Reason.PAST_THRESHOLD),
    (RULE, ALARMED, sampled(0.15), AlertState.FIRING, Reason.NOT_YET_RECOVERED),
    (RULE, ALARMED, sampled(0.101), AlertState.FIRING, Reason.NOT_YET_RECOVERED),
    (RULE, ALARMED, sampled(0.1), AlertState.INACTIVE, Reason.RECOVERED),
    (RULE, ALARMED, FINE, AlertState.INACTIVE, Reason.RECOVERED),
    (RULE, ALARMED, None, AlertState.FIRING, Reason.NO_DATA),
    (RULE, ALARMED, sampled(0.0, users=19), AlertState.FIRING, Reason.TOO_FEW_SESSIONS),
    # The cause of a value is the reason while it fires.
    (RULE, CALM, CUT_OFF, AlertState.FIRING, Reason.NOT_CONNECTED),
    (RULE, ALARMED, CUT_OFF, AlertState.FIRING, Reason.NOT_CONNECTED),
    (RULE, CALM, replace(FINE, cause=Reason.NOT_CONNECTED), AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD),
    *((MODEL, CALM, replace(OFF, cause=cause), AlertState.FIRING, cause) for cause in CAUSES.values()),
    (MODEL, ALARMED, replace(OFF, cause=Reason.RATED_WIDER), AlertState.FIRING, Reason.RATED_WIDER),
    (MODEL, CALM, replace(OFF, obstacle=Reason.ENDED_TODAY), AlertState.INACTIVE, Reason.ENDED_TODAY),
    # What is known better of a value that fires nothing is the reason while it does not fire, and of the end.
    (MODEL, CALM, replace(NOT_OFF, why_not=Reason.AS_PREDICTED), AlertState.INACTIVE, Reason.AS_PREDICTED),
    (MODEL, ALARMED, replace(NOT_OFF, why_not=Reason.AS_PREDICTED), AlertState.INACTIVE, Reason.AS_PREDICTED),
    (MODEL, ALARMED, replace(NOT_OFF, why_not=Reason.TOO_FEW_RATINGS), AlertState.INACTIVE, Reason.TOO_FEW_RATINGS),
]


@pytest.mark.parametrize(("rule", "before", "sample", "state", "reason"), TABLE)
def test_each_reading_has_its_decision_and_reason(
    rule: Rule, before: Decision, sample: Sample | None, state: AlertState, reason: Reason
) -> None:
    decision = decide(rule, before, sample, 100.0)
    assert (decision.state, decision.reason) == (state, reason)


def test_the_table_has_every_reason_but_those_without_a_sample() -> None:
    without = {Reason.GONE, Reason.IDLE}
    assert {reason for *_, reason in TABLE} == set(Reason) - without
    assert {state for *_, state, _ in TABLE} == set(AlertState)


@pytest.mark.parametrize(
    ("before", "reason"), [(CALM, Reason.GONE), (WAITING, Reason.GONE), (ALARMED, Reason.IDLE)]
)
def test_an_alert_of_a_group_that_is_gone_is_over(before: Decision, reason: Reason) -> None:
    gone = forget(before, 100.0)
    assert (gone.state, gone.reason, gone.breach_since_s) == (AlertState.INACTIVE, reason, None)


@pytest.mark.parametrize(
    ("missing", "quiet"),
    [
        (Reason.NO_DATA, AlertState.INACTIVE),
        (Reason.STARTING, AlertState.UNCERTAIN),
        (Reason.NOT_CONNECTED, AlertState.UNCERTAIN),
    ],
)
def test_without_a_sample_nothing_starts_or_ends_and_the_reason_is_why_there_is_none(
    missing: Reason, quiet: AlertState
) -> None:
    for before, state in ((CALM, quiet), (WAITING, quiet), (ALARMED, AlertState.FIRING)):
        decision = decide(RULE, before, None, 100, missing)
        assert (decision.state, decision.reason) == (state, missing)


def test_a_fall_needs_a_part_beyond_the_usual_variation_and_not_the_whole_threshold() -> None:
    drop = replace(RULE, metric=AlertMetric.DROP, threshold=0.4, recovery=0.25)
    assert decide(drop, CALM, sampled(0.5, 0.0), 100).reason is Reason.PAST_THRESHOLD
    assert decide(drop, CALM, sampled(0.5, -0.01), 100).reason is Reason.BOUND_NOT_PAST_THRESHOLD
    assert decide(drop, CALM, sampled(0.39, 0.1), 100).reason is Reason.NOT_PAST_THRESHOLD


@pytest.mark.parametrize("metric", [AlertMetric.MOS, AlertMetric.GOB, AlertMetric.QUANTILE])
def test_a_rule_on_what_is_good_when_high_is_entered_from_above(metric: AlertMetric) -> None:
    low = replace(RULE, metric=metric, threshold=3.0, recovery=3.5)
    decided = [
        decide(low, before, sampled(value), 100.0).reason for before in (CALM, ALARMED) for value in (2, 3.2, 4)
    ]
    assert decided == [
        *(Reason.PAST_THRESHOLD, Reason.NOT_PAST_THRESHOLD, Reason.NOT_PAST_THRESHOLD),
        *(Reason.PAST_THRESHOLD, Reason.NOT_YET_RECOVERED, Reason.RECOVERED),
    ]
    assert decide(low, CALM, sampled(2.9, 3.1), 100.0).reason is Reason.BOUND_NOT_PAST_THRESHOLD


def test_a_state_began_when_it_was_first_decided() -> None:
    story: Story = [(10, FINE), (20, None), (30, BAD), (40, BAD), (60, BAD), (70, None), (80, FINE), (90, FINE)]
    decided = decisions(SLOW, story)
    assert [d.since_s for d in decided] == [10, 10, 30, 30, 60, 60, 80, 80]
    assert [d.breach_since_s for d in decided] == [None, None, 30, 30, 30, 30, None, None]


# Figures from good to bad; recovery is the second, threshold the fourth.
FIGURES = {AlertMetric.POW: (0.05, 0.1, 0.15, 0.2, 0.3), AlertMetric.MOS: (4.5, 4.0, 3.5, 3.0, 2.0)}


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    metric = draw(st.sampled_from(sorted(FIGURES)))
    _, recovery, _, threshold, _ = FIGURES[metric]
    return replace(
        RULE,
        metric=metric,
        threshold=threshold,
        recovery=draw(st.sampled_from([recovery, threshold])),
        for_s=draw(st.sampled_from([0, 2, 5])),
        min_sessions=draw(st.sampled_from([0, 2])),
        confident=draw(st.booleans()),
        all_thetas=draw(st.booleans()),
    )


@st.composite
def stories(draw: st.DrawFn, metric: AlertMetric) -> Story:
    """Ticks of 1 to 3 s, with exaggerated problems and certainty, so that states change often."""
    values = FIGURES[metric]
    times = accumulate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=25)))
    return [(float(at_s), draw(_readings(values))) for at_s in times]


@st.composite
def _readings(draw: st.DrawFn, values: Sequence[float]) -> Sample | None:
    kind = draw(st.sampled_from(["bad", "bad", "bad", "fine", "any", "any", "none"]))
    if kind == "none":
        return None
    if kind == "bad":
        return sampled(draw(st.sampled_from(values[3:])), values[3], (values[3], values[4]), 2)
    if kind == "fine":
        return sampled(draw(st.sampled_from(values[:2])), values[0], (values[0],), 2)
    number = draw(st.integers(0, 4))
    confident_value = values[draw(st.integers(0, number))]
    thetas = draw(st.lists(st.sampled_from(values), max_size=2))
    return Sample(values[number], confident_value, tuple(thetas), draw(st.integers(0, 3)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Rule, Story]:
    rule = draw(rules())
    return rule, draw(stories(rule.metric))


def decisions(rule: Rule, story: Story) -> list[Decision]:
    decided = [QUIET]
    for at_s, sample in story:
        decided.append(decide(rule, decided[-1], sample, at_s))
    return decided[1:]


def worse(rule: Rule, value: float, threshold: float) -> bool:
    """Whether the value is strictly past the threshold."""
    return value > threshold if rule.metric is AlertMetric.POW else value < threshold


def breached(rule: Rule, sample: Sample | None) -> bool:
    if sample is None or sample.users < rule.min_sessions:
        return False
    compared = [
        sample.value,
        *[sample.confident_value] * rule.confident,
        *(sample.by_theta if rule.all_thetas else ()),
    ]
    return all(value == rule.threshold or worse(rule, value, rule.threshold) for value in compared)


def recovered(rule: Rule, sample: Sample | None) -> bool:
    if sample is None or sample.users < rule.min_sessions or sample.value == rule.threshold:
        return False
    return not worse(rule, sample.value, rule.threshold) and not worse(rule, sample.value, rule.recovery)


@MANY
@given(cases())
def test_nothing_fires_that_was_not_breached_for_long_enough(case: tuple[Rule, Story]) -> None:
    rule, story = case
    decided = decisions(rule, story)
    for at, (before, now) in enumerate(pairwise([QUIET, *decided])):
        if now.state is not AlertState.FIRING or before.state is AlertState.FIRING:
            continue
        run = at
        while run and breached(rule, story[run - 1][1]):
            run -= 1
        assert breached(rule, story[at][1])
        assert story[at][0] - story[run][0] >= rule.for_s


@MANY
@given(cases())
def test_what_fires_ends_only_when_it_is_seen_to_be_over(case: tuple[Rule, Story]) -> None:
    """Never while the value is past `recovery`, and never because data is missing."""
    rule, story = case
    decided = decisions(rule, story)
    for (_, sample), (before, now) in zip(story[1:], pairwise(decided), strict=True):
        if before.state is AlertState.FIRING:
            assert (now.state is AlertState.FIRING) != recovered(rule, sample)


def twin(rule: Rule, story: Story) -> tuple[AlertState, Reason, float | None]:
    """State, reason and beginning of the breach, computed from the whole history without any state."""
    if (began := _firing_for(rule, story)) is not None:
        return AlertState.FIRING, _why_firing(rule, story[-1][1]), began
    if _firing_for(rule, story[:-1]) is not None:
        return AlertState.INACTIVE, Reason.RECOVERED, None
    sample = story[-1][1]
    if breached(rule, sample):
        return AlertState.PENDING, Reason.NOT_LONG_ENOUGH, _past_since(rule, story)
    return *_why_not(rule, sample), None


def _why_not(rule: Rule, sample: Sample | None) -> tuple[AlertState, Reason]:
    if sample is None:
        return AlertState.INACTIVE, Reason.NO_DATA
    if sample.users < rule.min_sessions:
        return AlertState.INACTIVE, Reason.TOO_FEW_SESSIONS
    if not breached(replace(rule, confident=False, all_thetas=False), sample):
        return AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD
    if not breached(replace(rule, all_thetas=False), sample):
        return AlertState.UNCERTAIN, Reason.BOUND_NOT_PAST_THRESHOLD
    return AlertState.UNCERTAIN, Reason.THETAS_DISAGREE


def _past_since(rule: Rule, story: Story) -> float:
    """Beginning of the run of breaches that ends with the history."""
    doubted = [at for at, (_, sample) in enumerate(story) if not breached(rule, sample)]
    return story[doubted[-1] + 1 if doubted else 0][0]


def _firing_for(rule: Rule, story: Story) -> float | None:
    """Beginning of the breach of the first alarm after the last recovery; None if there is none."""
    over = [at for at, (_, sample) in enumerate(story) if recovered(rule, sample)]
    for end in range(over[-1] + 1 if over else 0, len(story)):
        at_s, sample = story[end]
        if breached(rule, sample) and at_s - (since_s := _past_since(rule, story[: end + 1])) >= rule.for_s:
            return since_s
    return None


def _why_firing(rule: Rule, sample: Sample | None) -> Reason:
    if sample is None:
        return Reason.NO_DATA
    if sample.users < rule.min_sessions:
        return Reason.TOO_FEW_SESSIONS
    past = sample.value == rule.threshold or worse(rule, sample.value, rule.threshold)
    return Reason.PAST_THRESHOLD if past else Reason.NOT_YET_RECOVERED


@MANY
@given(cases())
def test_decisions_are_those_of_a_twin_that_looks_at_the_whole_past(case: tuple[Rule, Story]) -> None:
    rule, story = case
    decided = decisions(rule, story)
    expected = [twin(rule, story[: at + 1]) for at in range(len(story))]
    assert [(d.state, d.reason, d.breach_since_s) for d in decided] == expected
    states = [state for state, *_ in expected]
    for at, decision in enumerate(decided):
        run = next(first for first in range(at + 1) if set(states[first : at + 1]) == {states[at]})
        assert decision.since_s == story[run][0]
