"""The check of the model: a shift and a wrong theta are found and dated; chance and few ratings raise nothing."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.core.feedback.check import CheckRules, ModelState, Way, Witness, check, follow, of_bias, of_spread
from qoemon.core.feedback.day import DaySums, stacked
from qoemon.core.feedback.prediction import predicted
from qoemon.core.qoe.scale import ACR5, Scale
from tests.support.feedback import day_of, drawn

HUNDRED = Scale(low=0, high=100, good=60, poor=40)
RULES = CheckRules()
FIRST = 20_000
"""Number of the first day."""


def history(
    shifts: list[float], ratings: int = 200, theta: float = 0.3, scale: Scale = ACR5, seed: int = 1
) -> DaySums:
    """A day for each shift of the opinions; theta of the users, where the model has .3."""
    rng = np.random.default_rng(seed)
    days = []
    for shift in shifts:
        mos = rng.uniform(2, 4.5, ratings)
        of = scale.low + (scale.high - scale.low) * (np.stack([mos, np.clip(mos + shift, 1, 5)]) - 1) / 4
        ours, true = (predicted(each, at, scale) for each, at in zip(of, (0.3, theta), strict=True))
        days.append(day_of(drawn(true.shares, rng, scale), ours, scale=scale))
    return stacked(days)


def states(sums: DaySums, scale: Scale = ACR5) -> list[tuple[ModelState, Way | None, int | None]]:
    """After each day, as the daemon asks: with the days up to it."""
    numbers = np.arange(FIRST, FIRST + len(sums.sessions))
    found = [check(numbers[:at], sums.day(slice(at)), FIRST + at, scale) for at in range(1, len(numbers) + 1)]
    return [(each.state, each.way, each.since) for each in found]


def test_evidence_adds_up_as_in_a_slow_loop() -> None:
    rng = np.random.default_rng(2)
    deviation, chance = rng.normal(0.15, 0.3, (70, 3)), rng.uniform(0.001, 0.05, (70, 3))
    counts = rng.random((70, 3)) < 0.8
    found = follow(Witness(deviation, chance, counts, tolerance=0.1, usual=0.2), RULES)
    for service in range(3):
        tau2, total, off, since = 0.2**2, [0.0, 0.0], [False, False], [0, 0]
        seen: list[tuple[float, float]] = []
        for day in range(70):
            d, c = deviation[day, service], chance[day, service]
            if counts[day, service]:
                for side, sign in enumerate((1, -1)):
                    step = max(-4, min(4, (sign * d - 0.1) / (c + tau2) ** 0.5))
                    moved = max(0, total[side] + step - 0.5)
                    if total[side] == 0 and moved > 0:
                        since[side] = day
                    off[side] = (off[side] and moved > 0) or moved > 6
                    total[side] = min(moved, 6) if off[side] else moved
                if seen:
                    k, (mean, mean_chance) = len(seen), np.mean(seen, axis=0)
                    # Of a mean of k days before: its distance has the variance of both.
                    by_chance = (c + mean_chance / k) * k / (k + 1)
                    most = 4 * (tau2 + by_chance)
                    excess = max(-most, min(most, (d - mean) ** 2 * k / (k + 1) - by_chance))
                    tau2 = max(0, tau2 + (excess - tau2) / min(k + 20, 60))
                seen.append((d, c))
            assert found.off[day, service].tolist() == off
            assert found.since[day, service].tolist() == since


def test_a_day_without_ratings_changes_nothing_even_if_all_days_before_were_equal() -> None:
    """Days that do not differ at all have no variance between them."""
    day = day_of(np.full(20, 1.0), predicted(np.full(20, 3.4), 0.3, ACR5))
    found = states(stacked([*[day] * 6, *[DaySums.nothing(5, ())] * 3]))
    assert found[5:] == [(ModelState.OFF, Way.LOWER, FIRST)] * 4


@pytest.mark.parametrize(("shift", "way"), [(-0.5, Way.LOWER), (0.5, Way.HIGHER)])
def test_a_shift_is_found_and_dated_and_ends(shift: float, way: Way) -> None:
    found = states(history([0] * 20 + [shift] * 30 + [0] * 20))
    off = [at for at, (state, *_) in enumerate(found) if state is ModelState.OFF]
    assert 20 <= off[0] <= 27
    assert off == list(range(off[0], off[-1] + 1))
    assert 50 <= off[-1] <= 60
    assert {found[at][1] for at in off} == {way}
    assert all(abs(found[at][2] - FIRST - 20) <= 2 for at in off)


@pytest.mark.parametrize(("theta", "way"), [(0.1, Way.NARROWER), (0.5, Way.WIDER)])
def test_a_wrong_theta_is_found(theta: float, way: Way) -> None:
    found = states(history([0] * 12, theta=theta))
    assert found[-1][:2] == (ModelState.OFF, way)
    assert found[-1][2] <= FIRST + 1


def test_a_model_that_holds_is_said_to_hold_after_some_days() -> None:
    found = [state for state, *_ in states(history([0] * 30))]
    assert found == [ModelState.TOO_FEW] * 4 + [ModelState.HOLDS] * 26


def test_a_bias_within_the_tolerance_is_accepted() -> None:
    assert {state for state, *_ in states(history([-0.08] * 60))[4:]} == {ModelState.HOLDS}


def test_a_day_with_few_ratings_is_no_witness() -> None:
    days = history([-1] * 60, ratings=19)
    assert check(np.arange(60), days, 60).state is ModelState.TOO_FEW
    assert not of_bias(days, ACR5, RULES).counts.any()
    assert not of_spread(days, RULES).counts.any()
    assert check(np.zeros(0, np.int64), days.day(slice(0)), 1).state is ModelState.TOO_FEW


def test_nothing_is_said_once_there_has_been_no_witness_for_long() -> None:
    days, numbers = history([-1] * 20), np.arange(20)
    assert check(numbers, days, 20 + RULES.stale_days - 1).state is ModelState.OFF
    late = check(numbers, days, 20 + RULES.stale_days)
    assert (late.state, late.way, late.since) == (ModelState.TOO_FEW, None, None)


def test_the_tolerance_is_the_same_part_of_another_scale() -> None:
    ours, theirs = history([-0.3] * 12, ratings=300), history([-0.3] * 12, ratings=300, scale=HUNDRED)
    assert of_bias(theirs, HUNDRED, RULES).deviation == pytest.approx(
        of_bias(ours, ACR5, RULES).deviation, abs=0.25
    )
    assert states(theirs, HUNDRED)[-1][:2] == (ModelState.OFF, Way.LOWER)
    assert states(history([-0.05] * 12, ratings=300, scale=HUNDRED), HUNDRED)[-1][0] is ModelState.HOLDS


def test_one_terrible_day_is_not_an_alarm() -> None:
    assert {state for state, *_ in states(history([0] * 10 + [-1.5] + [0] * 10))[4:]} == {ModelState.HOLDS}


def test_rules_that_make_no_sense_are_refused() -> None:
    for wrong in ({"least_ratings": 0}, {"tolerance": 0}, {"allowance": 5}, {"limit": float("inf")}):
        with pytest.raises(ValueError, match="expected"):
            CheckRules(**wrong)
