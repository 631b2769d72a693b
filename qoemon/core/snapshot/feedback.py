"""What the users of a service said lately, beside what was predicted for them, and whether its model holds.

It changes once a day, and when a rating interval with answers has closed; in between it is the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.feedback.check import CheckRules, ModelCheck, check
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


@dataclass(frozen=True)
class Figures:
    """What users said on some days. Figures are NaN where there are too few ratings.

    days        number of days with ratings
    total       sums over the days
    bias        how much higher users rate than predicted, scale points, by class too
    reliability  what was predicted and what users answered, by class
    spread      how far users disagree, relative to the prediction, a ratio of variances
    rank        ranked probability score over its expectation
    response    (CLASSES,) share of those asked who answered
    """

    days: int
    total: DaySums
    bias: Estimate
    bias_by_class: Estimate
    reliability: Reliability
    spread: Estimate
    rank: float
    response: Floats

    @property
    def ratings(self) -> int:
        """Number of ratings."""
        return int(self.total.histogram.sum())


@dataclass(frozen=True)
class Feedback(Figures):
    """What users said in the last PERIOD_DAYS days.

    check      whether the model holds, by all days that have closed
    deviation  what users said on the closed days since the model is off; None if it is not off
    scored     the bias with scores, and what they are worth
    """

    check: ModelCheck
    deviation: Figures | None
    scored: ScoredBias


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
        closed = {day: sums for day, sums in days.items() if day < open_day}
        of_closed = self._from(closed, 0)
        found = check(np.array([*closed], np.int64), of_closed, open_day, self._service.scale, self._rules)
        lately = self._from(days, today - PERIOD_DAYS + 1)
        return Feedback(
            **vars(self._figures(lately)),
            check=found,
            deviation=None if found.since is None else self._figures(self._from(closed, found.since)),
            scored=scored_bias(lately, self._confidence),
        )

    def _from(self, days: Mapping[int, DaySums], first: int) -> DaySums:
        return stacked([sums for day, sums in days.items() if day >= first] or [self._nothing])

    def _figures(self, days: DaySums) -> Figures:
        total = days.total()
        return Figures(
            days=int(np.count_nonzero(days.answered.sum(axis=-1))),
            total=total,
            bias=bias(days, self._confidence),
            bias_by_class=bias_by_class(days, self._confidence),
            reliability=reliability(total, self._service.scale),
            spread=spread_ratio(days, self._confidence),
            rank=rank_ratio(total),
            response=response_ratio(total),
        )
