"""What is told of an alert, and in which words: the same for every receiver."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from qoemon.core.alerting.rule import Reason

VERSION = 1
"""Of the JSON that is told; a field that changes its meaning raises it, a new one does not."""

ABSENT = "n/a"
"""What a text says where there is no figure: of a group that is gone, for instance."""

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""The rule's name, the service, the sorted labels of the group."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


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


@dataclass(frozen=True)
class ReceiverState:
    """How it goes with one receiver. Totals are notices since the start.

    sent        accepted, repetitions included
    failed      attempts that failed
    dropped     given up: refused for good, or no room
    queue       waiting or under way
    last_error  None while all is well
    """

    name: str
    sent: int
    failed: int
    dropped: int
    queue: int
    last_error: str | None


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


def placeholders(template: str) -> frozenset[str]:
    """The names in a template such as "{value:.1%} of {users} users in {region}".

    raises   ValueError, with what was expected, if it has anything else in braces: the values come from the wire,
             so a template reaches for nothing inside them
    """
    return frozenset(name for _, name, _ in _parts(template) if name)


def render(template: str, values: Mapping[str, object]) -> str:
    """The template with its names replaced by values, numbers as their format says; None is written as `n/a`.

    Braces in a value stay as they are.

    raises   ValueError or TypeError for what `template_fault` would have found
    """
    return "".join(text + _written(values, name, form) for text, name, form in _parts(template))


def template_fault(template: str, examples: Mapping[str, object]) -> str | None:
    """What a template should be and this one is not, given an example for every name; None if it is good."""
    try:
        unknown = sorted(placeholders(template) - examples.keys())
    except ValueError as error:
        return str(error)
    if unknown:
        return f"only the names {', '.join(examples)} in braces, unlike {', '.join(unknown)}"
    try:
        render(template, examples)
    except (ValueError, TypeError) as error:
        return f"a format that fits its value ({error})"
    return None


def _parts(template: str) -> list[tuple[str, str, str]]:
    """(text, name after it or "", its format) one after the other."""
    expected = "{name} or {name:format} wherever there are braces, {{ and }} for braces themselves"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{expected} ({error})") from None
    for _, name, form, conversion in parts:
        if name is not None and (not _NAME.fullmatch(name) or conversion or "{" in (form or "")):
            raise ValueError(expected)
    return [(text, name or "", form or "") for text, name, form, _ in parts]


def _written(values: Mapping[str, object], name: str, form: str) -> str:
    if not name:
        return ""
    value = values.get(name)
    return ABSENT if value is None else format(value, form)
