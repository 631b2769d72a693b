"""One shard of the sessions, from messages to counts: decodes, counts, returns the counts of each tick.

The daemon runs it as messages arrive. Recovery and replay run it over the same messages, with their recorded
arrival times, and get the same counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, named, part
from qoemon.core.counting.counts import ClosedInterval, Event
from qoemon.core.counting.findings import Finding
from qoemon.core.counting.groups import Labels
from qoemon.core.counting.monitor import Monitor
from qoemon.core.counting.session_log import OnSession
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.sparse import dump_intervals, load_intervals, sparse_interval
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Arrived
from qoemon.core.wire.report import Reject
from qoemon.core.wire.unused import Unused, first_empty

MESSAGES_AT_ONCE = 10_000
"""Messages of a recorded stream decoded at once: enough for efficient columns, few enough for memory."""


class ShardPipeline:
    """Counts the sessions of one shard. Called from one thread at a time, with times that do not decrease.

    retain  whether closed intervals are held, and returned at each tick, until forget_closed(): for an evaluation
            in another process, which may end before it has stored them. If not, each is returned once.
    on_session  called with what each run of a session was counted with, once it is over; see hand_on_sessions()
    codec   of the same plan, which pipelines of one thread may share: it remembers topics; None for one of its own
    """

    def __init__(
        self,
        plan: Plan,
        *,
        retain: bool = False,
        on_session: OnSession | None = None,
        codec: Codec | None = None,
    ) -> None:
        timing = plan.timing
        self._plan, self._retain = plan, retain
        self._services = plan.services
        self._tick_s = timing.tick_s
        self._memory = int(timing.session_timeout_s + max(timing.windows_s)) // timing.tick_s + 2
        """Number of ticks after which a report has no influence any more."""
        self._codec, self._monitor = codec or Codec(plan), Monitor(plan, on_session)
        self._rejected: Counter[Reject] = Counter()
        self._closed: list[ClosedInterval] = []

    @property
    def begun(self) -> bool:
        """Whether there was a tick or a report, or a restored state with one."""
        return self._monitor.tick is not None

    @property
    def sessions(self) -> int:
        """Number of sessions held."""
        return self._monitor.sessions

    def first_empty(self, messages: Sequence[Arrived]) -> Unused | None:
        """The first report in these messages that has nothing its service rates, for the log."""
        return first_empty(messages, self._plan)

    @property
    def empty(self) -> int:
        """Accepted reports without anything that their service rates, since the beginning."""
        return self._monitor.events[Event.EMPTY]

    @property
    def events(self) -> Mapping[Event, int]:
        """Number of events since the beginning, as a copy."""
        return self._monitor.events

    def drain_findings(self) -> list[tuple[str, Event, Finding]]:
        """A sample of each kind of report that cannot be right, since the last call: service, kind, sample."""
        return self._monitor.drain_findings()

    @property
    def rejected(self) -> Mapping[Reject, int]:
        """Number of rejected reports by reason, since the beginning."""
        return self._rejected

    def apply(self, messages: Sequence[Arrived]) -> Decoded:
        """Count the reports of messages, which are in the order of their arrival; returns the decoded reports."""
        decoded = self._codec.decode(messages)
        if len(decoded.batch):
            self._monitor.apply(decoded.batch, messages[-1].arrival_s)
        if len(decoded.players):
            too_many = self._monitor.apply_players(decoded.players, messages[-1].arrival_s)
            self._reject_too_many(decoded, too_many.tolist())
        self._rejected.update(decoded.rejected)
        return decoded

    @property
    def newest_s(self) -> int | None:
        """The newest tick so far, seconds since the epoch; None before the first."""
        return None if self._monitor.tick is None else self._monitor.tick * self._tick_s

    def tick(self, tick_s: int) -> ShardCounts:
        """The counts at this tick, seconds since the epoch; every message before it has been applied."""
        services = self._monitor.counts(tick_s)
        closed = tuple(self._collected())
        if not self._retain:
            self._closed = []
        return ShardCounts(
            time_s=tick_s,
            services=services,
            closed=closed,
            events=self._monitor.events,
            rejected=self._rejected.copy(),
            sessions=self.sessions,
        )

    def forget_closed(self, until_s: int) -> None:
        """Drop the closed intervals that end at until_s or before: the evaluation has stored them."""
        self._closed = [interval for interval in self._closed if interval.end_s > until_s]

    def freeze_groups(self, groups: Mapping[str, Iterable[Labels]]) -> None:
        """Pool all other label values of these services, and none of the others, as all shards do from now on."""
        self._monitor.freeze_groups(groups)

    def run(
        self, messages: Iterable[Arrived], on_decoded: Callable[[Decoded], object] | None = None
    ) -> Iterator[ShardCounts]:
        """Apply a recorded stream, and yield the counts of each tick that ends before a message.

        Begins after the newest tick so far. Ends with the last message, whose tick is not complete: see until().

        on_decoded  called with the decoded reports of each batch of messages
        """
        newest = self._monitor.tick
        for tick, arrived in groupby(messages, lambda message: int(message.arrival_s // self._tick_s)):
            newest = tick if newest is None else newest
            for passed in self._eventful(newest, tick):
                yield self.tick(passed * self._tick_s)
            newest = max(newest, tick)
            for some in _slices(arrived, MESSAGES_AT_ONCE):
                decoded = self.apply(some)
                if on_decoded is not None:
                    on_decoded(decoded)

    def until(self, now_s: float) -> Iterator[ShardCounts]:
        """Yield the counts of the ticks up to now_s, after run(): the silence at the end counts too."""
        newest = self._monitor.tick
        if newest is not None:
            for passed in self._eventful(newest, int(now_s // self._tick_s)):
                yield self.tick(passed * self._tick_s)

    def hand_on_sessions(self) -> None:
        """Call on_session with the runs that are not over, after until(): nothing follows."""
        self._monitor.hand_on_sessions()

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        return {
            **named("monitor/", self._monitor.dump()),
            **named("closed/", dump_intervals(self._collected(), self._services)),
            "rejected": np.frombuffer(msgspec.json.encode(self._rejected), np.uint8),
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Restore a dump(), into a new pipeline.

        returns  the services that are reset, because their rating parameters have changed since the dump
        raises   IncompatibleStateError if no service can be restored
        """
        reset = self._monitor.load(part("monitor/", state))
        self._rejected = Counter(msgspec.json.decode(state["rejected"].tobytes(), type=dict[Reject, int]))
        if closed := part("closed/", state):
            kept = {name: array for name, array in closed.items() if not _is_of(name, reset)}
            self._closed = load_intervals(kept, self._services)
        return reset

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock."""
        self._monitor.shift(by_s)
        self._closed = [interval.shifted(by_s) for interval in self._closed]

    def _reject_too_many(self, decoded: Decoded, positions: Sequence[int]) -> None:
        """Add records that their sessions send beyond the limit to those that are rejected."""
        if not positions:
            return
        players = decoded.players
        decoded.rejected[Reject.TOO_MANY] += len(positions)
        route = players.routes[int(players.route[positions[0]])]
        labels, most = "/".join(route.labels), self._plan.players.records_per_s
        decoded.sample[Reject.TOO_MANY] = (
            f"session {players.session[positions[0]]!r} of {route.service} {labels}: more than {most} records in a "
            "second"
        )

    def _collected(self) -> list[ClosedInterval]:
        """All closed intervals that are held, including those closed since the last call."""
        closed = self._monitor.drain_closed()
        self._closed += map(sparse_interval, closed) if self._retain else closed
        return self._closed

    def _eventful(self, old: int, new: int) -> Iterator[int]:
        """The ticks after old up to new; of a very long pause, those until all windows are empty, and the last."""
        settled = old + self._memory
        yield from range(old + 1, min(settled, new) + 1)
        if new > settled:
            yield new


def _is_of(name: str, services: Iterable[str]) -> bool:
    """Whether an array's name, such as 3/video/users, belongs to one of the services."""
    _, _, rest = name.partition("/")
    return rest.partition("/")[0] in services


def _slices(messages: Iterable[Arrived], size: int) -> Iterator[list[Arrived]]:
    some: list[Arrived] = []
    for message in messages:
        some.append(message)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
