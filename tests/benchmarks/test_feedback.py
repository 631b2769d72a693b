"""The simulated services of `make feedback` are those that its tables describe."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.feedback import asking, detector, fit, scores
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


@pytest.mark.parametrize(
    ("part", "sizes", "rows"),
    [
        (detector, {"CALM_RUNS": 2, "RUNS": 3}, 10),
        (asking, {"SESSIONS": 2000}, 6),
        (fit, {"RUNS": 2}, 7),
        (scores, {"RUNS": 2}, 6),
    ],
)
def test_every_part_yields_its_figures(
    part: object, sizes: dict[str, int], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in sizes.items():
        monkeypatch.setattr(part, name, size)
    found = list(part.rows())
    assert len(found) == rows
    assert all(np.isfinite(row.value) for row in found)
