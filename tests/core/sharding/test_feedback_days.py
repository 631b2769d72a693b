"""Days of feedback tell of the constants that are in force, also after these have changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.evaluation import Evaluation
from qoemon.core.feedback.conditions import NO_RATING
from qoemon.core.feedback.day import DaySums, floating
from qoemon.core.feedback.prediction import predicted
from qoemon.core.plan.plan import Feedback, Plan, Service
from qoemon.core.qoe.scale import Scale
from tests.support.core import MEDIA, T0, VIDEO, WEB, plan
from tests.support.opinions import Core, Sent, sent, viewing

DAY = T0 // DAY_S
RATED = [
    *viewing(58, "a", stall_s=6),
    sent(59, "a", rating=2, seq=1000),
    *viewing(58, "b"),
    sent(59, "b", rating=5, thumb="up", seq=1000),
    *viewing(58, "c"),
    *viewing(58, "d", stall_s=30),
    sent(59, "d", asked=True, seq=1000),
]


def told(*services: Service) -> Plan:
    return replace(plan(*services), feedback=Feedback(scores=("face",)))


def after(before: Plan, messages: list[Sent], now: Plan) -> Evaluation:
    """An evaluation with `now` that has loaded the state of one with `before`."""
    core = Core(before)
    core.run(messages, 600)
    again = Evaluation(now, (), RegimeRules())
    again.load(core.evaluation.dump())
    return again


def only_day(evaluation: Evaluation, service: str = "video") -> DaySums:
    days = evaluation.feedback[service]
    assert [*days] == [DAY]
    return days[DAY]


def lower(service: Service) -> Service:
    """The service with a ceiling of 4.4."""
    return replace(service, mapping=service.mapping.with_parameters({"scale": 2.9}))


def test_with_other_constants_the_same_answers_are_compared_anew() -> None:
    now = lower(VIDEO)
    found = only_day(after(told(VIDEO), RATED, told(now)))
    play_s = 58 - 6
    stalled = now.mapping(np.array([60 / play_s]), np.array([6 * 60 / play_s]))[0]
    mean = predicted(np.array([stalled, now.mapping(np.zeros(1), np.zeros(1))[0]]), VIDEO.theta).mean
    # The bin is a second of stalling wide.
    assert floating(found.predicted).sum() == pytest.approx(mean.sum(), abs=0.1)
    assert (found.histogram.sum(axis=0).tolist(), found.sessions.sum(), found.asked.sum()) == (
        [0, 1, 0, 0, 1],
        4,
        3,
    )
    assert found.thumbs_up.sum() == 1
    assert found.scores == ("face",)


def test_a_restart_without_a_change_has_the_same_sums_to_the_last_digit() -> None:
    core = Core(told(VIDEO))
    core.run(RATED, 600)
    before = core.evaluation.feedback["video"][DAY].dump()
    core.restart()
    restored = core.evaluation.feedback["video"][DAY].dump()
    assert all(np.array_equal(before[name], restored[name]) for name in before)


def test_another_theta_moves_the_variances_and_no_mean() -> None:
    before, now = told(VIDEO), told(replace(VIDEO, theta=0.1))
    as_was, found = (only_day(after(before, RATED, each)) for each in (before, now))
    assert floating(found.variances).sum() < 0.5 * floating(as_was.variances).sum()
    assert found.histogram.tolist() == as_was.histogram.tolist()


def test_totals_stay_as_they_were_predicted() -> None:
    core = Core(told(VIDEO))
    was = core.run(RATED, 600)[-1].snapshot.services[0].counts.feedback
    again = Core(told(lower(VIDEO)))
    again.evaluation.load(core.evaluation.dump())
    found = again.run([], 610)[-1].snapshot.services[0].counts.feedback
    assert all(np.array_equal(getattr(was, name), getattr(found, name)) for name in vars(was))


def test_where_only_the_predicted_mos_is_kept_other_constants_begin_anew() -> None:
    measured = b'"measures": {"q": 3.0}, "seq"'
    shown = [each._replace(payload=each.payload.replace(b'"seq"', measured)) for each in viewing(58)]
    rated = [*shown, sent(70, rating=3)]
    assert only_day(after(told(MEDIA), rated, told(replace(MEDIA, theta=0.1)))).histogram.sum() == 1
    now = replace(MEDIA, mapping=MEDIA.mapping.with_parameters({"time": 2.0}))
    assert after(told(MEDIA), rated, told(now)).feedback["video"] == {}


def test_on_another_scale_feedback_begins_anew() -> None:
    now = replace(VIDEO, scale=Scale(1, 7, 5, 3), mapping=replace(VIDEO.mapping, scale=Scale(1, 7, 5, 3)))
    assert after(told(VIDEO), RATED, told(now)).feedback["video"] == {}


def test_answers_are_kept_by_condition() -> None:
    core = Core(told(VIDEO, WEB))
    pages = [sent(65 + s, "w", "web", seq=s, response_s=s) for s in (1, 4)]
    core.run([*RATED, *pages, sent(75, "w", "web", rating=4, seq=99)], 600)
    kept = core.evaluation.answers["video"].days[DAY]
    assert sorted(map(tuple, kept.cells[:, 1:].tolist())) == sorted(
        [(0, NO_RATING, 0), (1, NO_RATING, 0), (1, 2, 0), (1, 5, 1)]
    )
    assert kept.counts.tolist() == [1, 1, 1, 1]
    [[condition, *_]] = core.evaluation.answers["web"].days[DAY].cells.tolist()
    # Bins of response times are equally wide on a scale of logarithms.
    assert WEB.bins.conditions[0][condition] == pytest.approx(2, rel=0.02)
