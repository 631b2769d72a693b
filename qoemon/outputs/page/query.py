"""Parameters of requests to the page's API, and errors in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from qoemon.common import duration
from qoemon.core.counting.groups import Labels
from qoemon.core.snapshot.snapshot import Snapshot

Sort = Literal["excess", "state", "poor_users", "pow", "mos", "gob", "users", "name"]
Order = Literal["asc", "desc"]

LIMIT, MOST_ROWS = 50, 500
"""Rows of an answer: by default, and at most."""

LABEL = "label."
"""Prefix of a label's name in a query string."""

_LONGEST_FILTER = 200

Word = TypeVar("Word", bound=str)


class QueryError(ValueError):
    """An invalid parameter. The text names the valid values."""


@dataclass(frozen=True)
class Query:
    """Which rows of the table, in which order.

    by             name of a roll-up: its sums have rows instead of the groups; empty: the groups
    limit, offset  how many rows, and how many rows before them are left out
    empty          whether groups without data have rows
    window         None means the shortest
    """

    by: str = ""
    sort: Sort = "excess"
    order: Order = "desc"
    filter: str = ""
    limit: int = LIMIT
    offset: int = 0
    empty: bool = False
    window: str | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> Query:
        """The query of these URL parameters; QueryError if one is invalid."""
        return cls(
            by=parameters.get("by", ""),
            sort=_one_of("sort", parameters.get("sort", "excess"), get_args(Sort)),
            order=_one_of("order", parameters.get("order", "desc"), get_args(Order)),
            filter=parameters.get("filter", "")[:_LONGEST_FILTER],
            limit=max(1, min(_rows("limit", parameters.get("limit", str(LIMIT))), MOST_ROWS)),
            offset=_rows("offset", parameters.get("offset", "0")),
            empty=_one_of("empty", parameters.get("empty", "false"), ("true", "false")) == "true",
            window=parameters.get("window") or None,
        )

    @staticmethod
    def lengths(snapshot: Snapshot) -> list[int]:
        """Lengths of the configured windows in seconds, ascending."""
        return sorted(snapshot.services[0].distributions)

    @classmethod
    def windows(cls, snapshot: Snapshot) -> list[str]:
        """Names of the windows, shortest first."""
        return [duration.text(length) for length in cls.lengths(snapshot)]

    def window_of(self, snapshot: Snapshot) -> int:
        """Length of the requested window in seconds; QueryError if it does not exist."""
        if self.window is None:
            return self.lengths(snapshot)[0]
        known = dict(zip(self.windows(snapshot), self.lengths(snapshot), strict=True))
        _one_of("window", self.window, tuple(known))
        return known[self.window]


def parse_group(parameters: Mapping[str, str], snapshot: Snapshot) -> tuple[str, Labels]:
    """The service and label values of these URL parameters; QueryError if the service does not exist."""
    service = _one_of("service", parameters.get("service", ""), _services(snapshot))
    return service, tuple(parameters.get(LABEL + label, "") for label in snapshot.labels)


def names_service(parameters: Mapping[str, str], snapshot: Snapshot) -> bool:
    """Whether these URL parameters name a service that exists."""
    return parameters.get("service") in _services(snapshot)


def _services(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(service.service.name for service in snapshot.services)


def _one_of(name: str, value: str, known: tuple[Word, ...]) -> Word:
    for each in known:
        if each == value:
            return each
    raise QueryError(f"{name} is {value!r}, expected one of {', '.join(known)}")


def _rows(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise QueryError(f"{name} is {text!r}, expected a number of rows")
    return int(text)
