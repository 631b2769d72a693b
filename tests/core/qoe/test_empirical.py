"""Empirical rating distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import Counts
from qoemon.core.qoe.distribution import Distribution, RatingKernel
from qoemon.core.qoe.empirical import EmpiricalRatings
from qoemon.core.qoe.mapping import RatingModel
from qoemon.core.qoe.scale import ACR5, Scale
from tests.support.streams import FEW

SEVEN = Scale(low=1, high=7, good=5, poor=3)
# Four conditions of ten ratings each; MOS 1.6, 2.8, 3.5 and 4.7.
STUDY = np.array([[5, 4, 1, 0, 0], [1, 3, 4, 1, 1], [0, 2, 3, 3, 2], [0, 0, 0, 3, 7]])


def counts_of(scale: Scale) -> st.SearchStrategy[Counts]:
    condition = st.lists(st.integers(0, 9), min_size=len(scale.ratings), max_size=len(scale.ratings)).filter(any)
    return st.lists(condition, min_size=1, max_size=6).map(lambda rows: np.array(rows, np.int64))


def judged(mos: list[float], counts: list[int], **more: object) -> Distribution:
    study = EmpiricalRatings.of(STUDY, ACR5)
    kernel = RatingKernel(np.array(mos), 0.3, scale=ACR5, model=RatingModel.EMPIRICAL, study=study, **more)
    return kernel.distribution(np.array([counts]))


@pytest.mark.parametrize("scale", [ACR5, SEVEN])
@FEW
@given(st.data())
def test_whatever_the_study_ratings_at_a_mos_have_that_mean(scale: Scale, data: st.DataObject) -> None:
    study = EmpiricalRatings.of(data.draw(counts_of(scale)), scale)
    mos = np.append(np.linspace(scale.low, scale.high, 400), study.mos)
    shares = study.at(mos)
    assert shares.min() >= 0
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert shares @ scale.ratings == pytest.approx(mos, abs=1e-12)


@FEW
@given(counts_of(ACR5))
def test_at_the_mos_of_a_condition_ratings_are_as_often_as_it_had_them(counts: Counts) -> None:
    """Conditions of the same MOS are pooled."""
    counts = np.vstack([counts, np.eye(5, dtype=np.int64)[[0, -1]]])  # users agree at the ends of the scale
    total = counts.sum(axis=1)
    sums = counts @ ACR5.ratings
    study = EmpiricalRatings.of(counts[:-2], ACR5)
    for number in range(len(counts)):
        alike = sums * total[number] == sums[number] * total
        frequencies = counts[alike].sum(axis=0) / total[alike].sum()
        assert study.at(np.array([sums[number] / total[number]]))[0] == pytest.approx(frequencies, abs=1e-12)


def test_conditions_of_the_same_mos_are_one() -> None:
    """Four ratings of 3, and ratings of 1 and 5: MOS 3 each."""
    study = EmpiricalRatings.of(np.array([[0, 0, 4, 0, 0], [1, 0, 0, 0, 1]]), ACR5)
    assert study.mos.tolist() == [1, 3, 5]
    assert study.at(np.array([3.0]))[0].tolist() == pytest.approx([1 / 6, 0, 4 / 6, 0, 1 / 6])


def test_between_conditions_ratings_are_mixed_and_beyond_them_with_those_who_agree() -> None:
    study = EmpiricalRatings.of(STUDY, ACR5)
    half_way, below = study.at(np.array([3.15, 1.3]))
    assert half_way.tolist() == pytest.approx([0.05, 0.25, 0.35, 0.2, 0.15])
    assert below.tolist() == pytest.approx([0.75, 0.2, 0.05, 0, 0])


def test_gob_pow_and_ratings_are_those_of_the_study() -> None:
    """Three users at MOS 2.8, one at 4.7: (3 x [1 3 4 1 1] + [0 0 0 3 7]) / 40."""
    predicted = judged([2.8, 4.7], [3, 1], quantiles=(0.07, 0.5, 0.9), band=(0.3,))
    assert predicted.ratings[0].tolist() == pytest.approx([3 / 40, 9 / 40, 12 / 40, 6 / 40, 10 / 40])
    assert (predicted.gob[0], predicted.pow[0]) == (pytest.approx(16 / 40), pytest.approx(12 / 40))
    assert predicted.mos[0] == pytest.approx(131 / 40)
    squares = (3 * (1 + 12 + 36 + 16 + 25) + (48 + 175)) / 40
    assert predicted.sos[0] == pytest.approx(np.sqrt(squares - (131 / 40) ** 2))
    assert predicted.quantiles[0].tolist() == [1, 3, 5]


def test_the_band_around_a_study_asks_what_a_beta_would_say() -> None:
    predicted = judged([2.8], [1], band=(0.3,))
    beta = RatingKernel(np.array([2.8]), 0.3, scale=ACR5).distribution(np.array([[1]]))
    assert (predicted.band_gob[0, 0], predicted.band_pow[0, 0]) == (
        pytest.approx(beta.gob[0]),
        pytest.approx(beta.pow[0]),
    )
    assert predicted.pow[0] == pytest.approx(0.4)


def test_theta_is_that_of_least_squares() -> None:
    study = EmpiricalRatings.of(STUDY, ACR5)
    mos = STUDY @ ACR5.ratings / 10
    variance = STUDY @ ACR5.ratings**2 / 10 - mos**2
    parabola = (5 - mos) * (mos - 1)
    assert study.theta == pytest.approx(np.linalg.lstsq(parabola[:, None], variance)[0][0])


def test_binomial_ratings_have_their_theta() -> None:
    """16 ratings of Bin(4, 1/2), whose variance is 1, a quarter of what the parabola has there."""
    assert EmpiricalRatings.of(np.array([[1, 4, 6, 4, 1]]), ACR5).theta == pytest.approx(0.25)


@pytest.mark.parametrize("counts", [np.zeros((0, 5), np.int64), np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])])
def test_a_study_without_ratings_is_refused(counts: Counts) -> None:
    with pytest.raises(ValueError, match="at least one condition, and ratings in each"):
        EmpiricalRatings.of(counts, ACR5)


def test_empirical_ratings_without_a_study_are_refused() -> None:
    with pytest.raises(ValueError, match="empirical ratings need a study"):
        RatingKernel(np.array([3.0]), 0.3, scale=ACR5, model=RatingModel.EMPIRICAL)
