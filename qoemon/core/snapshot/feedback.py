"""What the users of a service said lately, beside what was predicted for them, and whether its model holds.

It changes once a day, and when a rating interval with answers has closed; in between it is the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.feedback.check import CheckRules, ModelCheck, ModelState, check
from qoemon.core.feedback.day import DaySums, stacked
from qoemon.core.feedback.figures import (
    Estimate,
    Reliability,
    bias,
    bias_by_class,
    rank_ratio,
    reliability,
    response_ratio,
    spread_ratio,
)
from qoemon.core.feedback.scores import ScoredBias, scored_bias
from qoemon.core.plan.plan import Service

PERIOD_DAYS = 28
"""Figures are of the newest days, today included: four weeks have each weekday equally often."""


class Deviation(NamedTuple):
    """How far ratings deviate since the model is off: figures of the closed days since it began.

    bias, spread  as in Feedback
    ratings       number of ratings
    days          number of days with ratings
    """

    bias: Estimate
    spread: Estimate
    ratings: int
    days: int


@dataclass(frozen=True)
class Feedback:
    """What users said in the last PERIOD_DAYS days. Figures are NaN where there are too few ratings.

    check       whether the model holds, by all days that have closed
    off         how far ratings deviate; None unless the model is off
    days        number of days with ratings
    total       sums over the days
    bias        how much higher users rate than predicted, scale points, by class too
    reliability  what was predicted and what users answered, by class
    spread      how far users disagree, relative to the prediction, a ratio of variances
    rank        ranked probability score over its expectation
    response    (CLASSES,) share of those asked who answered
    scored      the bias with scores, and what they are worth
    """

    check: ModelCheck
    off: Deviation | None
    days: int
    total: DaySums
    bias: Estimate
    bias_by_class: Estimate
    reliability: Reliability
    spread: Estimate
    rank: float
    response: Floats
    scored: ScoredBias

    @property
    def ratings(self) -> int:
        """Number of ratings."""
        return int(self.total.histogram.sum())


class FeedbackReader:
    """Computes the Feedback of one service, again only where days have changed."""

    def __init__(self, service: Service, scores: Sequence[str], rules: CheckRules, confidence: float) -> None:
        self._service, self._rules, self._confidence = service, rules, confidence
        self._nothing = DaySums.nothing(len(service.scale.ratings), scores)
        self._of: tuple[Mapping[int, DaySums], tuple[int, int], Feedback] | None = None

    def read(self, days: Mapping[int, DaySums], today: int, open_day: int) -> Feedback:
        """The feedback of some days, by UTC day since the epoch, ascending; today is one of these numbers.

        open_day  the first day that answers may still come for; the check is of the days before
        """
        if self._of is None or self._of[0] is not days or self._of[1] != (today, open_day):
            self._of = days, (today, open_day), self._read(days, today, open_day)
        return self._of[2]

    def _read(self, days: Mapping[int, DaySums], today: int, open_day: int) -> Feedback:
        scale = self._service.scale
        closed = [day for day in days if day < open_day]
        of_closed = stacked([days[day] for day in closed] or [self._nothing])
        lately = stacked([sums for day, sums in days.items() if day > today - PERIOD_DAYS] or [self._nothing])
        total = lately.total()
        checked = check(np.array(closed, np.int64), of_closed, open_day, scale, self._rules)
        return Feedback(
            check=checked,
            off=self._deviation({day: days[day] for day in closed}, checked),
            days=int(np.count_nonzero(lately.answered.sum(axis=-1))),
            total=total,
            bias=bias(lately, self._confidence),
            bias_by_class=bias_by_class(lately, self._confidence),
            reliability=reliability(total, scale),
            spread=spread_ratio(lately, self._confidence),
            rank=rank_ratio(total),
            response=response_ratio(total),
            scored=scored_bias(lately, self._confidence),
        )

    def _deviation(self, closed: Mapping[int, DaySums], checked: ModelCheck) -> Deviation | None:
        if checked.state is not ModelState.OFF or checked.since is None:
            return None
        since = stacked([sums for day, sums in closed.items() if day >= checked.since])
        ratings = since.answered.sum(axis=-1)
        return Deviation(
            bias=bias(since, self._confidence),
            spread=spread_ratio(since, self._confidence),
            ratings=int(ratings.sum()),
            days=int(np.count_nonzero(ratings)),
        )
