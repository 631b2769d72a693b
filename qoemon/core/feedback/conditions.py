"""The answers of a day by condition: what a refit of the constants needs, and a day's sums with other constants.

A condition is a number whose meaning belongs to the service, see FeedbackDays. There is no session and no time of
day in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Arrays, Counts, Floats, Ints

NO_RATING = -(2**31)
"""In the place of a rating: there is none."""


@dataclass(frozen=True)
class AnswersOfDay:
    """How many sessions were in this condition and gave this answer; sessions without an answer included.

    cells   (N, 4) distinct: condition, 1 if the question was shown or answered, rating (NO_RATING without one), and
            1 for a thumb up, -1 for one down, 0 without one
    counts  (N,) sessions
    """

    cells: Ints
    counts: Counts

    @classmethod
    def nothing(cls) -> AnswersOfDay:
        """No sessions."""
        return cls(np.zeros((0, 4), np.int64), np.zeros(0, np.int64))

    def plus(self, cells: Ints, counts: Counts) -> AnswersOfDay:
        """With these cells, which may be repeated, and their counts, which may be below 0."""
        return AnswersOfDay(*distinct(np.concatenate([self.cells, cells]), np.concatenate([self.counts, counts])))


class GivenAnswers(NamedTuple):
    """The answers of the users of one service.

    days  by UTC day since the epoch, ascending; the same object while nothing changes
    axes  (C,) each: the arguments of the mapping at each condition; none if only the predicted MOS is kept
    mos   (C,) MOS by the constants in force, scale points
    """

    days: Mapping[int, AnswersOfDay]
    axes: tuple[Floats, ...]
    mos: Floats


def distinct(rows: Ints, counts: Counts) -> tuple[Ints, Counts]:
    """The distinct ones of some rows (N, ...), and the sums of their counts; without those that cancel out."""
    if not len(rows):
        return rows, counts
    found, index = np.unique(rows, axis=0, return_inverse=True)
    totals: Counts = np.zeros(len(found), np.int64)
    np.add.at(totals, index.reshape(-1), counts)
    some = np.flatnonzero(totals)
    return found[some], totals[some]


def dump_answers(days: Mapping[int, AnswersOfDay]) -> Arrays:
    """All days as arrays by name."""
    sizes = np.array([len(each.counts) for each in days.values()], np.int64)
    none = AnswersOfDay.nothing()
    return {
        "day": np.array([*days], np.int64),
        "sizes": sizes,
        "cells": np.concatenate([none.cells, *(each.cells for each in days.values())]).astype(np.int32),
        "counts": np.concatenate([none.counts, *(each.counts for each in days.values())]),
    }


def load_answers(state: Arrays) -> dict[int, AnswersOfDay]:
    """The days of dump_answers()."""
    # The last part is empty: it has what follows the last day.
    ends = np.cumsum(state["sizes"])
    cells, counts = np.split(state["cells"].astype(np.int64), ends), np.split(state["counts"], ends)
    return {day: AnswersOfDay(*each) for day, *each in zip(state["day"].tolist(), cells, counts, strict=False)}
