"""The straight line from bytes to counts: decode, apply; what is said of them at a tick is for its kinds.

The daemon runs it as messages arrive; a restart and a replay run it again over the same messages, with the times
that were recorded, and come to the same state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, part
from qoemon.core.counting.monitor import Monitor
from qoemon.core.plan.plan import Plan
from qoemon.core.wire.codec import Arrived, Codec, Decoded
from qoemon.core.wire.report import Reject

MOST_AT_ONCE = 10_000
"""Messages that a recorded stream is taken in by: enough to work on columns, few enough for memory."""

Said = TypeVar("Said")


class Line(ABC, Generic[Said]):
    """A plan at work. Called from one thread at a time, with time moving forward."""

    def __init__(self, plan: Plan) -> None:
        timing = plan.timing
        self._tick_s = timing.tick_s
        self._memory = int(timing.session_timeout_s + max(timing.windows_s)) // timing.tick_s + 2
        """Ticks after which nothing is left of what was reported."""
        self.codec, self.monitor = Codec(plan), Monitor(plan)
        self.rejected: Counter[Reject] = Counter()
        """Reports that could not be taken, since the beginning."""

    @abstractmethod
    def tick(self, tick_s: int) -> Said:
        """What is to be said at this tick, seconds since the epoch; every message before it has been applied."""

    def dump(self) -> Arrays:
        """All that a restart needs, as arrays by name."""
        rejected = msgspec.json.encode(self.rejected)
        counts = {f"monitor/{name}": array for name, array in self.monitor.dump().items()}
        return counts | {"rejected": np.frombuffer(rejected, np.uint8)}

    def load(self, state: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Take over what dump() gave, into a Line that has seen nothing yet.

        returns  the services that begin anew, as they are judged otherwise than when the state was dumped
        raises   StateError if nothing of it fits
        """
        anew = self.monitor.load(part("monitor/", state))
        self.rejected = Counter(msgspec.json.decode(state["rejected"].tobytes(), type=dict[Reject, int]))
        return anew

    def shift(self, by_s: int) -> None:
        """Move everything held in time, as the clock was set: by whole rating intervals, in seconds."""
        self.monitor.shift(by_s)

    def apply(self, messages: Sequence[Arrived]) -> Decoded:
        """Take in messages, in the order of their arrival; what they held."""
        decoded = self.codec.decode(messages)
        self.rejected.update(decoded.rejected)
        if len(decoded.batch):
            self.monitor.apply(decoded.batch, messages[-1].arrival_s)
        return decoded

    def run(
        self, messages: Iterable[Arrived], on_decoded: Callable[[Decoded], object] | None = None
    ) -> Iterator[Said]:
        """Take in a recorded stream, making each tick that has passed when the next message arrives.

        It goes on from the newest tick so far, and ends with the last message: the tick of that one is not over.

        on_decoded  told what each batch of messages held, for whoever judges the feed itself
        """
        newest = self.monitor.tick
        for tick, arrived in groupby(messages, lambda message: int(message.arrival_s // self._tick_s)):
            newest = tick if newest is None else newest
            for passed in self._eventful(newest, tick):
                yield self.tick(passed * self._tick_s)
            newest = max(newest, tick)
            for some in _slices(arrived, MOST_AT_ONCE):
                decoded = self.apply(some)
                if on_decoded is not None:
                    on_decoded(decoded)

    def until(self, now_s: float) -> Iterator[Said]:
        """The ticks up to now_s when nothing more arrives: after run(), for silence at the end is news too."""
        newest = self.monitor.tick
        if newest is not None:
            for passed in self._eventful(newest, int(now_s // self._tick_s)):
                yield self.tick(passed * self._tick_s)

    def _eventful(self, old: int, new: int) -> Iterator[int]:
        """The ticks after old up to new; of a very long pause the beginning, until all is empty, and the last."""
        settled = old + self._memory
        yield from range(old + 1, min(settled, new) + 1)
        if new > settled:
            yield new


def _slices(messages: Iterable[Arrived], size: int) -> Iterator[list[Arrived]]:
    some: list[Arrived] = []
    for message in messages:
        some.append(message)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
