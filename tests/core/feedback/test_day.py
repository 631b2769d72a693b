"""Sums of a day of feedback: additive to the last digit, whole after a restart, classed by prediction."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import reduce
from operator import add

import numpy as np
import pytest

from qoemon.core.feedback.day import (
    CLASSES,
    UNIT,
    DaySums,
    class_ends,
    class_of,
    fixed,
    floating,
    is_middle,
    stacked,
)
from qoemon.core.qoe.scale import ACR5, Scale

HUNDRED = Scale(low=0, high=100, good=60, poor=40)


def random_sums(seed: int, scores: tuple[str, ...] = ("face", "voice")) -> DaySums:
    rng = np.random.default_rng(seed)
    nothing = DaySums.nothing(5, scores)
    return DaySums.load(
        {name: array + rng.integers(0, 99, array.shape) for name, array in numbers(nothing).items()}
        | {"scores": nothing.dump()["scores"]}
    )


def numbers(sums: DaySums) -> dict[str, np.ndarray]:
    return {name: array for name, array in sums.dump().items() if name != "scores"}


def same(one: DaySums, other: DaySums) -> bool:
    ours, theirs = one.dump(), other.dump()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_classes_are_cut_at_2_5_3_5_and_4_5_of_5() -> None:
    mos = np.array([1, 2.499, 2.5, 3.499, 3.5, 4.499, 4.5, 5])
    assert class_of(mos, ACR5).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert class_ends(ACR5).tolist() == [1, 2.5, 3.5, 4.5, 5]
    assert class_of(np.array([0, 37.4, 37.5, 99, 100]), HUNDRED).tolist() == [0, 0, 1, 3, 3]


def test_the_middle_is_1_5_to_4_5_of_5() -> None:
    assert is_middle(np.array([1.49, 1.5, 3, 4.5, 4.51]), ACR5).tolist() == [False, True, True, True, False]


def test_a_number_is_rounded_to_the_unit_and_a_sum_of_them_is_exact() -> None:
    some = np.random.default_rng(1).uniform(-20, 20, 1000)
    assert np.abs(floating(fixed(some)) - some).max() <= UNIT / 2
    whole = fixed(some).sum()
    assert reduce(add, (fixed(part).sum() for part in np.array_split(some[::-1], 7))) == whole


def test_sums_of_shards_are_the_sum_in_any_order() -> None:
    shards = [random_sums(seed) for seed in range(4)]
    assert same(reduce(add, shards), reduce(add, shards[::-1]))
    assert same(reduce(add, shards), stacked(shards).total())
    assert same(shards[0] + DaySums.nothing(5, ("face", "voice")), shards[0])
    whole = reduce(add, shards)
    for field in fields(DaySums):
        if field.name != "scores":
            assert np.array_equal(getattr(whole, field.name), sum(getattr(each, field.name) for each in shards))


def test_a_dump_is_loaded_whole_of_one_day_and_of_stacked_ones() -> None:
    days = stacked([random_sums(1), random_sums(2), random_sums(3)])
    assert same(DaySums.load(days.dump()), days)
    assert same(DaySums.load(days.day(1).dump()), random_sums(2))
    assert same(days.day(slice(1, 3)).total(), random_sums(2) + random_sums(3))


def test_residuals_are_ratings_less_predictions() -> None:
    sums = replace(DaySums.nothing(5), ratings=np.array([0, 3, 9, 0]), predicted=fixed(np.array([0, 3.25, 7.5, 0])))
    assert floating(sums.residuals).tolist() == [0, -0.25, 1.5, 0]


def test_answers_are_counted_by_class() -> None:
    histogram = np.zeros((CLASSES, 5), np.int64)
    histogram[2] = [1, 2, 3, 4, 5]
    assert replace(DaySums.nothing(5), histogram=histogram).answered.tolist() == [0, 0, 15, 0]


def test_scores_may_be_configured_anew_without_losing_those_that_stay() -> None:
    before = random_sums(1, ("face", "voice", "text"))
    after = before.with_scores(("text", "heart", "face"))
    assert after.scores == ("text", "heart", "face")
    assert after.scored.tolist() == [before.scored[2], 0, before.scored[0]]
    assert after.score_products[0].tolist() == [before.score_products[2, 2], 0, before.score_products[2, 0]]
    assert after.score_sums_with[2].tolist() == [before.score_sums_with[0, 2], 0, before.score_sums_with[0, 0]]
    assert np.array_equal(after.histogram, before.histogram)
    assert same(before.with_scores(before.scores), before)
    assert before.with_scores(()).scored.shape == (0,)
    days = stacked([before, before])
    assert same(days.with_scores(("voice",)).day(1), before.with_scores(("voice",)))


def test_sums_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="with_scores"):
        random_sums(1, ("face",)) + random_sums(1, ("voice",))
    with pytest.raises(ValueError, match="scales of 5 and 7 ratings"):
        DaySums.nothing(5) + DaySums.nothing(7)
    with pytest.raises(ValueError, match="no days"):
        stacked([])


def test_a_dump_of_another_form_is_refused() -> None:
    dump = random_sums(1).dump()
    with pytest.raises(ValueError, match="no 'asked'"):
        DaySums.load({name: array for name, array in dump.items() if name != "asked"})
    with pytest.raises(ValueError, match="shares of the shape"):
        DaySums.load(dump | {"shares": dump["shares"][:, :4]})
