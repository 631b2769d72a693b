"""Routes each report to the worker that has its session, and tracks which messages are committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qoemon.core.wire.partition import Partitioner
from qoemon.engine.workers.channel import packed
from qoemon.engine.workers.messages import IngestBatch
from qoemon.inputs.inbox import Message
from qoemon.state.frames import StoredMessage, encode


class RoutedBatch(NamedTuple):
    """Messages, and the packed IngestBatch of this number for each worker."""

    number: int
    messages: Sequence[Message]
    batches: dict[int, bytes]


@dataclass
class _Uncommitted:
    number: int
    messages: Sequence[Message]
    waits_for: set[int]
    """The workers that have not committed their part."""


class Router:
    """Splits messages by worker; calls on_committed with messages that all workers have committed, in order."""

    def __init__(self, partitioner: Partitioner, on_committed: Callable[[Sequence[Message]], object]) -> None:
        self.partitioner, self._on_committed = partitioner, on_committed
        self._number = 0
        self._uncommitted: deque[_Uncommitted] = deque()

    def route(self, messages: Sequence[Message]) -> RoutedBatch:
        """Split messages by worker. May run in a thread, one call at a time."""
        parts: dict[int, list[StoredMessage]] = {}
        for message in messages:
            for shard, payload in self.partitioner.split(message.topic, message.payload, message.kind):
                part = StoredMessage(message.topic, payload, message.arrival_s, message.kind)
                parts.setdefault(shard, []).append(part)
        self._number += 1
        batches = {worker: packed(IngestBatch(self._number, encode(some))) for worker, some in parts.items()}
        return RoutedBatch(self._number, messages, batches)

    def dispatch(self, routed: RoutedBatch, send: Callable[[int, int, bytes], object]) -> None:
        """Send each worker its part: send(worker, number, packed batch)."""
        self._uncommitted.append(_Uncommitted(routed.number, routed.messages, set(routed.batches)))
        for worker, batch in routed.batches.items():
            send(worker, routed.number, batch)
        self._release()  # There may be no part for any worker.

    def committed(self, worker: int, number: int) -> None:
        """A worker has committed all its batches up to this number."""
        for each in self._uncommitted:
            if each.number > number:
                break
            each.waits_for.discard(worker)
        self._release()

    def _release(self) -> None:
        while self._uncommitted and not self._uncommitted[0].waits_for:
            self._on_committed(self._uncommitted.popleft().messages)
