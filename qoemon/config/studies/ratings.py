"""The ratings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Floats, Ints


@dataclass(frozen=True)
class Ratings:
    """The N ratings of C conditions.

    low, high  ends of the scale, scale points
    names      (C,) of the conditions, in the order of the file
    condition  (N,) index of the condition of each rating; each condition has at least one
    rating     (N,) scale points
    user       (N,) number of the user who gave it, from 0; None if the study does not say who gave which
    notes      what was left out of the file, or is unlikely, in words
    """

    low: float
    high: float
    names: tuple[str, ...]
    condition: Ints
    rating: Floats
    user: Ints | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, low: float, high: float, conditions: Mapping[str, Floats]) -> Ratings:
        """The ratings of conditions by their names, (n,) each, of users who are not known."""
        sizes = [len(each) for each in conditions.values()]
        condition = np.repeat(np.arange(len(sizes)), sizes)
        rating = np.concatenate([np.zeros(0), *conditions.values()])
        return cls(low, high, tuple(conditions), condition, rating)

    @cached_property
    def conditions(self) -> Mapping[str, Floats]:
        """By name: (n,) the ratings of a condition, in the order of the file."""
        order = np.argsort(self.condition, kind="stable")
        ends = np.cumsum(np.bincount(self.condition, minlength=len(self.names)))
        parts = np.split(self.rating[order], ends)[:-1]
        return dict(zip(self.names, parts, strict=True))


@dataclass(frozen=True)
class Moments:
    """What a study without single ratings says of its C conditions.

    low, high  ends of the scale, scale points
    names      (C,) of the conditions
    mos        (C,) mean of the ratings, scale points
    variance   (C,) of the ratings (ddof 1), scale points squared; NaN of a single rating
    size       (C,) number of ratings
    notes      what was left out of the file, or is unlikely, in words
    """

    low: float
    high: float
    names: tuple[str, ...]
    mos: Floats
    variance: Floats
    size: Ints
    notes: tuple[str, ...] = ()
