"""What is told of an alert, and in which words: the same for every receiver."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from qoemon.core.alerting.rule import Reason

VERSION = 1
"""Of the JSON that is told; a field that changes its meaning raises it, a new one does not."""

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""The rule's name, the service, the sorted labels of the group."""


@dataclass(frozen=True)
class Notice:
    """One alert as it stands.

    alert        the rule's name
    groups       the labels of the group; empty values are labels that the group does not have
    labels       those that the rule adds
    annotations  texts, filled in
    ends_s       None while it fires; like starts_s in seconds since the epoch
    figures      value, lower, upper, threshold, users: those that there are
    """

    alert: str
    service: str
    severity: str
    groups: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_s: float
    ends_s: float | None
    reason: Reason
    figures: Mapping[str, float]

    @property
    def firing(self) -> bool:
        """Whether it fires; else it is resolved."""
        return self.ends_s is None

    @property
    def key(self) -> Key:
        """What tells its alert from all others."""
        return self.alert, self.service, tuple(sorted(self.groups.items()))

    @property
    def at_s(self) -> float:
        """When what it tells came about."""
        return self.starts_s if self.ends_s is None else self.ends_s

    @property
    def id(self) -> str:
        """Of this transition of this alert: the same however often it is told, also after a restart."""
        told = msgspec.json.encode((self.key, self.starts_s, self.firing))
        return hashlib.sha256(told).hexdigest()[:32]


def document(notice: Notice, url: str, sent_s: float) -> dict[str, Any]:
    """The JSON of webhooks and MQTT. url: of the daemon that tells it."""
    return {
        "version": VERSION,
        "id": notice.id,
        "alert": notice.alert,
        "state": "firing" if notice.firing else "resolved",
        "service": notice.service,
        "severity": notice.severity,
        "reason": notice.reason,
        "starts_at": timestamp(notice.starts_s),
        "ends_at": None if notice.ends_s is None else timestamp(notice.ends_s),
        "groups": notice.groups,
        "labels": notice.labels,
        "annotations": notice.annotations,
        "figures": notice.figures,
        "url": url,
        "sent_at": timestamp(sent_s),
    }


def timestamp(time_s: float) -> str:
    """RFC 3339 in UTC, to the millisecond and never later than that time."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
