"""Feedback of sessions becomes sums: what a slow loop over sessions finds, whatever the batches."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import add

import numpy as np
import pytest

from qoemon.core.feedback.answers import Answers, sums_of
from qoemon.core.feedback.day import DaySums, class_of, fixed
from qoemon.core.feedback.prediction import Predicted, predicted, ranked_score
from qoemon.core.qoe.scale import ACR5

NAMES = ("face", "voice")
MOS = np.linspace(1, 5, 801)
AT = predicted(MOS, 0.3)


def random_answers(sessions: int, seed: int = 1) -> tuple[Answers, Predicted]:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 1, (sessions, 2))
    scores[rng.random((sessions, 2)) < 0.4] = np.nan
    rating = np.where(rng.random(sessions) < 0.5, rng.integers(1, 6, sessions), np.nan)
    answers = Answers(rng.random(sessions) < 0.6, rating, rng.integers(-1, 2, sessions), scores)
    return answers, AT.at(rng.integers(0, len(MOS), sessions))


def some(answers: Answers, at: Predicted, which: slice) -> DaySums:
    return sums_of(
        Answers(*(column[which] for column in answers)), at.at(np.arange(len(at.mos))[which]), ACR5, NAMES
    )


def test_sums_are_those_of_a_loop_over_sessions() -> None:
    answers, at = random_answers(300)
    expected: dict[tuple[str, int], float] = defaultdict(int)
    for n in range(300):
        mos, mean, of = at.mos[n], fixed(at.mean[n]), class_of(at.mos[n : n + 1], ACR5)[0]
        rating, rated = answers.rating[n], not np.isnan(answers.rating[n])
        expected["sessions", of] += 1
        expected["expected_of_sessions", of] += mean
        if answers.asked[n] or answers.thumb[n] or rated:
            expected["asked", of] += 1
            expected["expected_of_asked", of] += mean
        if answers.thumb[n]:
            expected["thumbs_up" if answers.thumb[n] == 1 else "thumbs_down", of] += 1
            expected["predicted_good", of] += fixed(at.good[n])
        if rated:
            r2, v = (rating - at.mean[n]) ** 2, max(at.variance[n], 0.02)
            expected["ratings", of] += rating
            expected["predicted", of] += mean
            expected["squares", of] += fixed(r2)
            expected["variances", of] += fixed(v)
            rank = ranked_score(at.shares[n : n + 1], np.array([int(rating) - 1]))[0]
            expected["scores_of_ranks", of] += fixed(rank)
            expected["expected_scores_of_ranks", of] += fixed(at.rank[n])
            expected["answered", of] += 1
            if 1.5 <= mos <= 4.5:
                expected["middle", of] += 1
                expected["middle_squares", of] += fixed(r2)
                expected["middle_variances", of] += fixed(v)
                expected["middle_spreads", of] += fixed(at.spread[n])
    found = sums_of(answers, at, ACR5, NAMES)
    for (name, of), value in expected.items():
        assert getattr(found, name)[of] == value, (name, of)
    with_rating = ~np.isnan(answers.rating)
    both = with_rating & ~np.isnan(answers.scores).any(axis=1)
    face, voice = answers.scores.T
    residual = (answers.rating - at.mean)[with_rating & ~np.isnan(face)]
    assert found.rated_with[0, 1] == both.sum()
    assert found.score_sums_with[0, 1] == fixed(face[both]).sum()
    assert found.score_products[0, 1] == fixed(face[both] * voice[both]).sum()
    assert found.score_residuals[0] == fixed(face[with_rating & ~np.isnan(face)] * residual).sum()
    assert found.residuals_with[0] == fixed(residual).sum()
    assert found.scored.tolist() == (~np.isnan(answers.scores)).sum(axis=0).tolist()
    assert found.score_sums[1] == fixed(voice[~np.isnan(voice)]).sum()
    assert found.histogram.sum(axis=0).tolist() == [np.sum(answers.rating == k) for k in range(1, 6)]
    assert np.abs(found.shares.sum(axis=0) - fixed(at.shares[with_rating].sum(axis=0))).max() <= with_rating.sum()


def test_sums_of_any_batches_are_the_sum() -> None:
    answers, at = random_answers(500)
    whole = sums_of(answers, at, ACR5, NAMES).dump()
    batches = [slice(0, 1), slice(1, 1), slice(1, 200), slice(200, 500)]
    parts = reduce(add, (some(answers, at, batch) for batch in batches)).dump()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_an_answer_with_a_count_is_as_many_sessions() -> None:
    """To the last digit, also of answers that are taken back, and with no more memory for millions."""
    answers, at = random_answers(200)
    counts = np.random.default_rng(2).integers(0, 5, 200)
    again = np.repeat(np.arange(200), counts)
    once = sums_of(Answers(*(column[again] for column in answers)), at.at(again), ACR5, NAMES).dump()
    counted = sums_of(answers, at, ACR5, NAMES, counts).dump()
    back = sums_of(answers, at, ACR5, NAMES, -counts).dump()
    numbers = [name for name in once if name != "scores"]
    assert all(np.array_equal(once[name], counted[name]) for name in numbers)
    assert all(np.array_equal(once[name], -back[name]) for name in numbers)
    many = sums_of(answers, at, ACR5, NAMES, counts * 1_000_000).dump()
    assert all(np.array_equal(once[name] * 1_000_000, many[name]) for name in numbers)


def test_the_variance_of_a_certain_prediction_has_its_floor() -> None:
    none = np.full((1, 0), np.nan)
    sums = sums_of(Answers(np.array([True]), np.array([4.0]), np.array([0]), none), AT.at(np.array([800])), ACR5)
    assert sums.variances.tolist() == [0, 0, 0, fixed(np.array(0.02))]
    assert sums.squares.tolist() == [0, 0, 0, fixed(np.array(1.0))]


def test_a_rating_that_is_not_on_the_scale_is_refused() -> None:
    none = np.full((2, 0), np.nan)
    answers = Answers(np.zeros(2, np.bool_), np.array([6.0, 3.0]), np.zeros(2, np.int64), none)
    with pytest.raises(ValueError, match=r"ratings \[6.0\], expected 1 to 5"):
        sums_of(answers, AT.at(np.array([1, 2])), ACR5)
