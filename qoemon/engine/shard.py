"""One shard of the sessions at work: messages out of the inbox, into the line, onto the disk, acknowledged.

A daemon without workers has one, with all sessions; each worker has one. Everything that computes runs in one
thread, one piece after the other, so the event loop only moves bytes. What was taken in is handed to the keeper, if
there is one, who says when it may be acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic

from qoemon.core.arrays import Arrays
from qoemon.core.sharding.shard_pipeline import Line
from qoemon.core.wire.report import Reject
from qoemon.engine.stats import Intake, intake_of
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.source import Source
from qoemon.state.recovery import Fresh, Recovered, Said, recover
from qoemon.state.store import Store
from qoemon.state.writer import JournalWriter, WriterStats

LOG = logging.getLogger("qoemon.engine")

SAMPLE_S = 60.0
"""For each reason, one rejected report is shown in the log in this time."""


class Shard(Generic[Said]):
    """The sessions of a line, and what keeps them.

    fresh         makes its line
    store         where it is kept, if it is
    checkpoint_s  how often all that is held is stored
    """

    def __init__(
        self, fresh: Fresh[Said], inbox: Inbox, source: Source, store: Store | None, checkpoint_s: float = 60.0
    ) -> None:
        self._fresh, self._line = fresh, fresh()
        self.inbox, self.source, self._store = inbox, source, store
        self._keeper = None if store is None else JournalWriter(store, self._safe)
        self._checkpoint_s, self._checkpoint_due_s = checkpoint_s, 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shard")
        self._shown_s: dict[Reject, float] = {}
        self._recovering = False
        self.also: Callable[[], Arrays] = dict
        """What else is stored with a checkpoint."""

    @property
    def intake(self) -> Intake:
        """How it goes; a copy."""
        return intake_of(self.source.state, self._keeper.state if self._keeper else WriterStats(), self.inbox)

    @property
    def rejected(self) -> Mapping[Reject, int]:
        """Reports that could not be taken, since the beginning."""
        return self._line.rejected

    @property
    def line(self) -> Line[Said]:
        """The line, for whoever calls it while nothing else does."""
        return self._line

    def problems(self) -> list[str]:
        """Why what it says should not be relied on, if so."""
        if self._recovering:
            return ["running the journal of the last daemon again: see the log for how far it is"]
        return []

    async def recover(
        self, seen: Callable[[Said], object], progress: Callable[[float], object] = lambda _: None
    ) -> Arrays:
        """Begin where the last one stood; the checkpoint that it left."""
        if self._store is None:
            return {}
        self._recovering = True
        recovered: Recovered[Said] = await self._in_thread(recover, self._store, self._fresh, seen, progress)
        self._line, self._recovering = recovered.line, False
        # What has been recovered needs not be run again a second time.
        self._checkpoint_due_s = time.monotonic()
        return recovered.state

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run all the time, by name."""
        parts: dict[str, Coroutine[Any, Any, None]] = {"ingest": self.source.run()}
        return parts | ({"state.keeper": self._keeper.run()} if self._keeper else {})

    async def take_in(self, before_s: float = math.inf) -> None:
        """What has arrived before that time, into the line and to the keeper."""
        messages = self.inbox.drain(before_s)
        if messages:
            await self._in_thread(self._apply, messages)
            if self._keeper is None:
                self._safe(messages)
            else:
                self._keeper.put(messages)

    async def tick(self, tick_s: int) -> Said:
        """What is to be said at this tick, of all that arrived before it."""
        await self.take_in(before_s=tick_s)
        said: Said = await self._in_thread(self._line.tick, tick_s)
        return said

    async def checkpoint_if_due(self) -> None:
        """Have all that is held stored, if it is time."""
        if self._keeper and (time.monotonic() >= self._checkpoint_due_s or self._keeper.checkpoint_due):
            await self.checkpoint()

    async def checkpoint(self) -> None:
        """Have the keeper store what there is."""
        if self._keeper is None or self._keeper.checkpoint_pending:
            return
        also = self.also()
        self._keeper.checkpoint({**await self._in_thread(self._line.dump), **also})
        self._checkpoint_due_s = time.monotonic() + self._checkpoint_s

    async def shift(self, by_s: int, now_s: float) -> None:
        """The clock was set, and it is now_s by it: move what is held by whole rating intervals, in seconds."""
        self.inbox.restamp(now_s)
        await self._in_thread(self._line.shift, by_s)
        self._checkpoint_due_s = time.monotonic()

    async def replace(self, fresh: Fresh[Said]) -> None:
        """Go on with another kind of line, which takes over what it can; StateError if that is nothing."""
        self._line = await self._in_thread(self._taken_over, fresh)
        self._fresh = fresh
        self._checkpoint_due_s = time.monotonic()

    def leave(self) -> None:
        """Take no more messages, but go on acknowledging."""
        self.source.leave()

    async def finish(self) -> None:
        """Store all that is held, once everything has been taken in."""
        await self.checkpoint()
        if self._keeper is not None:
            await self._keeper.flush()

    def close(self) -> None:
        """Let threads and the store go, once nothing of parts() runs any more."""
        self._thread.shutdown()
        if self._keeper is not None:
            self._keeper.close()

    async def _in_thread(self, work: Callable[..., Any], *of: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *of)

    def _safe(self, messages: Sequence[Message]) -> None:
        self.inbox.release(messages)
        self.source.ack(messages)

    def _apply(self, messages: Sequence[Message]) -> None:
        """In the thread: bytes into the Monitor."""
        for reason, sample in self._line.apply(messages).sample.items():
            self._show(reason, sample)

    def _taken_over(self, fresh: Fresh[Said]) -> Line[Said]:
        """In the thread: the line after this one."""
        line = fresh()
        if anew := line.load(self._line.dump()):
            LOG.warning("judged otherwise than before, so windows and sessions begin anew: %s", ", ".join(anew))
        return line

    def _show(self, reason: Reject, sample: str) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s.get(reason, -SAMPLE_S) >= SAMPLE_S:
            self._shown_s[reason] = now_s
            LOG.warning(
                "rejected reports, reason %s, %d so far; one of them: %.300s",
                reason,
                self._line.rejected[reason],
                sample,
            )
