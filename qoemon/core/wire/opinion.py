"""What users say about a session, as columns: ratings, thumbs, and scores that a client has made of other signs.

Few reports have any, so the columns have a row for each of those only, and a batch without opinions has no columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.wire.report import ABSENT_FLOAT, Report, Said

OPINION_FIELDS = ("rating", "thumb", "asked", "ratings", "scores")
"""The fields of a report that are about what its user says."""

LARGEST_SCORE = 1.0
"""Scores are from -LARGEST_SCORE to LARGEST_SCORE."""

_THUMBS = {None: 0, "up": 1, "down": -1}


class Opinion(msgspec.Struct, gc=False, frozen=True):
    """The opinion in one report. `ratings` is for fitting: it is left to those who read the payloads."""

    rating: float = ABSENT_FLOAT
    thumb: Literal["up", "down"] | None = None
    asked: bool = False
    ratings: dict[str, float | None] = {}
    scores: dict[str, float | None] = {}


@dataclass(frozen=True)
class Opinions:
    """The opinions of O of the R reports of a batch, ascending.

    of      (O,) index of the report
    rating  (O,) a number, also one that is not on the scale of the service; ABSENT_FLOAT if missing
    thumb   (O,) int8, 1 up, -1 down, 0 if missing
    asked   (O,) whether the question was shown
    scores  (O,) each: the configured scores by name, any numbers; ABSENT_FLOAT if missing
    """

    of: Ints
    rating: Floats
    thumb: NDArray[np.int8]
    asked: Flags
    scores: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.of)

    def take(self, index: Ints) -> Opinions | None:
        """The opinions of the reports that have a new index, (R,), which is -1 for others; None without any."""
        of = index[self.of]
        kept = np.flatnonzero(of >= 0)
        if not len(kept):
            return None
        return Opinions(
            of=of[kept],
            rating=self.rating[kept],
            thumb=self.thumb[kept],
            asked=self.asked[kept],
            scores={name: column[kept] for name, column in self.scores.items()},
        )


def opinion_of(report: Report, scores: Collection[str]) -> Opinion | None:
    """The opinion in a report, None without any; msgspec.ValidationError names the field that cannot be read.

    scores  names of the scores that are taken; others are dropped, whatever they are
    """
    fields = {
        name: said.value
        for name in OPINION_FIELDS
        if isinstance(said := getattr(report, name), Said) and said.value is not None
    }
    if not fields:
        return None
    if isinstance(given := fields.get("scores"), dict):
        fields["scores"] = {name: score for name, score in given.items() if name in scores}
    return msgspec.convert(fields, Opinion)


def opinions_of(opinions: Sequence[tuple[int, Opinion]], scores: Sequence[str]) -> Opinions | None:
    """The columns of opinions and the indexes of their reports, with the scores of these names; None for none."""
    if not opinions:
        return None
    return Opinions(
        of=np.array([index for index, _ in opinions], np.int64),
        rating=_floats([opinion.rating for _, opinion in opinions]),
        thumb=np.array([_THUMBS[opinion.thumb] for _, opinion in opinions], np.int8),
        asked=np.array([opinion.asked for _, opinion in opinions], np.bool_),
        scores={name: _floats([opinion.scores.get(name) for _, opinion in opinions]) for name in scores},
    )


def joined_opinions(parts: Sequence[tuple[int, Opinions | None]]) -> Opinions | None:
    """The opinions of several batches as of one; each with the number of reports before its batch."""
    some = [(offset, part) for offset, part in parts if part is not None]
    if not some:
        return None
    opinions = [part for _, part in some]
    return Opinions(
        of=np.concatenate([offset + part.of for offset, part in some]),
        rating=np.concatenate([part.rating for part in opinions]),
        thumb=np.concatenate([part.thumb for part in opinions]),
        asked=np.concatenate([part.asked for part in opinions]),
        scores={name: np.concatenate([part.scores[name] for part in opinions]) for name in opinions[0].scores},
    )


def _floats(values: Sequence[Any]) -> Floats:
    return np.array([ABSENT_FLOAT if value is None else value for value in values], np.float64)
