"""Routes messages to shards, and tracks which messages all their shards have committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from qoemon.inputs.inbox import Message

Batch = TypeVar("Batch")
"""What a shard gets of some messages."""

Divide = Callable[[int, Sequence[Message]], Mapping[int, Batch]]
"""divide(number, messages): by shard, its part of the messages with that number."""


class Routed(NamedTuple, Generic[Batch]):
    """Messages, and the parts of them by shard."""

    number: int
    messages: Sequence[Message]
    batches: Mapping[int, Batch]


@dataclass
class _Uncommitted:
    number: int
    messages: Sequence[Message]
    waits_for: set[int]
    """The shards that have not committed their part."""


class Router(Generic[Batch]):
    """Divides messages by shard; calls on_committed with messages that all shards have committed, in order."""

    def __init__(self, divide: Divide[Batch], on_committed: Callable[[Sequence[Message]], object]) -> None:
        self._divide, self._on_committed = divide, on_committed
        self._number = 0
        self._uncommitted: deque[_Uncommitted] = deque()

    @property
    def uncommitted(self) -> int:
        """How many times messages were dispatched that are not committed yet."""
        return len(self._uncommitted)

    def route(self, messages: Sequence[Message]) -> Routed[Batch]:
        """Divide messages by shard. May run in a thread, one call at a time."""
        self._number += 1
        return Routed(self._number, messages, self._divide(self._number, messages))

    def dispatch(self, routed: Routed[Batch], send: Callable[[int, int, Batch], object]) -> None:
        """Send each shard its part: send(shard, number, batch)."""
        self._uncommitted.append(_Uncommitted(routed.number, routed.messages, set(routed.batches)))
        for shard, batch in routed.batches.items():
            send(shard, routed.number, batch)
        self._release()  # There may be no part for any shard.

    def committed(self, shard: int, number: int) -> None:
        """A shard has committed all its parts up to this number."""
        for each in self._uncommitted:
            if each.number > number:
                break
            each.waits_for.discard(shard)
        self._release()

    def _release(self) -> None:
        while self._uncommitted and not self._uncommitted[0].waits_for:
            self._on_committed(self._uncommitted.popleft().messages)
