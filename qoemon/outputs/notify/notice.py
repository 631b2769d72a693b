"""Notices: what receivers get about an alert, and its JSON form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from qoemon.core.alerting.decision import Reason

VERSION = 1
"""Version of the JSON: raised if a field changes its meaning, not for new fields."""

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Identifies an alert: the rule's name, the service, the sorted labels of the group."""


@dataclass(frozen=True)
class Notice:
    """The state of one alert. Times are seconds since the epoch.

    alert        the rule's name
    groups       the labels of the group; an empty value means that the group does not have the label
    labels       those that the rule adds
    annotations  the rule's texts with their placeholders filled in
    ends_s       None while the alert is firing
    figures      alert values that are known: of threshold, value, lower, upper, mos, gob, pow, users
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
        """Whether the alert is firing; otherwise it is resolved."""
        return self.ends_s is None

    @property
    def key(self) -> Key:
        """Identifies the alert."""
        return self.alert, self.service, tuple(sorted(self.groups.items()))

    @property
    def at_s(self) -> float:
        """When the alert entered this state."""
        return self.starts_s if self.ends_s is None else self.ends_s

    @property
    def id(self) -> str:
        """Identifies this transition of this alert: the same at every repetition, also after a restart."""
        # Of a whole second, as ticks are: an integer here, and a float once it was stored.
        content = msgspec.json.encode((self.key, int(self.starts_s), self.firing))
        return hashlib.sha256(content).hexdigest()[:32]


def document(notice: Notice, url: str, sent_s: float) -> dict[str, Any]:
    """The JSON for webhooks and MQTT. url: of the daemon."""
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
    """RFC 3339 in UTC, rounded down to a millisecond."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
