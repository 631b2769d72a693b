"""How it goes from the broker to the store: of one process, or of several together."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any, TypeVar

from qoemon.inputs.inbox import Inbox
from qoemon.inputs.stats import MqttStats
from qoemon.state.writer import WriterStats

T = TypeVar("T")


@dataclass(frozen=True)
class Intake:
    """What the parts of one process say of themselves. Totals count since the process began."""

    ingest: MqttStats = field(default_factory=MqttStats)
    kept: WriterStats = field(default_factory=WriterStats)
    inbox_messages: int = 0
    inbox_bytes: int = 0
    dropped: int = 0
    withheld: int = 0


def intake_of(ingest: MqttStats, kept: WriterStats, inbox: Inbox) -> Intake:
    """How it goes with these; a copy."""
    return Intake(
        ingest=deepcopy(ingest),
        kept=deepcopy(kept),
        inbox_messages=inbox.messages,
        inbox_bytes=inbox.bytes,
        dropped=inbox.dropped,
        withheld=inbox.withheld,
    )


GONE = {
    "connected": True,
    "subscribed": True,
    "last_error": None,
    "problem": None,
    "journal_bytes": 0,
    "inbox_messages": 0,
    "inbox_bytes": 0,
}
"""What is no longer so when a process has ended, in the words that change nothing in a sum."""


def together(parts: Sequence[T]) -> T:
    """One of them all: numbers are added up, what should be true has to be true of all, of texts the first counts.

    Times are the latest, None is nothing.
    """
    return reduce(_both, parts)


def gone(part: T) -> T:
    """What a process that has ended still adds to the sums: its totals."""
    values = {each.name: getattr(part, each.name) for each in fields(part)}  # type: ignore[arg-type]
    return type(part)(
        **{
            name: GONE[name] if name in GONE else gone(value) if hasattr(value, "__dataclass_fields__") else value
            for name, value in values.items()
        }
    )


def _both(one: T, other: T) -> T:
    pairs = {each.name: (getattr(one, each.name), getattr(other, each.name)) for each in fields(one)}  # type: ignore[arg-type]
    return type(one)(**{name: _joined(*pair) for name, pair in pairs.items()})


def _joined(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, bool):
        return one and other
    if isinstance(one, int):
        return one + other
    if isinstance(one, float):
        return max(one, other)
    return one if isinstance(one, str) else _both(one, other)


@dataclass(frozen=True)
class WorkerStats:
    """One worker.

    up        it runs, has its sessions, and answers
    restarts  how often it has ended and was started again
    cpu_s     CPU time of the process that runs, and of those before it, seconds
    memory    resident, bytes
    reports   taken in, as of its newest tick
    """

    up: bool
    restarts: int = 0
    cpu_s: float = 0.0
    memory: int = 0
    reports: int = 0
