"""Hands each report to the worker that has its session, and says which messages are safe with all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qoemon.core.wire.partition import Partitioner
from qoemon.engine.workers.channel import packed
from qoemon.engine.workers.messages import Take
from qoemon.inputs.inbox import Message
from qoemon.state.frames import StoredMessage, encode


class Routed(NamedTuple):
    """Messages, and what each worker gets of them: a packed Take of this number."""

    number: int
    messages: Sequence[Message]
    takes: dict[int, bytes]


@dataclass
class _Frame:
    number: int
    messages: Sequence[Message]
    waits_for: set[int]
    """The workers with which they are not safe yet."""


class Router:
    """safe  told of messages once they may be acknowledged, in the order in which they came."""

    def __init__(self, splitter: Partitioner, safe: Callable[[Sequence[Message]], object]) -> None:
        self.splitter, self._safe = splitter, safe
        self._number = 0
        self._frames: deque[_Frame] = deque()

    def split(self, messages: Sequence[Message]) -> Routed:
        """What each worker gets of them; also in a thread, one after the other."""
        parts: dict[int, list[StoredMessage]] = {}
        for message in messages:
            for shard, payload in self.splitter.split(message.topic, message.payload):
                parts.setdefault(shard, []).append(StoredMessage(message.topic, payload, message.arrival_s))
        self._number += 1
        takes = {worker: packed(Take(self._number, encode(some))) for worker, some in parts.items()}
        return Routed(self._number, messages, takes)

    def hand_out(self, routed: Routed, take: Callable[[int, int, bytes], object]) -> None:
        """Have each worker take its part: take(worker, number, packed Take)."""
        self._frames.append(_Frame(routed.number, routed.messages, set(routed.takes)))
        for worker, packed_take in routed.takes.items():
            take(worker, routed.number, packed_take)

    def safe_with(self, worker: int, number: int) -> None:
        """Everything up to this number is safe with this worker."""
        for frame in self._frames:
            if frame.number > number:
                break
            frame.waits_for.discard(worker)
        while self._frames and not self._frames[0].waits_for:
            self._safe(self._frames.popleft().messages)
