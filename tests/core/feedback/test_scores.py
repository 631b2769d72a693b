"""Scores as control variates: the regression of a slow twin, a correction that is right, and none from noise."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.core.arrays import Floats
from qoemon.core.feedback import scores
from qoemon.core.feedback.day import DaySums, stacked
from qoemon.core.feedback.figures import bias
from qoemon.core.feedback.prediction import predicted
from qoemon.core.feedback.scores import PRIOR_RATINGS, scored_bias
from tests.support.feedback import day_of, drawn

NAMES = ("face", "voice")
AT = predicted(np.linspace(2, 4.5, 50), 0.3)


def session_scores(residual: Floats, correlation: float, missing: float, rng: np.random.Generator) -> Floats:
    """A score of each session, and a second one that is noise."""
    own = residual / residual.std()
    face = 0.25 * (correlation * own + np.sqrt(1 - correlation**2) * rng.normal(size=len(residual))) + 0.1
    out = np.clip(np.column_stack([face, rng.normal(0, 0.3, len(residual))]), -1, 1)
    out[rng.random(out.shape) < missing] = np.nan
    return out


def days_of(
    correlation: float,
    days: int = 10,
    ratings: int = 150,
    others: int = 1000,
    missing: float = 0.0,
    happy: float = 1.0,
    seed: int = 1,
) -> tuple[DaySums, list[tuple[Floats, Floats]]]:
    """Days with the residuals and scores of those who rate; happy ones rate `happy` times as often."""
    rng = np.random.default_rng(seed)
    out, rated = [], []
    for _ in range(days):
        condition = rng.integers(0, 50, ratings + others)
        opinion = drawn(AT.shares[condition], rng)
        residual = opinion - AT.mean[condition]
        of = session_scores(residual, correlation, missing, rng)
        chance = np.where(residual > 0, happy, 1.0)
        who = rng.choice(len(opinion), ratings, replace=False, p=chance / chance.sum())
        rating = np.full(len(opinion), np.nan)
        rating[who] = opinion[who]
        out.append(day_of(rating, AT.at(condition), scores=of, names=NAMES))
        rated.append((residual[who], of[who]))
    return stacked(out), rated


def test_weights_are_those_of_a_ridge_on_single_ratings() -> None:
    days, rated = days_of(0.5, missing=0.3)
    residual, of = (np.concatenate(each) for each in zip(*rated, strict=True))
    total = days.total()
    centred = np.nan_to_num(of - total.score_sums / total.scored * 2.0**-20)
    centred = centred - centred.mean(axis=0)
    penalty = np.diag(centred.T @ centred) * PRIOR_RATINGS / len(residual)
    expected = np.linalg.solve(centred.T @ centred + np.diag(penalty), centred.T @ (residual - residual.mean()))
    assert scored_bias(days).weights == pytest.approx(expected, abs=1e-4)


def test_the_worth_of_a_score_is_what_it_explains() -> None:
    found = scored_bias(days_of(0.5, ratings=600)[0])
    assert found.worth == pytest.approx(1 / (1 - 0.25), abs=0.08)
    assert found.worth_of == pytest.approx([1 / (1 - 0.25), 1], abs=0.08)
    assert found.ratings.tolist() == [6000, 6000]


def test_a_score_that_says_nothing_changes_nothing() -> None:
    days, _ = days_of(0.0)
    found = scored_bias(days)
    assert found.worth == pytest.approx(1, abs=0.01)
    assert found.bias.value == pytest.approx(bias(days).value, abs=0.01)


def test_those_who_answer_because_they_are_happy_are_corrected_by_their_scores() -> None:
    """Answering that depends on the opinion biases the mean; a score that knows the opinion corrects it."""
    days, _ = days_of(0.95, happy=3.0)
    plain, corrected = bias(days).value, scored_bias(days).bias.value
    assert plain > 0.3
    assert abs(corrected) < plain / 3


def test_the_interval_is_narrower_with_a_good_score() -> None:
    days, _ = days_of(0.9, days=40)
    plain, corrected = bias(days), scored_bias(days).bias
    assert corrected.upper - corrected.lower < 0.75 * (plain.upper - plain.lower)


def test_a_score_that_is_missing_corrects_nothing() -> None:
    days, _ = days_of(0.5)
    without, _ = days_of(0.5, missing=1.0)
    assert scored_bias(without).bias == pytest.approx(bias(days))
    assert scored_bias(without).worth == 1
    assert scored_bias(without).weights.tolist() == [0, 0]


def test_scores_are_worth_nothing_until_there_are_days_and_ratings() -> None:
    one_day, few = days_of(0.9, days=1)[0], days_of(0.9, days=4, ratings=7)[0]
    for days in (one_day, few, one_day.with_scores(())):
        found = scored_bias(days)
        assert found.worth == 1
        assert found.bias == pytest.approx(bias(days), nan_ok=True)


def test_weights_of_a_day_come_from_other_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights from the same days, noise would be worth something."""
    days, rated = days_of(0.0, days=5, ratings=30)
    assert scored_bias(days).worth < 1.02
    monkeypatch.setattr(scores, "PRIOR_RATINGS", 0)
    residual, of = (np.concatenate(each) for each in zip(*rated, strict=True))
    fitted = np.corrcoef(residual, of[:, 0])[0, 1] ** 2
    assert fitted > 0
    assert scored_bias(days).worth_of[0] - 1 < fitted
