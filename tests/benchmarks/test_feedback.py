"""The simulated services of `make feedback` are those that its tables describe."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.feedback.simulated import SERVICES, history
from qoemon.core.feedback.day import floating


@pytest.mark.parametrize("service", SERVICES)
def test_a_simulated_service_has_the_shift_and_the_theta_that_it_is_given(service: str) -> None:
    rng = np.random.default_rng(1)
    calm, shifted, narrow = (
        history(service, 2, [shift] * 3, 2000, rng, theta=theta, between=0)
        for shift, theta in ((0, 0.3), (-0.5, 0.3), (0, 0.1))
    )
    assert calm.sessions.shape == (3, 2, 4)
    bias = [floating(each.residuals).sum() / each.answered.sum() for each in (calm, shifted)]
    assert bias[0] == pytest.approx(0, abs=0.04)
    assert bias[1] == pytest.approx(-0.47, abs=0.08)
    spread = [each.middle_squares.sum() / each.middle_variances.sum() for each in (calm, narrow)]
    assert spread[0] == pytest.approx(1, abs=0.06)
    assert spread[1] < 0.5


def test_days_resemble_the_day_before_as_much_as_they_are_said_to() -> None:
    days = history("web", 60, [0] * 60, 400, np.random.default_rng(1), between=0.3, alike=0.5)
    daily = floating(days.residuals).sum(axis=-1) / days.answered.sum(axis=-1)
    assert np.corrcoef(daily[:-1].ravel(), daily[1:].ravel())[0, 1] == pytest.approx(0.5, abs=0.08)
    assert daily.std() == pytest.approx(0.3, abs=0.05)
