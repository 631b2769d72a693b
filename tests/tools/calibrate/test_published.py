"""On published ratings of people, the theta of opinions predicts GoB and PoW better than that of ratings."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration.published import MATRICES, halves, published
from qoemon.config.studies.ratings import Ratings
from qoemon.tools.calibrate import sos
from qoemon.tools.calibrate.goodness import goodness_of_theta

STUDIES = published()


@pytest.mark.parametrize("name", STUDIES)
def test_the_theta_of_opinions_lowers_the_errors_of_gob_and_pow(name: str) -> None:
    found = sos.estimate(STUDIES[name], resamples=200)
    assert found.rounded
    of_ratings = goodness_of_theta(STUDIES[name], found.theta)
    assert of_ratings is not None
    assert found.goodness is not None
    assert found.goodness.gob.mean < of_ratings.gob.mean
    assert found.goodness.pow.mean < of_ratings.pow.mean


@pytest.mark.parametrize("name", MATRICES[:2])  # the third is artificial
def test_users_who_rate_everything_make_the_interval_wider(name: str) -> None:
    ratings = STUDIES[name]
    unknown = Ratings(ratings.low, ratings.high, ratings.names, ratings.condition, ratings.rating)
    wide, narrow = (np.ptp(sos.estimate(each).interval) for each in (ratings, unknown))
    assert wide > 1.5 * narrow


def test_half_of_the_users_estimate_the_theta_of_the_other_half() -> None:
    """83 % of 40 are expected; as if each rating came from another user, far fewer."""
    assert halves(STUDIES["p913_wide_matrix"]) >= 28
