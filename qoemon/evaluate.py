"""The straight line of a tick: what arrived, decoded, into the Monitor, judged, rendered, published.

Everything that computes runs in one worker thread, one piece after the other, so the event loop only moves bytes.
What was taken in is handed to the keeper, if there is one, who says when it may be acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from qoemon.alerting.notice import Notice
from qoemon.alerting.notifier import Notifier
from qoemon.alerting.telling import notices
from qoemon.clock import Steps, since_boot
from qoemon.core.pipeline import Pipeline, Ticked
from qoemon.core.plan import Plan
from qoemon.core.report import Reject
from qoemon.export import Exporter, Vitals
from qoemon.http import Board
from qoemon.inbox import Inbox, Message
from qoemon.ingest import Ingest
from qoemon.page.history import History
from qoemon.state.keeper import Keeper
from qoemon.state.recovery import UNSENT, Recovered, recover
from qoemon.state.store import State, Store
from qoemon.vitals import Watchers, vitals

LOG = logging.getLogger("qoemon.evaluate")

LOOK_S = 0.1
"""How often the inbox is emptied: messages wait that long before they are committed, at the most."""

SAMPLE_S = 60.0
"""For each reason, one rejected report is shown in the log in this time."""

Fresh = Callable[[], Pipeline]
"""Makes a Pipeline that has seen nothing yet."""


class Evaluator:
    """Empties the inbox, keeps the Pipeline, hangs each tick on the board, and has alerts told.

    fresh   makes its Pipeline
    clock   seconds since the epoch
    steady  seconds that nobody can set
    """

    def __init__(
        self,
        plan: Plan,
        fresh: Fresh,
        inbox: Inbox,
        ingest: Ingest,
        board: Board,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
    ) -> None:
        self._tick_s, self._interval_s = plan.timing.tick_s, plan.timing.interval_s
        self._inbox, self._ingest, self._board, self._clock = inbox, ingest, board, clock
        self._fresh = fresh
        self._pipeline, self._exporter = fresh(), Exporter()
        self._history = History(plan.timing.tick_s)
        self._steps = Steps(clock, steady, least_s=self._tick_s)
        self.watchers = Watchers(inbox, ingest, Notifier(()))
        """Those whose state is exported."""
        self._keeper: Keeper | None = None
        self._checkpoint_s, self._checkpoint_due_s = 60.0, 0.0
        self._told: list[Notice] = []
        """Notices of the time before a restart."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")
        self._shown_s: dict[Reject, float] = {}
        self._due_s = self._tick_after(clock())
        self._stopping = False
        self.ticked = asyncio.Condition()
        """Notified after each tick."""

    async def recover(self, store: Store) -> None:
        """Begin where the last daemon stood."""
        loop = asyncio.get_running_loop()
        recovered: Recovered = await loop.run_in_executor(self._thread, recover, store, self._fresh, self._remember)
        self._pipeline, self._told = recovered.pipeline, recovered.told

    def keep(self, keeper: Keeper, every_s: float) -> None:
        """From now on acknowledge only what this keeper says is safe, and give it a checkpoint so often."""
        self._keeper, self._checkpoint_s = keeper, every_s
        self.watchers.keeper = keeper
        # What has been recovered needs not be run again a second time.
        self._checkpoint_due_s = time.monotonic()

    def safe(self, messages: Sequence[Message]) -> None:
        """These need not be delivered again."""
        self._inbox.release(messages)
        self._ingest.ack(messages)

    async def replace(self, fresh: Fresh) -> None:
        """Go on with another kind of Pipeline, which takes over what it can; StateError if that is nothing."""
        loop = asyncio.get_running_loop()
        self._pipeline = await loop.run_in_executor(self._thread, self._taken_over, fresh)
        self._fresh = fresh
        self._checkpoint_due_s = time.monotonic()

    async def run(self) -> None:
        """Look at the inbox again and again, until stop(); then once more."""
        while not self._stopping:
            now_s = self._clock()
            pause_s = max(0.0, min(LOOK_S, self._due_s - now_s))
            began_s = time.monotonic()
            await asyncio.sleep(pause_s)
            self.watchers.loop_lag_s = max(self.watchers.loop_lag_s, time.monotonic() - began_s - pause_s)
            await self._look()
        await self._look()

    def stop(self) -> None:
        """Let run() end after a last look, so that what was taken in is acknowledged."""
        self._stopping = True

    def close(self) -> None:
        """Let the thread go, once run() has ended."""
        self._thread.shutdown()

    async def checkpoint(self) -> None:
        """Have the keeper store what there is."""
        if self._keeper is None or self._keeper.busy:
            return
        unsent = msgspec.json.encode(self.watchers.notifier.unsent())
        state = await asyncio.get_running_loop().run_in_executor(self._thread, self._dumped)
        self._keeper.checkpoint({**state, UNSENT: np.frombuffer(unsent, np.uint8)})
        self._checkpoint_due_s = time.monotonic() + self._checkpoint_s

    async def _look(self) -> None:
        """Take in what has arrived, and make the tick if one is due."""
        step_s = self._steps.seen()
        now_s = self._clock()
        messages = self._inbox.take()
        if step_s:
            messages = [message._replace(arrival_s=now_s) for message in messages]
            await self._follow_clock(step_s, now_s)
        if now_s >= self._due_s:
            tick_s = now_s // self._tick_s * self._tick_s
            cut = bisect_left(messages, tick_s, key=lambda message: message.arrival_s)
            await self._take_in(messages[:cut])
            messages = messages[cut:]
            await self._make_tick(int(tick_s))
        await self._take_in(messages)
        if self._keeper and (time.monotonic() >= self._checkpoint_due_s or self._keeper.wants_checkpoint):
            await self.checkpoint()

    async def _follow_clock(self, step_s: float, now_s: float) -> None:
        """Move what is held with the clock, by whole rating intervals; the rest is time that passes."""
        self.watchers.clock_steps += 1
        by_s = int(step_s // self._interval_s) * self._interval_s
        LOG.warning(
            "the wall clock was set %s by %.0f s: sessions and windows keep what they hold and move with it; "
            "what is exported before and after does not join",
            "forward" if step_s > 0 else "back",
            abs(step_s),
        )
        await asyncio.get_running_loop().run_in_executor(self._thread, self._pipeline.shift, by_s)
        self._history = History(self._tick_s)
        self._due_s = self._tick_after(now_s)
        self._checkpoint_due_s = time.monotonic()

    async def _take_in(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, messages)
        if self._keeper is None:
            self.safe(messages)
        else:
            self._keeper.put(messages)

    async def _make_tick(self, tick_s: int) -> None:
        watchers = self.watchers
        watchers.tick_lag_s = max(self._clock() - tick_s, 0.0)
        watchers.ticks_skipped += max(int((tick_s - self._due_s) // self._tick_s), 0)
        now = vitals(watchers, self._pipeline.rejected, self._clock())
        watchers.loop_lag_s = 0.0
        self._due_s = tick_s + self._tick_s
        loop = asyncio.get_running_loop()
        firing, changed = await loop.run_in_executor(self._thread, self._publish, tick_s, now)
        changed, self._told = [*self._told, *changed], []
        watchers.notifier.tell(firing, changed, tick_s)
        async with self.ticked:
            self.ticked.notify_all()

    def _apply(self, messages: Sequence[Message]) -> None:
        """In the thread: bytes into the Monitor."""
        for reason, sample in self._pipeline.apply(messages).sample.items():
            self._show(reason, sample)

    def _publish(self, tick_s: int, now: Vitals) -> tuple[list[Notice], list[Notice]]:
        """In the thread: a tick from counts to bytes; the alerts that fire, and those that have changed."""
        began_s = time.perf_counter()
        ticked = self._pipeline.tick(tick_s)
        past = self._history.see(*ticked)
        self._board.newest = self._exporter.publish(*ticked, now, past)
        told = notices(*ticked)
        self._exporter.observe_tick(time.perf_counter() - began_s)
        return told

    def _remember(self, ticked: Ticked) -> None:
        self._history.see(*ticked)

    def _dumped(self) -> State:
        return self._pipeline.dump()

    def _taken_over(self, fresh: Fresh) -> Pipeline:
        """In the thread: the Pipeline after this one."""
        pipeline = fresh()
        if anew := pipeline.load(self._pipeline.dump()):
            LOG.warning("judged otherwise than before, so windows and sessions begin anew: %s", ", ".join(anew))
        return pipeline

    def _show(self, reason: Reject, sample: str) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s.get(reason, -SAMPLE_S) >= SAMPLE_S:
            self._shown_s[reason] = now_s
            LOG.warning(
                "rejected reports, reason %s, %d so far; one of them: %.300s",
                reason,
                self._pipeline.rejected[reason],
                sample,
            )

    def _tick_after(self, now_s: float) -> float:
        return now_s // self._tick_s * self._tick_s + self._tick_s
