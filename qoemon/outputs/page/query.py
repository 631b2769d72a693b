"""What a browser may ask of the page's API, and what is wrong with a question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from qoemon.common import duration
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import Snapshot

Sort = Literal["state", "poor_users", "pow", "mos", "gob", "sessions", "name"]
Order = Literal["asc", "desc"]

LIMIT, MOST_ROWS = 50, 500

LABEL = "label."
"""Before the name of a label in a query string."""

_LONGEST_FILTER = 200

Word = TypeVar("Word", bound=str)


class QueryError(ValueError):
    """A question that cannot be answered; says what could be asked."""


@dataclass(frozen=True)
class Query:
    """Which rows of the table, and how. window: None is the shortest."""

    sort: Sort = "state"
    order: Order = "desc"
    filter: str = ""
    limit: int = LIMIT
    window: str | None = None

    @classmethod
    def parse(cls, asked: Mapping[str, str]) -> Query:
        """From the parameters of a URL; QueryError if one of them is none."""
        return cls(
            sort=_one_of("sort", asked.get("sort", "state"), get_args(Sort)),
            order=_one_of("order", asked.get("order", "desc"), get_args(Order)),
            filter=asked.get("filter", "")[:_LONGEST_FILTER],
            limit=_limit(asked.get("limit", str(LIMIT))),
            window=asked.get("window") or None,
        )

    @staticmethod
    def lengths(snapshot: Snapshot) -> list[int]:
        """Seconds of the windows that there are, ascending."""
        return sorted(snapshot.services[0].distributions)

    @classmethod
    def windows(cls, snapshot: Snapshot) -> list[str]:
        """What they are called."""
        return [duration.text(length) for length in cls.lengths(snapshot)]

    def window_of(self, snapshot: Snapshot) -> int:
        """Seconds of the window asked for; QueryError if there is none such."""
        if self.window is None:
            return self.lengths(snapshot)[0]
        known = dict(zip(self.windows(snapshot), self.lengths(snapshot), strict=True))
        _one_of("window", self.window, tuple(known))
        return known[self.window]


def group_asked(asked: Mapping[str, str], snapshot: Snapshot) -> tuple[str, Labels]:
    """The service and the label values that a URL names; QueryError if it names no service that there is."""
    services = tuple(service.service.name for service in snapshot.services)
    service = _one_of("service", asked.get("service", ""), services)
    return service, tuple(asked.get(LABEL + label, "") for label in snapshot.labels)


def _one_of(name: str, value: str, known: tuple[Word, ...]) -> Word:
    for each in known:
        if each == value:
            return each
    raise QueryError(f"{name} is {value!r}, expected one of {', '.join(known)}")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise QueryError(f"limit is {text!r}, expected a number of rows from 1 to {MOST_ROWS}")
    return max(1, min(int(text), MOST_ROWS))
