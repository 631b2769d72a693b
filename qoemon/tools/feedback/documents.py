"""The parts of a daemon's documents about feedback that the commands read: figures, and answers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal, TypeVar

import msgspec

from qoemon.common.text import SHORT, printable
from qoemon.tools.fetch import AnswerError

_Number = Annotated[int, msgspec.Meta(ge=0)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
"""Seconds since the epoch, within what a calendar can express."""

Bounds = tuple[float | None, float | None]


class Class(msgspec.Struct):
    """Ratings of sessions whose predicted MOS is in a range."""

    mos_from: float
    mos_to: float
    asked_sessions: _Number
    rated_sessions: _Number
    response_ratio: float | None
    mean_rating: float | None
    expected_mean_rating: float | None
    bias: float | None
    bias_bounds: Bounds


class Model(msgspec.Struct):
    """Whether the model holds; since_s is of one that is off."""

    state: Literal["too_few", "holds", "off"]
    since_s: _Time | None = None

    @property
    def since(self) -> date | None:
        """The day since which the model is off; None if it is not."""
        return None if self.since_s is None else datetime.fromtimestamp(self.since_s, UTC).date()


class Score(msgspec.Struct):
    """What a score of clients is worth."""

    weight: float | None
    worth: float | None


class Scores(msgspec.Struct):
    """The scores by name."""

    by_score: dict[str, Score]


class Figures(msgspec.Struct):
    """What the users of a service said lately, beside the predictions; None: too few ratings."""

    text: str
    days: _Number
    rated_sessions: _Number
    ratings: dict[str, _Number]
    expected_ratings: dict[str, float]
    bias: float | None
    bias_bounds: Bounds
    spread_ratio: float | None
    spread_ratio_bounds: Bounds
    rank_ratio: float | None
    classes: list[Class]
    model: Model
    scores: Scores


class Service(msgspec.Struct):
    """A service of a snapshot."""

    service: str
    feedback: Figures | None


class Snapshot(msgspec.Struct):
    """The services of a snapshot."""

    services: list[Service]


class Answer(msgspec.Struct):
    """An answer that some sessions of a day gave, in one condition: the arguments of the mapping by name."""

    condition: dict[str, float]
    mos: float
    asked: bool
    rating: int | None
    thumb: Literal["up", "down"] | None
    sessions: Annotated[int, msgspec.Meta(ge=1)]


class Day(msgspec.Struct):
    """The answers of a UTC day."""

    day: date
    answers: list[Answer]


class Scale(msgspec.Struct):
    """The rating scale."""

    low: int
    high: int
    good: int
    poor: int


class Answers(msgspec.Struct):
    """All answers that are kept of a service, and the model that its ratings are predicted from.

    axes  names of the arguments of the mapping; none if only the predicted MOS of a session is kept
    """

    service: str
    mapping: str
    inputs: list[str]
    parameters: dict[str, float]
    ratings: str
    theta: float
    theta_band: list[float]
    scale: Scale
    axes: list[str]
    days: list[Day]

    def between(self, since: date | None, until: date | None) -> Answers:
        """The answers of these days only, both included."""
        some = [each for each in self.days if (since or date.min) <= each.day <= (until or date.max)]
        return msgspec.structs.replace(self, days=some)


T = TypeVar("T")


def decoded(body: bytes, kind: type[T]) -> T:
    """The document in this JSON; AnswerError if it is another."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        reason = printable(str(error), SHORT)
        raise AnswerError(f"the answer is none of this qoemon about feedback: {reason}") from None
