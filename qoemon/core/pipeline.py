"""The straight line from bytes to what is thought of them: decode, apply, snapshot, watch.

The daemon runs it as messages arrive; a restart and a replay run it again over the same messages, with the times
that were recorded, and come to the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from qoemon.core.alert import Rule
from qoemon.core.codec import Arrived, Codec, Decoded
from qoemon.core.monitor import Monitor
from qoemon.core.plan import Plan
from qoemon.core.regime import RegimeRules
from qoemon.core.report import Reject
from qoemon.core.snapshot import Snapshot
from qoemon.core.watch import Watch, Watched

MOST_AT_ONCE = 10_000
"""Messages that a recorded stream is taken in by: enough to work on columns, few enough for memory."""


class Ticked(NamedTuple):
    """What a tick has to say."""

    snapshot: Snapshot
    watched: Watched


class Pipeline:
    """A plan at work. Called from one thread at a time, with time moving forward."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], regimes: RegimeRules) -> None:
        timing = plan.timing
        self._tick_s = timing.tick_s
        self._memory = int(timing.session_timeout_s + max(timing.windows_s)) // timing.tick_s + 2
        """Ticks after which nothing is left of what was reported."""
        self.codec, self.monitor, self.watch = Codec(plan), Monitor(plan), Watch(plan, rules, regimes)
        self.rejected: Counter[Reject] = Counter()
        """Reports that could not be taken, since the beginning."""

    def apply(self, messages: Sequence[Arrived]) -> Decoded:
        """Take in messages, in the order of their arrival; what they held."""
        decoded = self.codec.decode(messages)
        self.rejected.update(decoded.rejected)
        if len(decoded.batch):
            self.monitor.apply(decoded.batch, messages[-1].arrival_s)
        return decoded

    def tick(self, tick_s: int) -> Ticked:
        """What is to be said at this tick, seconds since the epoch; every message before it has been applied."""
        snapshot = self.monitor.snapshot(tick_s)
        return Ticked(snapshot, self.watch.see(snapshot))

    def run(
        self, messages: Iterable[Arrived], on_decoded: Callable[[Decoded], object] | None = None
    ) -> Iterator[Ticked]:
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

    def until(self, now_s: float) -> Iterator[Ticked]:
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
