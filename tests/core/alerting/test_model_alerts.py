"""Alerts on the model of a service: they follow its check day by day, and neither flap nor get lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from qoemon.core.alerting.alerts import Alert, Alerts
from qoemon.core.alerting.decision import QUIET, AlertState, Reason
from qoemon.core.alerting.figures import SINCE_S
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.evaluation import Tick
from qoemon.core.feedback.check import ModelCheck, ModelState, Way
from qoemon.core.plan.plan import Plan
from qoemon.core.snapshot.snapshot import Snapshot
from tests.support.core import T0, VIDEO, WEB, plan
from tests.support.opinions import ALIKE, LOW, USUAL, WORST, Core, rated_days, times_of_days

PLAN = plan(VIDEO, WEB)
RULE = Rule("ModelOff", "video", AlertMetric.MODEL, 60, 1, 1, {}, confident=False, severity="info", by=())
OF_WEB = replace(RULE, service="web")
OFF = [WORST] * 6
"""Ratings of days on which all users rate far lower than predicted."""


def run(days: Sequence[Sequence[int]], told: Plan = PLAN, more_days: int = 1) -> tuple[Core, list[Tick]]:
    """A feed with these ratings, and some days without."""
    core = Core(told, rules=(RULE, OF_WEB))
    return core, core.run_at(rated_days(days), times_of_days(len(days) + more_days))


def alert_of(tick: Tick) -> Alert:
    (alert,) = [each for each in tick.detections.alerts if each.rule is RULE]
    return alert


def changes(ticks: Sequence[Tick]) -> list[tuple[int, AlertState, Reason]]:
    """Each change of the alert after the first tick: the day after T0, the state and the reason."""
    every = [(tick.snapshot.time_s, alert_of(tick)) for tick in ticks[1:]]
    return [((at - T0) // DAY_S, one.decision.state, one.decision.reason) for at, one in every if one.changed]


def test_an_alert_fires_once_with_its_way_and_since_when() -> None:
    _, ticks = run(OFF)
    assert len(changes(ticks)) == 1
    day, state, reason = changes(ticks)[0]
    assert (state, reason) == (AlertState.FIRING, Reason.RATED_LOWER)
    assert 2 <= day <= 3
    last = alert_of(ticks[-1])
    assert last.figures[SINCE_S] == T0 // DAY_S * DAY_S
    assert (last.figures["users"], last.figures["days"]) == (120, 6)
    assert last.figures["lower"] <= last.figures["bias"] <= last.figures["upper"] < -0.5
    assert last.group == ()


def test_it_ends_when_users_rate_as_predicted_again() -> None:
    _, ticks = run([*OFF, *[USUAL] * 14])
    found = [(state, reason) for _, state, reason in changes(ticks)]
    assert found == [(AlertState.FIRING, Reason.RATED_LOWER), (AlertState.INACTIVE, Reason.AS_PREDICTED)]


def test_it_ends_when_there_are_too_few_ratings_for_long() -> None:
    _, ticks = run([*OFF, *[()] * 40])
    found = [(state, reason) for _, state, reason in changes(ticks)]
    assert found == [(AlertState.FIRING, Reason.RATED_LOWER), (AlertState.INACTIVE, Reason.TOO_FEW_RATINGS)]


def test_a_service_without_ratings_has_too_few() -> None:
    _, ticks = run(OFF)
    (web,) = [each for each in ticks[-1].detections.alerts if each.rule is OF_WEB]
    assert (web.decision.state, web.decision.reason) == (AlertState.INACTIVE, Reason.TOO_FEW_RATINGS)


def test_it_is_no_state_of_the_service() -> None:
    """The state says how users are, and the model predicts that."""
    _, ticks = run(OFF)
    assert alert_of(ticks[-1]).firing
    assert ticks[-1].detections.states["video"].whole.alerts == ()


def test_a_day_is_judged_once_its_last_ratings_have_come() -> None:
    """Clients that keep reports deliver them for as long as the longest window."""
    core = Core(PLAN, rules=(RULE, OF_WEB))
    midnight = -T0 % DAY_S
    core.run_at(rated_days(OFF[:3]), times_of_days(3))
    quarter = range(2 * DAY_S + midnight, 2 * DAY_S + midnight + 901, 60)
    judged = [tick.snapshot.feedback["video"].check.witnesses for tick in core.run_at([], quarter)]
    late_s = 600 + 60
    assert judged == [2 + (at >= quarter[0] + late_s) for at in quarter]


def test_the_decision_survives_a_restart() -> None:
    core, ticks = run(OFF)
    before = alert_of(ticks[-1])
    core.restart()
    after = alert_of(core.run_at([], [7 * DAY_S + 210])[0])
    assert after.firing
    assert not after.changed
    assert after.decision.since_s == before.decision.since_s
    assert after.decision.last_figures is not None


FITTED = {
    Reason.RATED_LOWER: (LOW, replace(VIDEO, mapping=VIDEO.mapping.with_parameters({"scale": 1.63}))),
    Reason.RATED_NARROWER: (ALIKE, replace(VIDEO, theta=0.1, theta_band=())),
}
"""Ratings of each day, and the service with constants that fit them."""


@pytest.mark.parametrize("reason", FITTED)
def test_with_new_constants_that_fit_it_ends_once(reason: Reason) -> None:
    """The days are compared with the new constants, and receivers get to know that the alert has ended."""
    said, fitted = FITTED[reason]
    core, ticks = run([said] * 12)
    assert alert_of(ticks[-1]).decision.reason is reason
    core.restart(plan(fitted, WEB))
    after = core.run_at([], [13 * DAY_S + 210, 13 * DAY_S + 220])
    ended = alert_of(after[0])
    assert ended.ended
    assert ended.decision.reason is Reason.AS_PREDICTED
    assert [alert_of(tick).changed for tick in after] == [True, False]


def with_check(snapshot: Snapshot, off: bool, time_s: int) -> Snapshot:
    feedback = snapshot.feedback["video"]
    state = (ModelState.OFF, Way.WIDER, 1) if off else (ModelState.HOLDS, None, None)
    changed = replace(feedback, check=ModelCheck(*state, witnesses=9))
    return replace(snapshot, time_s=time_s, feedback={**snapshot.feedback, "video": changed})


def test_late_corrections_never_let_it_flap_within_a_day() -> None:
    """Random checks all day: it fires and ends at most once a day, also over restarts."""
    snapshot = run([()])[1][-1].snapshot
    alerts, fired, rng = Alerts([RULE]), [], np.random.default_rng(3)
    for at_s in range(T0, T0 + 30 * DAY_S, 3600):
        if rng.random() < 0.1:
            stored, alerts = alerts.dump(), Alerts([RULE])
            alerts.load(stored)
        (alert,) = alerts.decide(with_check(snapshot, bool(rng.random() < 0.5), at_s))
        if alert.firing and alert.changed:
            assert alert.decision.reason is Reason.RATED_WIDER
            fired.append(at_s // DAY_S)
    assert len(fired) == len(set(fired))
    assert len(fired) > 20


def test_a_rule_that_is_new_fires_at_once() -> None:
    snapshot = run([()])[1][-1].snapshot
    (alert,) = Alerts([RULE]).decide(with_check(snapshot, off=True, time_s=T0))
    assert alert.before == QUIET
    assert alert.firing
