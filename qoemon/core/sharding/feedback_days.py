"""What the users of one service said, beside what was predicted for their sessions, by UTC day.

Shards count answers; here they become the sums of a day, with the prediction of the service as it is now. The
answers are kept by condition, too: if the constants or theta change, the sums of all days are made anew from them,
so that days always tell of the model that is in force. A day takes a few kB, and the newest DAYS are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Arrays, Counts, Flags, Floats, Ints, named, part
from qoemon.core.counting.feedback_counts import (
    ASKED,
    CONDITION,
    DAY,
    LEVELS,
    NO_SCORE,
    RATING,
    REASONS,
    SCORE_PARTS,
    SCORES,
    THUMB,
    FeedbackCounts,
    FeedbackTotals,
    summed,
)
from qoemon.core.feedback.answers import Answers, sums_of
from qoemon.core.feedback.conditions import NO_RATING, AnswersOfDay, GivenAnswers, dump_answers, load_answers
from qoemon.core.feedback.day import DaySums, floating, stacked
from qoemon.core.feedback.prediction import Predicted, predicted
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mos_levels
from qoemon.core.sharding.session_conditions import SessionConditions

DAYS = 400


class FeedbackDays:
    """The days of one service, and its totals."""

    def __init__(self, service: Service, scores: Sequence[str]) -> None:
        self._service, self._scores = service, tuple(scores)
        self._ratings = len(service.scale.ratings)
        self.days: Mapping[int, DaySums] = {}
        """By UTC day since the epoch, ascending."""
        self.conditions = SessionConditions(service)
        self.answers: Mapping[int, AnswersOfDay] = {}
        """Of the same days, by condition."""
        self._total = DaySums.nothing(self._ratings, self._scores)
        """Over all days, also those that are not kept any more."""
        self._unmatched: Counts = np.zeros(len(REASONS), np.int64)
        self.totals = FeedbackTotals.nothing(self._ratings)

    @property
    def given(self) -> GivenAnswers:
        """The answers, with the conditions that their numbers mean."""
        return GivenAnswers(self.answers, self.conditions.axes, self.conditions.mos)

    def add(self, parts: Sequence[FeedbackCounts]) -> None:
        """Add what shards have counted in a rating interval."""
        some = [each for each in parts if each]
        if not some:
            return
        days, answers = dict(self.days), dict(self.answers)
        for counts in _joined(some):
            self._unmatched = self._unmatched + counts.unmatched
            for day in np.unique(counts.answers[:, DAY]).tolist():
                mine = counts.answers[:, DAY] == day
                answers[day] = answers.get(day, AnswersOfDay.nothing()).plus(*self._cells(counts, mine))
                sums = self._sums(counts, np.flatnonzero(mine))
                days[day] = days[day] + sums if day in days else sums
                self._total = self._total + sums
        kept = sorted(days)[-DAYS:]
        self.days = {day: days[day] for day in kept}
        self.answers = {day: answers[day] for day in kept}
        self.totals = self._not_below(self.totals)

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        days = stacked([self._total, *self.days.values()]).dump()
        of_day = {"day": np.array([*self.days], np.int64), "unmatched": self._unmatched}
        totals = {name: np.asarray(value) for name, value in vars(self.totals).items()}
        answers = dump_answers(self.answers)
        of_model = {"meaning": self.conditions.meaning, "model": self.conditions.model}
        model = {"of_model": np.frombuffer(json.dumps(of_model).encode(), np.uint8)}
        return {
            **named("sums/", days),
            **of_day,
            **named("totals/", totals),
            **named("answers/", answers),
            **model,
        }

    def load(self, state: Arrays) -> None:
        """Restore a dump(); earlier versions have none. What was counted in another unit begins anew."""
        if not state:
            return
        sums = DaySums.load(part("sums/", state)).with_scores(self._scores)
        before = json.loads(state["of_model"].tobytes())
        if sums.histogram.shape[-1] != self._ratings:
            return
        self._total = sums.day(0)
        if before["meaning"] == self.conditions.meaning:
            self.answers = load_answers(part("answers/", state))
            self.days = {day: sums.day(at) for at, day in enumerate(state["day"].tolist(), 1)}
            if before["model"] != self.conditions.model:
                self.days = {day: self._sums_again(of_day) for day, of_day in self.answers.items()}
        self._unmatched = state["unmatched"]
        totals = part("totals/", state)
        self.totals = FeedbackTotals(
            ratings=totals["ratings"],
            expected=totals["expected"],
            asked=int(totals["asked"]),
            thumbs=totals["thumbs"],
            expected_thumbs=totals["expected_thumbs"],
            unmatched=totals["unmatched"],
        )

    def _cells(self, counts: FeedbackCounts, some: Flags) -> tuple[Ints, Counts]:
        """The answers of a day, (N, 4) as in AnswersOfDay, and the number of each."""
        condition, asked, rating, thumb = counts.answers[some][:, [CONDITION, ASKED, RATING, THUMB]].T
        asked = (asked > 0) | (rating != NO_RATING) | (thumb != 0)
        cells = np.stack([self.conditions.numbers(condition), asked, rating, thumb], axis=1)
        return cells, counts.counts[some]

    def _sums_again(self, answers: AnswersOfDay) -> DaySums:
        """The sums of a day by the constants in force; without scores, which are not kept by condition."""
        condition, asked, ratings, thumb = answers.cells.T
        given = Answers(
            asked=asked > 0,
            rating=np.where(ratings == NO_RATING, np.nan, ratings),
            thumb=thumb,
            scores=np.zeros((len(ratings), 0)),
        )
        at = self.conditions.predicted.at(condition)
        return sums_of(given, at, self._service.scale, counts=answers.counts).with_scores(self._scores)

    def _sums(self, counts: FeedbackCounts, some: Ints) -> DaySums:
        """The sums over some of the answers."""
        answers = counts.answers[some]
        ratings, scores = answers[:, RATING], answers[:, SCORES:]
        given = Answers(
            asked=answers[:, ASKED] > 0,
            rating=np.where(ratings == NO_RATING, np.nan, ratings),
            thumb=answers[:, THUMB],
            scores=np.where(scores == NO_SCORE, np.nan, scores / SCORE_PARTS),
        )
        at = self._predicted.at(answers[:, CONDITION] % LEVELS)
        sums = sums_of(given, at, self._service.scale, counts.scores, counts.counts[some])
        return sums.with_scores(self._scores)

    @cached_property
    def _predicted(self) -> Predicted:
        service = self._service
        levels = mos_levels(service.scale)
        return predicted(levels, service.theta, service.scale, service.model, service.study)

    def _not_below(self, before: FeedbackTotals) -> FeedbackTotals:
        """The totals now; none is less than it was."""
        total = self._total
        thumbs = np.array([total.thumbs_up.sum(), total.thumbs_down.sum()])
        good = float(floating(total.predicted_good).sum())
        expected_thumbs: Floats = np.array([good, thumbs.sum() - good])
        return FeedbackTotals(
            ratings=np.maximum(before.ratings, total.histogram.sum(axis=0)),
            expected=np.maximum(before.expected, floating(total.shares).sum(axis=0)),
            asked=max(before.asked, int(total.asked.sum())),
            thumbs=np.maximum(before.thumbs, thumbs),
            expected_thumbs=np.maximum(before.expected_thumbs, expected_thumbs),
            unmatched=self._unmatched,
        )


def _joined(parts: Sequence[FeedbackCounts]) -> Iterator[FeedbackCounts]:
    """The counts of many shards as one, for each set of scores: after a change there are two for a minute."""
    for scores in dict.fromkeys(each.scores for each in parts):
        some = [each for each in parts if each.scores == scores]
        yield summed(
            np.concatenate([each.answers for each in some]),
            np.concatenate([each.counts for each in some]),
            scores,
            np.sum([each.unmatched for each in some], axis=0),
        )
