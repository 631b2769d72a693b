"""Publishes ticks: renders them in a thread, makes them the latest, and passes their alerts to the notifier."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import numpy as np

from qoemon.common.metrics import Families
from qoemon.core.alerting.detector import Detections
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Tick
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.history import History, Past
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.notices import notices
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.notify.outbox import Told
from qoemon.outputs.published import PublishedTick

UNSENT, DELIVERED = "unsent", "delivered"
"""Names of the arrays of a checkpoint with the undelivered notices, and with what receivers have accepted."""

_Delivered = tuple[int, dict[str, list[Told]]]
"""The stamp of what is known about deliveries, and what it is; as Notifier."""

Keep = Callable[[Snapshot, Detections], object]

T = TypeVar("T")


class Publisher:
    """publish() is called with each tick once, in order.

    keep  called with each tick, and with replayed ones, in a thread; does not block
    """

    def __init__(self, tick_s: int, latest: Latest, notifier: Notifier, keep: Keep = lambda *_: None) -> None:
        self._tick_s, self._latest, self._notifier, self._keep = tick_s, latest, notifier, keep
        self._exporter, self._history = Exporter(), History(tick_s)
        self._undelivered: list[Notice] = []
        """Notices from before a restart; receivers recognise those they already have by their id."""
        self._newest: tuple[Tick, Past] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")

    def restore(self, state: Arrays) -> None:
        """Restore a dump(), if the state has one."""
        if UNSENT in state:
            before = msgspec.json.decode(state[UNSENT].tobytes(), type=list[Notice])
            self._undelivered = [*before, *self._undelivered]
        if DELIVERED in state:
            self._notifier.stamp, delivered = msgspec.json.decode(state[DELIVERED].tobytes(), type=_Delivered)
            self._notifier.learn(delivered, 0.0)

    def dump(self) -> Arrays:
        """The undelivered notices, and what receivers have accepted, as arrays by name."""
        content = {
            UNSENT: (*self._undelivered, *self._notifier.undelivered()),
            DELIVERED: (self._notifier.stamp, self._notifier.delivered()),
        }
        return {name: np.frombuffer(msgspec.json.encode(each), np.uint8) for name, each in content.items()}

    def add_past(self, tick: Tick) -> None:
        """Add a replayed tick to the history; called before the first publish()."""
        self._history.add(*tick)
        self._keep(*tick)
        self._undelivered += notices(*tick)[1]

    def forget_past(self) -> None:
        """Clear the history, after a step of the clock: older ticks have incomparable times."""
        self._history, self._newest = History(self._tick_s), None

    async def publish(self, tick: Tick, own: Families, began_s: float) -> None:
        """Publish a tick, with the daemon's own metrics; began_s: when the tick began, by time.perf_counter()."""
        published, firing, changed = await self._in_thread(lambda: self._render(tick, own))
        # Exported from the next tick on.
        self._exporter.observe_tick(time.perf_counter() - began_s)
        changed, self._undelivered = [*self._undelivered, *changed], []
        self._notifier.dispatch(firing, changed, tick.snapshot.time_s)
        await self._latest.put(published)

    async def publish_again(self, own: Families) -> None:
        """Publish the tick before once more, as there is none now, with the daemon's own metrics of now."""
        if self._newest is not None:
            tick, past = self._newest
            await self._latest.put(await self._in_thread(lambda: self._exporter.render(*tick, own, past)))

    def close(self) -> None:
        """Release the thread; nothing may be published any more."""
        self._thread.shutdown()

    def _render(self, tick: Tick, own: Families) -> tuple[PublishedTick, list[Notice], list[Notice]]:
        """From counts to bytes; the alerts that fire, and those that have changed. Runs in the thread."""
        past = self._history.add(*tick)
        self._keep(*tick)
        self._newest = tick, past
        return self._exporter.render(*tick, own, past), *notices(*tick)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
