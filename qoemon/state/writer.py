"""Makes safe what was taken in, and says when it is: behind the evaluation, in a thread of its own.

Messages are committed in the order in which they came, everything that waits at once. While that fails, the disk
being full for instance, nothing is said to be safe: acknowledgements stop, the inbox fills, and the broker holds
what comes. It is tried again for as long as it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from qoemon.core.arrays import Arrays
from qoemon.inputs.inbox import Message
from qoemon.state.store import Store

LOG = logging.getLogger("qoemon.state")

RETRY_S = 1.0
"""Pause between attempts that fail."""

Safe = Callable[[Sequence[Message]], object]
T = TypeVar("T")


@dataclass
class WriterStats:
    """How it goes, for whoever exports it. Totals count since the start."""

    commits: int = 0
    failures: int = 0
    checkpoints: int = 0
    journal_bytes: int = 0
    problem: str | None = None
    """Why nothing can be stored; None while all is well."""


class JournalWriter:
    """Commits to a store. Everything but run() returns at once; all of it on one event loop.

    safe  told of messages once they may be acknowledged
    """

    def __init__(self, store: Store, safe: Safe) -> None:
        self._store, self._safe = store, safe
        self.state = WriterStats(journal_bytes=store.journal_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[Message] = deque()
        self._dumped: Arrays | None = None
        self._covered = 0
        """So many of those that wait are part of what was dumped."""
        self._news, self._done = asyncio.Event(), asyncio.Event()
        self._done.set()

    @property
    def checkpoint_due(self) -> bool:
        """Whether the journal is long enough for a checkpoint before its time."""
        return self._store.journal_bytes > self._store.journal_limit and self._dumped is None

    @property
    def checkpoint_pending(self) -> bool:
        """Whether a checkpoint waits to be written: there is no room for another."""
        return self._dumped is not None

    def put(self, messages: Sequence[Message]) -> None:
        """Messages to be committed."""
        self._waiting.extend(messages)
        self._wake()

    def checkpoint(self, state: Arrays) -> None:
        """A state to be stored: it holds every message that was put before, and none that comes after."""
        self._dumped, self._covered = state, len(self._waiting)
        self._wake()

    async def flush(self) -> None:
        """Wait until nothing waits."""
        await self._done.wait()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting or self._dumped is not None:
                try:
                    await self._step()
                except OSError as error:
                    self._failed(error)
                    await asyncio.sleep(RETRY_S)
            self._done.set()

    def close(self) -> None:
        """Let the thread and the store go, once run() has ended."""
        self._thread.shutdown()
        self._store.close()

    def _wake(self) -> None:
        self._done.clear()
        self._news.set()

    async def _step(self) -> None:
        """Commit what the next checkpoint covers, then that, or else all that waits."""
        if self._dumped is None:
            await self._commit(len(self._waiting))
        elif self._covered:
            await self._commit(self._covered)
        else:
            await self._in_thread(self._store.checkpoint, self._dumped)
            self._dumped = None
            self.state.checkpoints += 1
        self._well()

    async def _commit(self, number: int) -> None:
        some = list(islice(self._waiting, number))
        await self._in_thread(self._store.append, some)
        for _ in some:
            self._waiting.popleft()
        self._covered = max(self._covered - number, 0)
        self.state.commits += 1
        self._safe(some)

    async def _in_thread(self, work: Callable[[T], None], what: T) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, what)
        self.state.journal_bytes = self._store.journal_bytes

    def _well(self) -> None:
        if self.state.problem is not None:
            LOG.info("the state is stored again; %d messages waited for it", len(self._waiting))
            self.state.problem = None

    def _failed(self, error: OSError) -> None:
        self.state.failures += 1
        problem = f"cannot store in {self._store.directory}: {error.strerror or error}"
        if self.state.problem is None:
            LOG.error("%s; messages wait at the broker until that is mended: free disk space there", problem)
        self.state.problem = problem
