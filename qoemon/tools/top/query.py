"""Selects and sorts the groups of a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from qoemon.common import duration
from qoemon.common.text import SHORT, printable
from qoemon.core.feedback.check import ModelState
from qoemon.tools.fetch import QueryError
from qoemon.tools.top.options import SortBy
from qoemon.tools.top.snapshot import Alert, Answer, Group, Snapshot, Window, windows_of


@dataclass(frozen=True)
class Row:
    """A group to show; estimate: None while the window has no data."""

    service: str
    group: Group
    estimate: Window | None
    raw: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, ...]:
        """Service and label values, which identify the group."""
        return (self.service, *self.group.labels.values())


@dataclass(frozen=True)
class Query:
    """Selection and order of groups.

    by        show sums of the groups over all labels but these; None: the groups
    window_s  None: the shortest window of the snapshot
    labels    allowed values, by label
    """

    window_s: float | None = None
    sort: SortBy = "pow"
    service: str | None = None
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)
    by: tuple[str, ...] | None = None

    def address(self, snapshot: URL) -> URL:
        """The address of the groups or sums to show, given that of the daemon's snapshot."""
        return snapshot if self.by is None else snapshot.update_query(by=",".join(self.by))

    def window(self, snapshot: Snapshot) -> str:
        """Name of the window in the snapshot; "-" if there is none yet."""
        if self.window_s is not None:
            return duration.text(self.window_s)
        return min(windows_of(snapshot), key=duration.seconds, default="-")

    def rows(self, answer: Answer) -> list[Row]:
        """The selected groups, worst first."""
        window = self.window(answer.snapshot)
        rows = [
            Row(service.service, group, group.windows.get(window), raw_group)
            for service, raw in zip(answer.snapshot.services, answer.raw["services"], strict=True)
            for group, raw_group in zip(service.groups, raw["groups"], strict=True)
            if self._selects(service.service, group.labels)
        ]
        return sorted(rows, key=lambda row: (_RANKS[self.sort](row), row.key))

    def alerts(self, snapshot: Snapshot) -> list[Alert]:
        """Firing and pending alerts of the selected groups, firing ones first."""
        selected = [
            alert
            for alert in snapshot.alerts
            if alert.state in {"firing", "pending"} and self._selects(alert.service, alert.labels)
        ]
        return sorted(selected, key=lambda alert: (alert.state != "firing", alert.since_s))

    def where_first(self, snapshot: Snapshot) -> dict[str, str]:
        """Where to look first in each selected service that has excess poor ratings, as a sentence."""
        return {
            service.service: service.where_first.text
            for service in snapshot.services
            if service.where_first and self.service in {None, service.service}
        }

    def models_off(self, snapshot: Snapshot) -> dict[str, str]:
        """A sentence about each selected service whose users rate otherwise than its model predicts."""
        return {
            service.service: service.feedback.text
            for service in snapshot.services
            if service.feedback
            and service.feedback.model.state == ModelState.OFF
            and self.service in {None, service.service}
        }

    def problems(self, snapshot: Snapshot) -> list[str]:
        """Messages about what the query names and the snapshot lacks."""
        services = [service.service for service in snapshot.services]
        requested = [("service", self.service, services)]
        requested += [("label", label, snapshot.labels) for label in self.labels]
        if self.window_s is not None and (windows := sorted(windows_of(snapshot), key=duration.seconds)):
            requested.append(("window", self.window(snapshot), windows))
        return [
            f"there is no {kind} '{printable(name, SHORT)}' in the snapshot; it has {_names(known)}"
            for kind, name, known in requested
            if name is not None and name not in known
        ]

    def _selects(self, service: str, labels: Mapping[str, str]) -> bool:
        return self.service in {None, service} and all(
            labels.get(label) in values for label, values in self.labels.items()
        )


def labels_of(text: str | None) -> tuple[str, ...] | None:
    """The labels of a list such as "region,cdn"; None if there is no list."""
    return None if text is None else tuple(name for part in text.split(",") if (name := part.strip()))


def wanted(filters: Sequence[str]) -> dict[str, frozenset[str]]:
    """Label values from filters such as "region=eu"; a label named twice may have either value.

    raises  QueryError if a text is not a filter
    """
    labels: dict[str, frozenset[str]] = {}
    for text in filters:
        label, equals, value = text.partition("=")
        if not (label and equals):
            raise QueryError(f"{text!r} is not a filter; expected a label and its value, such as region=eu")
        labels[label] = labels.get(label, frozenset()) | {value}
    return labels


def _names(known: Sequence[str]) -> str:
    return ", ".join(printable(name, SHORT) for name in known) or "none"


def _descending(value: float | None) -> float:
    """Sort key: greatest first, None last."""
    return float("inf") if value is None else -value


def _ascending(value: float | None) -> float:
    """Sort key: smallest first, None last."""
    return float("inf") if value is None else value


_RANKS: dict[SortBy, Callable[[Row], float]] = {
    "pow": lambda row: _descending(row.estimate.pow if row.estimate else None),
    "mos": lambda row: _ascending(row.estimate.mos if row.estimate else None),
    "gob": lambda row: _ascending(row.estimate.gob if row.estimate else None),
    "sessions": lambda row: -row.group.active_sessions,
    "name": lambda _: 0.0,
}
"""Sort keys: worst first, or most first; ties by name."""
