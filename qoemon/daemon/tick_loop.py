"""The main loop of the daemon: processes pending messages, and makes each tick when it is due."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from qoemon.common.clock import Steps, since_boot
from qoemon.common.metrics import Families
from qoemon.core.plan.plan import Timing
from qoemon.daemon.metrics import LoopStats, loop_metrics
from qoemon.engine.engine import POLL_S, Engine
from qoemon.outputs.publisher import Publisher

LOG = logging.getLogger("qoemon.daemon")

Collector = Callable[[], Families]
"""Gives the metrics of one part."""


class TickLoop:
    """Drives an engine, and publishes its ticks.

    collectors  return the metrics of all other parts of the daemon
    clock       wall clock, seconds since the epoch
    steady      monotonic clock, seconds
    """

    def __init__(
        self,
        timing: Timing,
        engine: Engine,
        publisher: Publisher,
        collectors: Sequence[Collector] = (),
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
    ) -> None:
        self._tick_s, self._interval_s = timing.tick_s, timing.interval_s
        self._engine, self._publisher, self._collectors = engine, publisher, tuple(collectors)
        self._clock, self._steady = clock, steady
        self._steps = Steps(clock, steady, least_s=self._tick_s)
        self.stats = LoopStats()
        self._due_s = self._tick_after(clock())
        self._polled_s = steady()
        self._stopping = False
        self._lock = asyncio.Lock()

    @property
    def silent_s(self) -> float:
        """Seconds since the last poll."""
        return self._steady() - self._polled_s

    async def begin(self) -> None:
        """Move a restored state that is ahead of the clock, which was set back meanwhile; called before run().

        Otherwise its windows would stay as they are until the clock has caught up.
        """
        newest_s, now_s = self._engine.newest_s, self._clock()
        if newest_s is not None and newest_s - now_s > self._interval_s:
            await self._follow_clock(now_s - newest_s)

    async def run(self) -> None:
        """Poll until stop() is called, then once more."""
        while not self._stopping:
            now_s = self._clock()
            pause_s = max(0.0, min(POLL_S, self._due_s - now_s))
            began_s = time.monotonic()
            await asyncio.sleep(pause_s)
            self.stats.loop_lag_s = max(self.stats.loop_lag_s, time.monotonic() - began_s - pause_s)
            await self._poll()
        await self._poll()

    async def between_ticks(self, change: Coroutine[Any, Any, None]) -> None:
        """Run it while no message is processed and no tick is made."""
        async with self._lock:
            await change

    def stop(self) -> None:
        """Let run() end after a last poll, which acknowledges all messages that have arrived."""
        self._stopping = True

    async def _poll(self) -> None:
        """Make a tick if one is due, and process pending messages."""
        async with self._lock:
            await self._watch_clock()
            now_s = self._clock()
            began_s = time.perf_counter()
            while (tick := await self._engine.next_tick()) is not None:
                await self._publisher.publish(tick, list(self._own_metrics()), began_s)
                self._polled_s, began_s = self._steady(), time.perf_counter()
            if now_s >= self._due_s:
                await self._make_tick(int(now_s // self._tick_s * self._tick_s))
            # Once more: messages that came since the clock was set would otherwise count before all is moved.
            await self._watch_clock()
            await self._engine.process_pending()
            await self._engine.checkpoint_if_due()
            self._polled_s = self._steady()

    async def _watch_clock(self) -> None:
        if (step_s := self._steps.seen()) and not self._engine.own_clock:
            await self._follow_clock(step_s)

    async def _follow_clock(self, step_s: float) -> None:
        """Move all times with the clock, by whole rating intervals; the rest counts as time that has passed."""
        self.stats.clock_steps += 1
        by_s = int(step_s // self._interval_s) * self._interval_s
        LOG.warning(
            "the wall clock was set %s by %.0f s: sessions and windows keep their contents and move with it; "
            "metrics from before and after are not comparable",
            "forward" if step_s > 0 else "back",
            abs(step_s),
        )
        now_s = self._clock()
        await self._engine.shift(by_s, now_s)
        self._publisher.forget_past()
        self._due_s = self._tick_after(now_s)

    async def _make_tick(self, tick_s: int) -> None:
        stats = self.stats
        stats.tick_lag_s = max(self._clock() - tick_s, 0.0)
        stats.ticks_skipped += max(int((tick_s - self._due_s) // self._tick_s), 0)
        self._due_s = tick_s + self._tick_s
        began_s = time.perf_counter()
        tick = await self._engine.tick(tick_s)
        if tick is None and not self._engine.own_clock and not self._engine.problems():
            # A worker is slow. One that is down has a metric of its own.
            stats.ticks_skipped += 1
        stats.loop_tasks = len(asyncio.all_tasks())
        own = list(self._own_metrics())
        stats.loop_lag_s = 0.0
        if tick is None:
            await self._publisher.publish_again(own)
        else:
            await self._publisher.publish(tick, own, began_s)

    def _own_metrics(self) -> Families:
        yield from loop_metrics(self.stats)
        yield from self._engine.metrics(self._clock())
        for collect in self._collectors:
            yield from collect()

    def _tick_after(self, now_s: float) -> float:
        return now_s // self._tick_s * self._tick_s + self._tick_s
