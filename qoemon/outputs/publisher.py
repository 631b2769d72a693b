"""What is done with a tick: rendered, hung on the board, and those told who want to know of alerts."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np

from qoemon.core.arrays import Arrays
from qoemon.core.pipeline import Tick
from qoemon.daemon.own import Vitals
from qoemon.outputs.history import History, Past
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.notices import notices
from qoemon.outputs.notify.notifier import Notifier

UNSENT = "unsent"
"""Where a checkpoint has the notices that some receiver had not got."""


class Publisher:
    """Shown each tick once, in order. What says "in the thread" computes, and is called from one at a time."""

    def __init__(self, tick_s: int, board: Latest) -> None:
        self._tick_s, self._board = tick_s, board
        self._exporter, self._history = Exporter(), History(tick_s)
        self._told: list[Notice] = []
        """Notices of the time before a restart: those who got them know them by their id."""
        self._last: tuple[Tick, Past] | None = None
        self.notifier = Notifier(())
        self.ticked = asyncio.Condition()
        """Notified after each tick."""

    def restore(self, state: Arrays) -> None:
        """Take over what dump() gave, if it is in there."""
        if UNSENT in state:
            before = msgspec.json.decode(state[UNSENT].tobytes(), type=list[Notice])
            self._told = [*before, *self._told]

    def dump(self) -> Arrays:
        """What was not delivered yet."""
        return {UNSENT: np.frombuffer(msgspec.json.encode(self.notifier.undelivered()), np.uint8)}

    def remember(self, ticked: Tick) -> None:
        """In the thread: a tick of before a restart, which is run again."""
        self._history.add(*ticked)
        self._told += notices(*ticked)[1]

    def forget(self) -> None:
        """The clock was set: what came before cannot stand beside what comes now."""
        self._history, self._last = History(self._tick_s), None

    def render(self, ticked: Tick, vitals: Vitals) -> tuple[list[Notice], list[Notice]]:
        """In the thread: from counts to bytes; the alerts that fire, and those that have changed."""
        past = self._history.add(*ticked)
        self._last = ticked, past
        self._board.newest = self._exporter.publish(*ticked, vitals, past)
        return notices(*ticked)

    def render_vitals(self, vitals: Vitals) -> None:
        """In the thread: the tick before once more, as there is none; how the daemon fares is new."""
        if self._last is not None:
            ticked, past = self._last
            self._board.newest = self._exporter.publish(*ticked, vitals, past)

    def observe_tick(self, took_s: float) -> None:
        """Note how long a whole tick took; shown from the next one on."""
        self._exporter.observe_tick(took_s)

    async def tell(self, told: tuple[list[Notice], list[Notice]], tick_s: int) -> None:
        """Have what render() gave told to those who want to know."""
        firing, changed = told
        changed, self._told = [*self._told, *changed], []
        self.notifier.dispatch(firing, changed, tick_s)
        async with self.ticked:
            self.ticked.notify_all()
