"""Statistics of a receiver."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReceiverStats:
    """Delivery statistics of one receiver. Totals count notices since the start.

    sent        accepted by the receiver, repetitions included
    failed      failed attempts
    dropped     discarded: rejected permanently, or no room in the queue
    queue       waiting, or being sent
    last_error  error of the last attempt; None if it succeeded
    """

    name: str
    sent: int
    failed: int
    dropped: int
    queue: int
    last_error: str | None
