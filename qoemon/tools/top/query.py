"""Which groups of a snapshot to show, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qoemon.common import duration
from qoemon.common.text import plain
from qoemon.tools.top.options import SortBy
from qoemon.tools.top.snapshot import Alert, Answer, Group, Snapshot, Window, windows_of


class QueryError(Exception):
    """What was asked for cannot be had; says what there is."""


@dataclass(frozen=True)
class Row:
    """A group to show; judged is None as long as there is nothing to judge in the window."""

    service: str
    group: Group
    judged: Window | None
    raw: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, ...]:
        """Service and label values: what names the group."""
        return (self.service, *self.group.labels.values())


@dataclass(frozen=True)
class Query:
    """Which groups to show, and how.

    window_s  None is the shortest that the snapshot has
    labels    values that a group may have, of each label that matters
    """

    window_s: float | None = None
    sort: SortBy = "pow"
    service: str | None = None
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def window(self, snapshot: Snapshot) -> str:
        """Its name in the snapshot; "-" if there is none yet."""
        if self.window_s is not None:
            return duration.text(self.window_s)
        return min(windows_of(snapshot), key=duration.seconds, default="-")

    def rows(self, answer: Answer) -> list[Row]:
        """The groups asked for, worst first."""
        window = self.window(answer.snapshot)
        rows = [
            Row(service.service, group, group.windows.get(window), raw_group)
            for service, raw in zip(answer.snapshot.services, answer.raw["services"], strict=True)
            for group, raw_group in zip(service.groups, raw["groups"], strict=True)
            if self._wants(service.service, group.labels)
        ]
        return sorted(rows, key=lambda row: (_RANKS[self.sort](row), row.key))

    def alerts(self, snapshot: Snapshot) -> list[Alert]:
        """Those of the groups asked for that fire or are about to; those that fire come first."""
        told = [
            alert
            for alert in snapshot.alerts
            if alert.state in {"firing", "pending"} and self._wants(alert.service, alert.labels)
        ]
        return sorted(told, key=lambda alert: (alert.state != "firing", alert.since_s))

    def problems(self, snapshot: Snapshot) -> list[str]:
        """What was asked for that the snapshot does not have, in words."""
        services = [service.service for service in snapshot.services]
        asked = [("service", self.service, services)]
        asked += [("label", label, snapshot.labels) for label in self.labels]
        if self.window_s is not None and (windows := sorted(windows_of(snapshot), key=duration.seconds)):
            asked.append(("window", self.window(snapshot), windows))
        return [
            f"there is no {kind} {plain(name)!r} in the snapshot; it has {', '.join(map(plain, there)) or 'none'}"
            for kind, name, there in asked
            if name is not None and name not in there
        ]

    def _wants(self, service: str, labels: Mapping[str, str]) -> bool:
        return self.service in {None, service} and all(
            labels.get(label) in values for label, values in self.labels.items()
        )


def wanted(filters: Sequence[str]) -> dict[str, frozenset[str]]:
    """Label values from texts such as "region=eu"; a label named twice may have either.

    raises  QueryError if a text is no filter
    """
    labels: dict[str, frozenset[str]] = {}
    for text in filters:
        label, equals, value = text.partition("=")
        if not (label and equals):
            raise QueryError(f"{text!r} is no filter; expected a label and its value, such as region=eu")
        labels[label] = labels.get(label, frozenset()) | {value}
    return labels


def _descending(value: float | None) -> float:
    """The greatest first; those without a figure last."""
    return float("inf") if value is None else -value


def _ascending(value: float | None) -> float:
    return float("inf") if value is None else value


_RANKS: dict[SortBy, Callable[[Row], float]] = {
    "pow": lambda row: _descending(row.judged.pow if row.judged else None),
    "mos": lambda row: _ascending(row.judged.mos if row.judged else None),
    "gob": lambda row: _ascending(row.judged.gob if row.judged else None),
    "sessions": lambda row: -row.group.active_sessions,
    "name": lambda _: 0.0,
}
"""Worst first, or most first; equals come by name."""
