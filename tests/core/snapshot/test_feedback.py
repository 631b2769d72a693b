"""What users said lately, and since the model is off: the same object until days change."""

from __future__ import annotations

import numpy as np

from qoemon.core.feedback.check import CheckRules, ModelState
from qoemon.core.snapshot.feedback import PERIOD_DAYS, FeedbackReader
from tests.support.core import VIDEO
from tests.support.feedback import FIRST_DAY, days_of, feedback_of

BEFORE, SINCE = 40, 20
"""Days on which the model holds, and on which it is off."""


def test_figures_of_a_model_that_is_off_are_of_the_days_since_then() -> None:
    """Those of the period are of good days, too: they would make the deviation smaller than it is."""
    said = feedback_of([100] * (BEFORE + SINCE), shift=[0.0] * BEFORE + [-0.4] * SINCE)
    assert said.check.state is ModelState.OFF
    assert said.deviation is not None
    assert said.check.since is not None
    assert abs(said.check.since - FIRST_DAY - BEFORE) <= 1
    assert said.deviation.days == FIRST_DAY + BEFORE + SINCE - said.check.since
    assert said.deviation.ratings == 100 * said.deviation.days
    assert (said.days, said.ratings) == (PERIOD_DAYS, 100 * PERIOD_DAYS)
    assert said.deviation.bias.upper < said.bias.value < -0.1


def test_a_deviation_that_is_older_than_the_period_has_all_its_days() -> None:
    said = feedback_of([100] * 50, shift=0.4)
    assert said.deviation is not None
    assert said.days == PERIOD_DAYS < said.deviation.days


def test_a_model_that_is_not_off_has_no_deviation() -> None:
    for ratings in ([], [100] * 3, [100] * 28):
        assert feedback_of(ratings).deviation is None
    assert np.isnan(feedback_of([]).bias.value)


def test_nothing_is_computed_again_before_days_or_the_date_change() -> None:
    reader, days = FeedbackReader(VIDEO, (), CheckRules(), 0.95), days_of([40] * 3)
    first = reader.read(days, FIRST_DAY + 2, FIRST_DAY + 2)
    assert reader.read(days, FIRST_DAY + 2, FIRST_DAY + 2) is first
    assert reader.read(days, FIRST_DAY + 3, FIRST_DAY + 2) is not first
    assert reader.read(dict(days), FIRST_DAY + 3, FIRST_DAY + 3).ratings == first.ratings
