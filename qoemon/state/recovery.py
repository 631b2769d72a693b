"""Recovery: restores the state that the last process stored, and replays its journal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from qoemon.core.arrays import Arrays
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.state.frames import StoredMessage
from qoemon.state.store import CorruptError, Store
from qoemon.state.upgrade import upgrade

LOG = logging.getLogger("qoemon.state")

PROGRESS_S = 5.0

New = Callable[[], ShardPipeline]
"""Creates an empty pipeline."""

RESET = "rated differently than before, so windows and sessions are reset: %s"


@dataclass
class Recovery:
    """Callbacks of a recovery.

    restore      called before the journal is replayed, with the checkpoint; without arrays to begin from scratch.
                 Raises the errors of ShardPipeline.load()
    on_tick      called with the counts of each replayed tick
    on_progress  called every few seconds with the share of the journal that has been replayed
    """

    restore: Callable[[Arrays], object] = lambda _: None
    on_tick: Callable[[ShardCounts], object] = lambda _: None
    on_progress: Callable[[float], object] = lambda _: None


def recover(store: Store, new: New, recovery: Recovery) -> tuple[ShardPipeline, Arrays]:
    """Load the checkpoint and replay the journal; a store that cannot be read is renamed, and an empty one is used.

    new      creates an empty pipeline
    returns  the pipeline, and the whole checkpoint
    """
    began_s = time.monotonic()
    try:
        state = upgrade(store.state())
        pipeline = _loaded(state, new, recovery)
        replayed = _replay(store, pipeline, recovery)
    except CorruptError as error:
        store.quarantine(str(error))
        recovery.restore({})
        return new(), {}
    if pipeline.begun:
        LOG.info(
            "state of %s restored in %.1f s: %d sessions, %d messages of the journal replayed",
            store.directory,
            time.monotonic() - began_s,
            pipeline.sessions,
            replayed,
        )
    return pipeline, state


def _loaded(state: Arrays, new: New, recovery: Recovery) -> ShardPipeline:
    pipeline = new()
    if not state:
        return pipeline
    try:
        reset = pipeline.load(state)
        recovery.restore(state)
    except IncompatibleStateError as error:
        LOG.warning("%s: windows, sessions and counters are reset", error)
        recovery.restore({})
        return new()
    except (LookupError, ValueError, msgspec.MsgspecError) as error:
        raise CorruptError(f"the checkpoint is incomplete: {error!r}") from None
    if reset:
        LOG.warning(RESET, ", ".join(reset))
    return pipeline


def _replay(store: Store, pipeline: ShardPipeline, recovery: Recovery) -> int:
    """Replay the journal; returns the number of its messages."""
    messages = _Progress(store, recovery.on_progress)
    for counts in pipeline.run(messages):
        recovery.on_tick(counts)
    return messages.done


class _Progress:
    """The messages of the journal, with progress logged while they are replayed."""

    def __init__(self, store: Store, on_progress: Callable[[float], object]) -> None:
        self._store, self._on_progress = store, on_progress
        self.done = 0

    def __iter__(self) -> Iterator[StoredMessage]:
        due_s, done_bytes = time.monotonic() + PROGRESS_S, 0
        for message in self._store.journal():
            yield message
            self.done += 1
            done_bytes += len(message.payload)
            if self.done % 1000 == 0 and time.monotonic() >= due_s:
                due_s = time.monotonic() + PROGRESS_S
                share = done_bytes / max(self._store.journal_bytes, 1)
                LOG.info("replaying the journal: %.0f %% done", 100 * share)
                self._on_progress(share)
