"""From what was stored to a Pipeline that stands where the last one stood."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from qoemon import systemd
from qoemon.alerting.notice import Notice
from qoemon.alerting.telling import notices
from qoemon.core.monitor import StateError as MisfitError
from qoemon.core.pipeline import Pipeline, Ticked
from qoemon.state.store import CorruptError, Kept, State, Store

LOG = logging.getLogger("qoemon.state")

UNSENT = "unsent"
"""Where a checkpoint has the notices that some receiver had not got."""

PROGRESS_S = 5.0


@dataclass
class Recovered:
    """A Pipeline as it was.

    told  notices that may not have been delivered: those who got them know them by their id
    """

    pipeline: Pipeline
    told: list[Notice] = field(default_factory=list)
    messages: int = 0


def recover(store: Store, fresh: Callable[[], Pipeline], seen: Callable[[Ticked], object]) -> Recovered:
    """Load the checkpoint and run the journal; what cannot be read is put aside, and all begins anew.

    seen  shown each tick that is run again
    """
    began_s = time.monotonic()
    try:
        recovered = _restored(store, fresh, seen)
    except CorruptError as error:
        store.quarantine(str(error))
        return Recovered(fresh())
    if recovered.pipeline.monitor.tick is not None:
        LOG.info(
            "state of %s restored in %.1f s: %d sessions, %d messages of the journal run again",
            store.directory,
            time.monotonic() - began_s,
            recovered.pipeline.monitor.sessions,
            recovered.messages,
        )
    return recovered


def _restored(store: Store, fresh: Callable[[], Pipeline], seen: Callable[[Ticked], object]) -> Recovered:
    state = store.state()
    recovered = Recovered(_loaded(state, fresh))
    if UNSENT in state:
        recovered.told = msgspec.json.decode(state[UNSENT].tobytes(), type=list[Notice])
    for ticked in recovered.pipeline.run(_counted(store, recovered)):
        seen(ticked)
        recovered.told += notices(*ticked)[1]
    return recovered


def _loaded(state: State, fresh: Callable[[], Pipeline]) -> Pipeline:
    pipeline = fresh()
    if not state:
        return pipeline
    try:
        anew = pipeline.load(state)
    except MisfitError as error:
        LOG.warning("%s: windows, sessions and counters begin anew", error)
        return fresh()
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise CorruptError(f"the checkpoint is not whole: {error!r}") from None
    if anew:
        LOG.warning("judged otherwise than before, so windows and sessions begin anew: %s", ", ".join(anew))
    return pipeline


def _counted(store: Store, recovered: Recovered) -> Iterator[Kept]:
    """The journal, with progress told while it is run."""
    due_s = time.monotonic() + PROGRESS_S
    done = 0
    for message in store.journal():
        yield message
        recovered.messages += 1
        done += len(message.payload)
        if recovered.messages % 1000 == 0 and time.monotonic() >= due_s:
            due_s = time.monotonic() + PROGRESS_S
            percent = 100 * done / max(store.journal_bytes, 1)
            LOG.info("running the journal again: %.0f %% done", percent)
            status = f"running the journal again: {percent:.0f} % done"
            systemd.notify(STATUS=status, EXTEND_TIMEOUT_USEC=60_000_000)
