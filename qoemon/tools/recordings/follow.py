"""Records what a running daemon stores, until cancelled: messages of the broker and bodies of its collector.

The daemon is not asked and does not notice (state/follower.py). What it has acknowledged while the recorder runs is
in the recording: the recorder reads once more when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from qoemon.common.signals import cancelled_by_signals
from qoemon.state.directory import StateError
from qoemon.state.follower import Follower
from qoemon.state.frames import StoredMessage
from qoemon.tools.recordings.record import FLUSH_S, POLL_S, Recorded, RecordError
from qoemon.tools.recordings.recording import Header, Writer

ORDER_S = 2.0
"""Workers store at different times: messages are written this long after their arrival, in its order."""


async def follow(
    directory: Path, path: Path, *, for_s: float | None, on_progress: Callable[[Recorded], None]
) -> Recorded:
    """Record what the daemon of a state directory stores until for_s has passed or a signal arrives.

    raises   UnreadableError if the file cannot be created, RecordingError if it cannot be written, RecordError if
             there is no state that can be read
    """
    with contextlib.closing(_follower(directory)) as follower:
        header = Header(started_s=time.time(), source=f"daemon {directory}")
        with Writer(path, header) as writer:
            recorder = _Recorder(follower, writer)
            with cancelled_by_signals(), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(for_s):
                    await _repeat(recorder, on_progress)
            recorder.step(before_s=None)
            writer.silence(time.time())
            writer.flush()
            return recorder.progress()


def _follower(directory: Path) -> Follower:
    try:
        follower = Follower(directory)
    except StateError as error:
        raise RecordError(str(error)) from None
    if not follower.stores:
        raise RecordError(f"no daemon has stored anything in {directory}: start it, or check state.dir")
    return follower


@dataclass
class _Recorder:
    """Moves messages from the stores to the file."""

    follower: Follower
    writer: Writer
    messages: int = 0
    _began_s: float = field(default_factory=time.monotonic)
    _flushed_s: float = 0.0
    _waiting: list[StoredMessage] = field(default_factory=list)
    """Of several stores, what arrived so recently that others may store earlier messages."""

    def step(self, before_s: float | None) -> None:
        """Write what has been stored. Of several stores, only what arrived before that time; None for all."""
        for some in self.follower.read():
            if self.follower.stores == 1 and not self._waiting:
                self._write(some)
            else:
                self._waiting += some
        self._waiting.sort(key=attrgetter("arrival_s"))
        due = [each for each in self._waiting if before_s is None or each.arrival_s < before_s]
        self._write(due)
        del self._waiting[: len(due)]
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self.writer.flush()
            self._flushed_s = time.monotonic()

    def progress(self) -> Recorded:
        """Progress so far."""
        return Recorded(
            duration_s=time.monotonic() - self._began_s,
            messages=self.messages,
            written=self.writer.written,
            size=self.writer.size,
            lost=0,
            trouble=self.follower.problem,
            missed=self.follower.missed,
        )

    def _write(self, some: list[StoredMessage]) -> None:
        self.writer.write(some)
        self.messages += len(some)


async def _repeat(recorder: _Recorder, on_progress: Callable[[Recorded], None]) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        step = asyncio.create_task(asyncio.to_thread(recorder.step, time.time() - ORDER_S))
        try:
            await asyncio.shield(step)  # A cancellation must not separate reading and writing.
        except asyncio.CancelledError:
            await step
            raise
        on_progress(recorder.progress())
