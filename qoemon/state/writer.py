"""The journal writer: commits accepted messages in its own thread, and reports which may be acknowledged.

Each commit has all messages that are waiting, in the order of their arrival. While commits fail, for example
because the disk is full, no message is acknowledged: the inbox fills, and the broker holds new messages. The writer
retries until it succeeds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from qoemon.core.arrays import Arrays
from qoemon.core.wire.message import Arrived
from qoemon.state.store import Store

LOG = logging.getLogger("qoemon.state")

RETRY_S = 1.0
"""Pause after a failed attempt; constant, as a local disk needs no back-off."""

OnCommitted = Callable[[Sequence[Any]], object]
T = TypeVar("T")


@dataclass
class WriterStats:
    """State and totals of a writer. Totals count since the process began."""

    commits: int = 0
    failures: int = 0
    checkpoints: int = 0
    journal_bytes: int = 0
    problem: str | None = None
    """Why nothing can be stored; None if there is no problem."""

    def __add__(self, other: WriterStats) -> WriterStats:
        return WriterStats(
            commits=self.commits + other.commits,
            failures=self.failures + other.failures,
            checkpoints=self.checkpoints + other.checkpoints,
            journal_bytes=self.journal_bytes + other.journal_bytes,
            problem=other.problem if self.problem is None else self.problem,
        )

    def totals(self) -> WriterStats:
        """The totals of a process that has ended, to be added to those of others."""
        return replace(self, journal_bytes=0, problem=None)


class JournalWriter:
    """Commits to a store. All methods are called on one event loop; only run() and flush() wait.

    on_committed  called with messages once they are committed and may be acknowledged
    """

    def __init__(self, store: Store, on_committed: OnCommitted | None = None) -> None:
        self._store, self._on_committed = store, on_committed
        self.stats = WriterStats(journal_bytes=store.journal_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[Arrived] = deque()
        self._dumped: Arrays | None = None
        self._covered = 0
        """Number of waiting messages that the pending checkpoint covers."""
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    @property
    def checkpoint_due(self) -> bool:
        """Whether the journal is so large that a checkpoint is needed now."""
        return self._store.journal_bytes > self._store.journal_limit and not self.checkpoint_pending

    @property
    def checkpoint_pending(self) -> bool:
        """Whether a checkpoint is waiting to be written; only one can wait."""
        return self._dumped is not None

    def put(self, messages: Sequence[Arrived]) -> None:
        """Commit these messages, as soon as possible."""
        self._waiting.extend(messages)
        self._wake()

    def checkpoint(self, state: Arrays) -> None:
        """Store a state as checkpoint: it covers all messages that were put before, and no later ones."""
        self._dumped, self._covered = state, len(self._waiting)
        self._wake()

    async def flush(self) -> None:
        """Wait until all messages and checkpoints are stored."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting or self.checkpoint_pending:
                try:
                    await self._step()
                except OSError as error:
                    self._note_failure(error)
                    await asyncio.sleep(RETRY_S)
            self._idle.set()

    def close(self) -> None:
        """Release the thread and the store, once run() has ended."""
        self._thread.shutdown()
        self._store.close()

    def _wake(self) -> None:
        self._idle.clear()
        self._work.set()

    async def _step(self) -> None:
        """Commit the messages that the pending checkpoint covers, or the checkpoint, or all waiting messages."""
        if self._dumped is None:
            await self._commit(len(self._waiting), limited=True)
        elif self._covered:
            await self._commit(self._covered, limited=False)
        else:
            await self._in_thread(self._store.checkpoint, self._dumped)
            self._dumped = None
            self.stats.checkpoints += 1
        self._note_success()

    async def _commit(self, number: int, *, limited: bool) -> None:
        some = list(islice(self._waiting, number))
        await self._in_thread(partial(self._store.append, limited=limited), some)
        for _ in some:
            self._waiting.popleft()
        self._covered = max(self._covered - number, 0)
        self.stats.commits += 1
        if self._on_committed is not None:
            self._on_committed(some)

    async def _in_thread(self, work: Callable[[T], None], what: T) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, what)
        self.stats.journal_bytes = self._store.journal_bytes

    def _note_success(self) -> None:
        if self.stats.problem is not None:
            LOG.info("the state is stored again; %d messages are still waiting", len(self._waiting))
            self.stats.problem = None

    def _note_failure(self, error: OSError) -> None:
        self.stats.failures += 1
        problem = f"cannot store in {self._store.directory}: {error.strerror or error}"
        if self.stats.problem is None:
            LOG.error(
                "%s; nothing is acknowledged until this is fixed: check free disk space and permissions",
                problem,
            )
        self.stats.problem = problem
