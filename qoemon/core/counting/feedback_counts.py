"""What the users of a service said, as counts of equal answers: what a shard hands on when an interval closes.

An answer is integers only, without a session id: a day, the level of the condition that the session had, and what
its user said. A rating that replaces one that was handed on before is counted as the former one with -1, and the
new one with 1. So the counts of shards and intervals add up, in any order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from qoemon.core.arrays import Arrays, Counts, Floats, Ints
from qoemon.core.feedback.conditions import distinct

DAY_S = 86_400

DAY, CONDITION, ASKED, RATING, THUMB, SCORES = range(6)
"""Columns of an answer: UTC day since the epoch, condition, whether its user was asked, the rating (NO_RATING
without one), 1 for a thumb up and -1 for one down, and from SCORES on the scores, in SCORE_PARTS (NO_SCORE without
one)."""

NO_CONDITION = -1
LEVELS = 2**15
"""More than any level of MOS: the condition of a session is one number, bin * LEVELS + level. Its level is exact;
its bin, as stalls are shown, does not depend on the constants of the mapping. Other QoS has the bin 0."""

NO_SCORE = -(2**31)
SCORE_PARTS = 10_000


def condition_number(level: Ints, shown: Ints) -> Ints:
    """(N,) conditions of these levels and bins."""
    return shown * LEVELS + level


class Unmatched(StrEnum):
    """Why what a user said is not counted."""

    NO_SESSION = "no_session"
    """no session with this id is known, or it ended more than feedback.within ago"""
    TOO_LATE = "too_late"
    """more than feedback.within after the session was last heard"""
    NO_CONDITION = "no_condition"
    """the session has no condition: too little happened, or not in the time that the rating is about"""
    OUT_OF_SCALE = "out_of_scale"
    """a rating that is not on the service's scale, or a score that is not from -1 to 1"""


REASONS = tuple(Unmatched)


@dataclass(frozen=True)
class FeedbackCounts:
    """Answers of one service.

    scores     names of the S scores
    answers    (N, SCORES + S) distinct answers
    counts     (N,) number of each, also below 0
    unmatched  (R,) what is not counted, by REASONS
    """

    scores: tuple[str, ...]
    answers: Ints
    counts: Counts
    unmatched: Counts

    def __bool__(self) -> bool:
        """Whether it counts anything."""
        return bool(len(self.counts) or self.unmatched.any())

    def shifted(self, by_s: int) -> FeedbackCounts:
        """The same counts, with all times moved by so many seconds: of days, only whole ones move."""
        answers = self.answers.copy()
        answers[:, DAY] += round(by_s / DAY_S)
        return replace(self, answers=answers)

    def dump(self) -> Arrays:
        """All as arrays by name."""
        names = np.frombuffer(json.dumps(self.scores).encode(), np.uint8)
        return {"scores": names, "answers": self.answers, "counts": self.counts, "unmatched": self.unmatched}

    @classmethod
    def load(cls, state: Mapping[str, Ints]) -> FeedbackCounts:
        """Restore a dump(); states of earlier versions, without arrays, have no answers."""
        if not state:
            return no_feedback()
        names = tuple(json.loads(state["scores"].tobytes()))
        return cls(names, state["answers"], state["counts"], state["unmatched"])


@dataclass(frozen=True)
class FeedbackTotals:
    """What the users of a service said, and what was predicted for the same sessions, since the beginning.

    None of them falls. A newer rating of a session takes the former one back: then its number stays until it is
    reached again.

    ratings     (K,) sessions with this rating
    expected    (K,) expected number of them
    asked       sessions whose users were asked, or have answered
    thumbs      (2,) sessions with a thumb up, and down
    expected_thumbs  (2,) expected number of them
    unmatched   (R,) what is not counted, by REASONS
    """

    ratings: Counts
    expected: Floats
    asked: int
    thumbs: Counts
    expected_thumbs: Floats
    unmatched: Counts

    @classmethod
    def nothing(cls, ratings: int) -> FeedbackTotals:
        """No answers, of a scale with so many ratings."""
        none: Counts = np.zeros(ratings, np.int64)
        return cls(none, np.zeros(ratings), 0, none[:2], np.zeros(2), np.zeros(len(REASONS), np.int64))


def no_feedback(scores: Sequence[str] = ()) -> FeedbackCounts:
    """No answers."""
    none: Ints = np.zeros((0, SCORES + len(scores)), np.int64)
    return FeedbackCounts(tuple(scores), none, np.zeros(0, np.int64), np.zeros(len(REASONS), np.int64))


def summed(answers: Ints, counts: Ints, scores: tuple[str, ...], unmatched: Counts) -> FeedbackCounts:
    """The counts of (N, SCORES + S) answers, which may be repeated; those that cancel out are left out."""
    if not len(answers):
        return FeedbackCounts(scores, answers, counts, unmatched)
    return FeedbackCounts(scores, *distinct(answers, counts), unmatched)
