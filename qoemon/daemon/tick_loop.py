"""The daemon's loop: again and again what has arrived is taken in, and at each tick all is judged anew."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qoemon.common.clock import Steps, since_boot
from qoemon.core.plan.plan import Timing
from qoemon.daemon.metrics import Watchers, vitals
from qoemon.engine.engine import Work
from qoemon.outputs.publisher import Publisher

LOG = logging.getLogger("qoemon.daemon")

POLL_S = 0.1
"""How often the inbox is emptied: messages wait that long before they are committed, at the most."""


class TickLoop:
    """Has work taken in, makes each tick when it is due, and has it published.

    clock   seconds since the epoch
    steady  seconds that nobody can set
    """

    def __init__(
        self,
        timing: Timing,
        work: Work,
        publisher: Publisher,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
    ) -> None:
        self._tick_s, self._interval_s = timing.tick_s, timing.interval_s
        self._work, self._publisher, self._clock = work, publisher, clock
        self._steps = Steps(clock, steady, least_s=self._tick_s)
        self.watchers = Watchers(publisher)
        """Those whose state is exported."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")
        self._due_s = self._tick_after(clock())
        self._looked_s = steady()
        self._steady = steady
        self._stopping = False
        self._reloading = asyncio.Lock()

    @property
    def silent_s(self) -> float:
        """For how long the loop has not come round."""
        return self._steady() - self._looked_s

    async def run(self) -> None:
        """Look at what has arrived again and again, until stop(); then once more."""
        while not self._stopping:
            now_s = self._clock()
            pause_s = max(0.0, min(POLL_S, self._due_s - now_s))
            began_s = time.monotonic()
            await asyncio.sleep(pause_s)
            self.watchers.loop_lag_s = max(self.watchers.loop_lag_s, time.monotonic() - began_s - pause_s)
            await self._poll()
        await self._poll()

    async def between_ticks(self, change: Coroutine[Any, Any, None]) -> None:
        """Run it while nothing is taken in and no tick is made."""
        async with self._reloading:
            await change

    def stop(self) -> None:
        """Let run() end after a last look, so that what was taken in is acknowledged."""
        self._stopping = True

    def close(self) -> None:
        """Let the thread go, once run() has ended."""
        self._thread.shutdown()

    async def _poll(self) -> None:
        """Take in what has arrived, and make the tick if one is due."""
        async with self._reloading:
            if step_s := self._steps.seen():
                await self._follow_clock(step_s)
            now_s = self._clock()
            if now_s >= self._due_s:
                await self._make_tick(int(now_s // self._tick_s * self._tick_s))
            await self._work.take_in()
            await self._work.checkpoint_if_due()
            self._looked_s = self._steady()

    async def _follow_clock(self, step_s: float) -> None:
        """Move what is held with the clock, by whole rating intervals; the rest is time that passes."""
        self.watchers.clock_steps += 1
        by_s = int(step_s // self._interval_s) * self._interval_s
        LOG.warning(
            "the wall clock was set %s by %.0f s: sessions and windows keep what they hold and move with it; "
            "what is exported before and after does not join",
            "forward" if step_s > 0 else "back",
            abs(step_s),
        )
        now_s = self._clock()
        await self._work.shift(by_s, now_s)
        self._publisher.forget()
        self._due_s = self._tick_after(now_s)

    async def _make_tick(self, tick_s: int) -> None:
        watchers, work = self.watchers, self._work
        watchers.tick_lag_s = max(self._clock() - tick_s, 0.0)
        watchers.ticks_skipped += max(int((tick_s - self._due_s) // self._tick_s), 0)
        self._due_s = tick_s + self._tick_s
        began_s = time.perf_counter()
        ticked = await work.tick(tick_s)
        now = vitals(watchers, work, self._clock())
        watchers.loop_lag_s = 0.0
        loop = asyncio.get_running_loop()
        if ticked is None:
            # A worker that is away is told otherwise; one that is only slow is not.
            watchers.ticks_skipped += not work.problems()
            await loop.run_in_executor(self._thread, self._publisher.render_vitals, now)
            return
        told = await loop.run_in_executor(self._thread, self._publisher.render, ticked, now)
        self._publisher.observe_tick(time.perf_counter() - began_s)
        await self._publisher.tell(told, tick_s)

    def _tick_after(self, now_s: float) -> float:
        return now_s // self._tick_s * self._tick_s + self._tick_s
