"""Runs one shard of the sessions: passes messages from the inbox to pipeline and journal, and acknowledges them.

A process without workers has one, with all sessions; each worker has one. All computation runs in one thread, step
by step, so the event loop only moves bytes. Processed messages go to the journal writer, if there is one, which
reports when they may be acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from qoemon.core.arrays import Arrays
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.engine.feed_log import FeedLog
from qoemon.engine.stats import EngineStats
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.sources import Sources
from qoemon.state.recovery import RESET, New, Recovery, recover
from qoemon.state.store import Store
from qoemon.state.writer import JournalWriter, WriterStats

LOG = logging.getLogger("qoemon.engine")

T = TypeVar("T")


def nothing() -> Arrays:
    """No arrays."""
    return {}


class Shard:
    """The sessions of a pipeline, with its inputs and its store.

    new           creates its pipeline
    store         where its state is stored; None if it is not
    checkpoint_s  seconds between checkpoints
    """

    def __init__(self, new: New, inbox: Inbox, sources: Sources, store: Store | None, checkpoint_s: float) -> None:
        self._new, self._pipeline = new, new()
        self.inbox, self.sources, self._store = inbox, sources, store
        self._writer = None if store is None else JournalWriter(store, self._committed)
        self._checkpoint_s, self._checkpoint_due_s = checkpoint_s, 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shard")
        self._log = FeedLog()
        self._recovering = False

    @property
    def stats(self) -> EngineStats:
        """Current statistics, as a copy."""
        writer = self._writer.stats if self._writer else WriterStats()
        return EngineStats.of(self.sources, writer, self.inbox)

    @property
    def pipeline(self) -> ShardPipeline:
        """The pipeline; use it in the thread, or while nothing else uses it."""
        return self._pipeline

    def problems(self) -> list[str]:
        """Why its counts are not reliable, as text; empty if they are."""
        if self._recovering:
            return ["replaying the journal: see the log for progress"]
        return []

    async def recover(self, recovery: Recovery) -> Arrays:
        """Restore the stored state; returns the checkpoint."""
        if self._store is None:
            return {}
        self._recovering = True
        self._pipeline, state = await self.in_thread(recover, self._store, self._new, recovery)
        self._recovering = False
        # A checkpoint is due, so that the same messages need not be replayed again.
        self._checkpoint_due_s = time.monotonic()
        return state

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Coroutines that must run all the time, by name."""
        return self.sources.parts() | ({"state.writer": self._writer.run()} if self._writer else {})

    async def process_pending(self, before_s: float = math.inf) -> None:
        """Process and store the messages that arrived before that time, seconds since the epoch."""
        messages = self.inbox.drain(before_s)
        if messages:
            await self.in_thread(self._apply, messages)
            if self._writer is None:
                self._committed(messages)
            else:
                self._writer.put(messages)

    async def tick(self, tick_s: int) -> ShardCounts:
        """The counts at tick_s, seconds since the epoch, of all earlier messages."""
        await self.process_pending(before_s=tick_s)
        return await self.in_thread(self._pipeline.tick, tick_s)

    @property
    def checkpoint_due(self) -> bool:
        """Whether it is time to store a checkpoint."""
        if self._writer is None:
            return False
        return time.monotonic() >= self._checkpoint_due_s or self._writer.checkpoint_due

    async def checkpoint(self, dump: Callable[[], Arrays] = nothing, extra: Arrays | None = None) -> None:
        """Store a checkpoint, with the arrays of dump(), which runs in the thread, and of extra."""
        if self._writer is None or self._writer.checkpoint_pending:
            return
        mine = await self.in_thread(lambda: {**self._pipeline.dump(), **dump()})
        self._writer.checkpoint({**mine, **(extra or {})})
        self._checkpoint_due_s = time.monotonic() + self._checkpoint_s

    async def shift(self, by_s: int, now_s: float) -> None:
        """Move all times by by_s, whole rating intervals in seconds: the clock was set, and now shows now_s."""
        self.inbox.restamp(now_s)
        await self.in_thread(self._pipeline.shift, by_s)
        self._checkpoint_due_s = time.monotonic()

    async def replace(self, new: New) -> None:
        """Continue with a new pipeline and the state; IncompatibleStateError if no service can keep its state."""
        self._pipeline = await self.in_thread(self._successor, new)
        self._new = new
        self._checkpoint_due_s = time.monotonic()

    def stop_receiving(self) -> None:
        """Stop receiving messages, but continue to acknowledge them."""
        self.sources.leave()

    async def finish(self, dump: Callable[[], Arrays] = nothing, extra: Arrays | None = None) -> None:
        """Store a last checkpoint, as checkpoint() does, and wait until it and all messages are stored."""
        if self._writer is not None:
            await self._writer.flush()  # While a checkpoint is being written, checkpoint() makes no other.
            await self.checkpoint(dump, extra)
            await self._writer.flush()

    def close(self) -> None:
        """Release the thread, the port and the store, after the coroutines of parts() have ended."""
        self.sources.close()
        self._thread.shutdown()
        if self._writer is not None:
            self._writer.close()

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a function in the thread of this shard; returns its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _committed(self, messages: Sequence[Message]) -> None:
        self.inbox.release(messages)
        self.sources.ack(messages)

    def _apply(self, messages: Sequence[Message]) -> None:
        """Runs in the thread."""
        self._log.applied(self._pipeline, messages, self._pipeline.apply(messages))

    def _successor(self, new: New) -> ShardPipeline:
        """A new pipeline with the state of the present one. Runs in the thread."""
        pipeline = new()
        if reset := pipeline.load(self._pipeline.dump()):
            LOG.warning(RESET, ", ".join(reset))
        return pipeline
