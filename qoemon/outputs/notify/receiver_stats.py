"""Statistics of a receiver."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReceiverStats:
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
