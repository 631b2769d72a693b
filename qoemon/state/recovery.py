"""From what was stored to a Line that stands where the last one stood."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from qoemon.core.arrays import Arrays
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.sharding.shard_pipeline import Line
from qoemon.state.frames import StoredMessage
from qoemon.state.store import CorruptError, Store

LOG = logging.getLogger("qoemon.state")

PROGRESS_S = 5.0

Said = TypeVar("Said")
Fresh = Callable[[], Line[Said]]
"""Makes a Line that has seen nothing yet."""


@dataclass
class Recovered(Generic[Said]):
    """A Line as it was.

    state     the checkpoint it began with, whatever else is in it
    messages  of the journal that were run again
    """

    line: Line[Said]
    state: Arrays = field(default_factory=dict)
    messages: int = 0


def recover(
    store: Store,
    fresh: Fresh[Said],
    seen: Callable[[Said], object],
    progress: Callable[[float], object] = lambda _: None,
) -> Recovered[Said]:
    """Load the checkpoint and run the journal; what cannot be read is put aside, and all begins anew.

    seen      shown what is said at each tick that is run again
    progress  told now and then which share of the journal has been run
    """
    began_s = time.monotonic()
    try:
        recovered = _restored(store, fresh, seen, progress)
    except CorruptError as error:
        store.quarantine(str(error))
        return Recovered(fresh())
    if recovered.line.monitor.tick is not None:
        LOG.info(
            "state of %s restored in %.1f s: %d sessions, %d messages of the journal run again",
            store.directory,
            time.monotonic() - began_s,
            recovered.line.monitor.sessions,
            recovered.messages,
        )
    return recovered


def _restored(
    store: Store, fresh: Fresh[Said], seen: Callable[[Said], object], progress: Callable[[float], object]
) -> Recovered[Said]:
    state = store.state()
    recovered = Recovered(_loaded(state, fresh), state)
    for said in recovered.line.run(_counted(store, recovered, progress)):
        seen(said)
    return recovered


def _loaded(state: Arrays, fresh: Fresh[Said]) -> Line[Said]:
    line = fresh()
    if not state:
        return line
    try:
        anew = line.load(state)
    except IncompatibleStateError as error:
        LOG.warning("%s: windows, sessions and counters begin anew", error)
        return fresh()
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CorruptError(f"the checkpoint is not whole: {error!r}") from None
    if anew:
        LOG.warning("judged otherwise than before, so windows and sessions begin anew: %s", ", ".join(anew))
    return line


def _counted(
    store: Store, recovered: Recovered[Said], progress: Callable[[float], object]
) -> Iterator[StoredMessage]:
    """The journal, with progress told while it is run."""
    due_s = time.monotonic() + PROGRESS_S
    done = 0
    for message in store.journal():
        yield message
        recovered.messages += 1
        done += len(message.payload)
        if recovered.messages % 1000 == 0 and time.monotonic() >= due_s:
            due_s = time.monotonic() + PROGRESS_S
            share = done / max(store.journal_bytes, 1)
            LOG.info("running the journal again: %.0f %% done", 100 * share)
            progress(share)
