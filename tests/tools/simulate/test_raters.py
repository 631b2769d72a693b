"""Simulated users rate by the model of their service, or by one that is off, and the core sees by how much."""

from __future__ import annotations

import json

import pytest

from qoemon.core.feedback.day import floating
from qoemon.tools.simulate.raters import Raters
from qoemon.tools.simulate.simulate import SCENARIOS, Population, Scenario, groups
from tests.support.core import T0, VIDEO, WEB, plan
from tests.support.opinions import Core, Sent

PLAN = plan(VIDEO, WEB)


def sent(scenario: Scenario, share: float, off: float, length_s: int) -> list[Sent]:
    raters = Raters((VIDEO, WEB), share, off, interval_s=60, seed=1)
    users = Population(
        groups(), sessions=300, scenario=scenario, seed=1, start_s=T0, raters=raters, report_every_s=10
    )
    return [
        Sent(json.dumps(report).encode(), users.now_s, f"qoe/v1/{service}/{labels['region']}")
        for at_s in range(5, length_s, 5)
        for service, labels, report in users.step(T0 + at_s)
    ]


def test_only_some_sessions_rate_and_only_at_their_end() -> None:
    reports = [each.report for each in sent(SCENARIOS["calm"], 0.3, 0, 300)]
    rated = [report for report in reports if "rating" in report]
    assert all(report["end"] and report["asked"] for report in rated)
    ended = [report for report in reports if report.get("end")]
    assert 0.2 < len(rated) / len(ended) < 0.4


@pytest.mark.parametrize(("off", "least", "most"), [(0.0, -0.1, 0.1), (0.8, -1.0, -0.6)])
def test_the_core_sees_by_how_much_the_model_is_off(off: float, least: float, most: float) -> None:
    """Mean residual of 412 sessions. At the low end of the scale, MOS cannot fall by as much."""
    core = Core(PLAN)
    core.run(sent(SCENARIOS["demo"].lasting(900), 1, off, 900), 1300)
    days = core.evaluation.feedback["video"].values()
    residuals = sum(floating(day.residuals).sum() for day in days)
    answered = sum(int(day.answered.sum()) for day in days)
    assert answered > 300
    assert least < residuals / answered < most
