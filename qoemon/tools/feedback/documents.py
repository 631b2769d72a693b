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

_Name = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,200}\Z")]
"""A name that a terminal shows and does not obey."""

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

    by_score: dict[_Name, Score]


class Figures(msgspec.Struct):
    """What the users of a service said lately, beside the predictions; None: too few ratings."""

    text: str
    days: _Number
    rated_sessions: _Number
    ratings: dict[_Name, _Number]
    expected_ratings: dict[_Name, float]
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

    service: _Name
    feedback: Figures | None


class Snapshot(msgspec.Struct):
    """The services of a snapshot."""

    services: list[Service]


class Thumbs(msgspec.Struct):
    """Sessions with a thumb."""

    up: _Number
    down: _Number


class Answer(msgspec.Struct):
    """What the users of the sessions of a day said that were in one condition: arguments of the mapping by name.

    ratings  sessions by rating, those that were given
    """

    condition: dict[_Name, float]
    mos: float
    sessions: _Number
    asked_sessions: _Number
    ratings: dict[int, _Number]
    thumbs: Thumbs


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

    service: _Name
    mapping: _Name
    inputs: list[_Name]
    parameters: dict[_Name, float]
    ratings: _Name
    theta: float
    theta_band: list[float]
    scale: Scale
    axes: list[_Name]
    days: list[Day]

    @property
    def rated(self) -> bool:
        """Whether there is a rating."""
        return any(each.ratings for day in self.days for each in day.answers)

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
