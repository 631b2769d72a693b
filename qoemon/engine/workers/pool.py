"""The workers together, as the daemon's loop drives them: what they take in, and what all of them come to.

A figure of some of the users would pass for one of all. So while a worker is away there is no tick: the figures of
the last stay, and their age is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec

from qoemon.common.clock import since_boot
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_union, sharded
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Union
from qoemon.core.pipeline import Tick
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.wire.partition import Partitioner
from qoemon.core.wire.report import Reject
from qoemon.engine.stats import Intake, WorkerStats, intake_of, together
from qoemon.engine.storage import layout_name, open_store, state_directory
from qoemon.engine.workers.handle import Answer, Hand
from qoemon.engine.workers.messages import Begin, Shift, TickRequest
from qoemon.engine.workers.router import Router
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.mqtt.options import broker_options
from qoemon.state.directory import locked
from qoemon.state.layout import SHARDS, divide
from qoemon.state.writer import JournalWriter

LOG = logging.getLogger("qoemon.engine.workers")


class WorkerPool:
    """As many workers as configured, with what they need of the parent.

    Where state is kept, the parent has its own (alerts, regimes, what is not told yet), and each worker.

    raises   StateError if that place cannot be used
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._config, self._clock = config, clock
        directory = state_directory(config)
        self._union = new_union(config)
        self._lock = None if directory is None else locked(directory)
        before = None if directory is None else divide(directory, layout_name(config))
        own = None if directory is None else directory / layout_name(config) / "parent"
        self._store = None if own is None else open_store(config, own)
        self._keeper = None if self._store is None else JournalWriter(self._store, lambda _: None)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crew")
        self._inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        self._routed = not sharded(config)
        self._forget = set(range(config.workers)) if before else set()
        """Workers for which the broker keeps what another division has taken in meanwhile."""
        forget = before is not None and before.endswith(SHARDS)
        self._ingest = MqttConsumer(broker_options(config), self._inbox, forget=forget) if self._routed else None
        self._router = Router(Partitioner(config.workers, core_plan(config)), self._safe)
        self._hands = [
            Hand(number, lambda number=number: self._begin(number), self._router.safe_with, self._anew)  # type: ignore[misc]
            for number in range(config.workers)
        ]
        self.also: Callable[[], Arrays] = dict
        """What else is stored with a checkpoint."""

    @property
    def intake(self) -> Intake:
        """How it goes."""
        whole = together([hand.intake for hand in self._hands])
        # The parent's checkpoints, one a tick, are no news.
        kept = together([whole.kept, replace(self._keeper.state, checkpoints=0)]) if self._keeper else whole.kept
        if self._ingest is None:
            return replace(whole, kept=kept)
        return intake_of(self._ingest.state, kept, self._inbox)

    @property
    def rejected(self) -> Mapping[Reject, int]:
        """Reports that could not be taken, since the beginning."""
        return self._union.rejected

    @property
    def workers(self) -> tuple[WorkerStats, ...]:
        """How each fares."""
        return tuple(hand.state for hand in self._hands)

    def problems(self) -> list[str]:
        """Which workers are away."""
        return [hand.problem for hand in self._hands if hand.problem]

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run all the time, by name."""
        parts: dict[str, Coroutine[Any, Any, None]] = {
            f"worker.{number}": hand.run() for number, hand in enumerate(self._hands)
        }
        if self._ingest is not None:
            parts["ingest"] = self._ingest.run()
        if self._keeper is not None:
            parts["state.keeper"] = self._keeper.run()
        return parts

    async def recover(self, seen: Callable[[Tick], object]) -> Arrays:
        """What the parent had; the workers see to their own. No tick is run again here: they have the messages."""
        if self._store is None:
            return {}
        state = await self._in_thread(self._store.state)
        if state:
            self._union = await self._in_thread(_loaded, self._config, state)
        return dict(state)

    async def change(self, config: Config) -> None:
        """Go on with a changed configuration, the parent and all workers at once: between two ticks."""
        union = await self._in_thread(_taken_over, config, self._union)
        self._config, self._union = config, union
        self._router.splitter = Partitioner(config.workers, core_plan(config))
        for hand in self._hands:
            hand.reload(config)

    async def take_in(self) -> None:
        """Hand out what has arrived; workers with connections of their own look themselves."""
        await self._hand_out(self._inbox.drain())

    async def tick(self, tick_s: int) -> Tick | None:
        """What all workers come to; None if one is away, or slower than a tick is long."""
        await self._hand_out(self._inbox.drain(before_s=tick_s))
        asked = [hand.ask(TickRequest(tick_s, self._offset_s)) for hand in self._hands]
        await asyncio.wait(asked, timeout=self._config.sessions.tick_s)
        answers = [each.result() if each.done() else None for each in asked]
        whole = [answer for answer in answers if answer is not None]
        if len(whole) < len(answers):
            slow = [str(n) for n, each in enumerate(asked) if not each.done()]
            if slow:
                LOG.warning("no figures of this tick: worker %s has not answered in time", " and ".join(slow))
            return None
        ticked: Tick = await self._in_thread(self._judged, whole)
        for hand in self._hands:
            hand.know_only(self._union.full)
        await self._checkpoint()
        return ticked

    async def shift(self, by_s: int, now_s: float) -> None:
        """The clock was set, and it is now_s by it."""
        self._inbox.restamp(now_s)
        await self._in_thread(self._union.shift, by_s)
        for hand in self._hands:
            hand.say(Shift(by_s, self._offset_s))

    async def checkpoint_if_due(self) -> None:
        """Nothing: workers see to theirs, and the parent has one with each tick."""

    def leave(self) -> None:
        """Take no more messages, but go on acknowledging."""
        if self._ingest is not None:
            self._ingest.leave()
        for hand in self._hands:
            hand.give_up()

    async def finish(self) -> None:
        """Have all workers store what they hold, and end."""
        for hand in self._hands:
            hand.leave()
        for hand in self._hands:
            await hand.ended.wait()
        await self._checkpoint()
        if self._keeper is not None:
            await self._keeper.flush()

    def close(self) -> None:
        """Let thread and store go, once nothing of parts() runs any more."""
        self._thread.shutdown()
        if self._keeper is not None:
            self._keeper.close()
        if self._lock is not None:
            self._lock.close()

    @property
    def _offset_s(self) -> float:
        return self._clock() - since_boot()

    def _anew(self, number: int) -> None:
        """Without a store, or with a broken one, a worker begins with nothing; what was counted must not fall."""
        self._union.lose(number)

    def _begin(self, number: int) -> Begin:
        forget = number in self._forget
        self._forget.discard(number)
        return Begin(self._config, number, len(self._hands), self._routed, forget, self._offset_s)

    def _safe(self, messages: Sequence[Message]) -> None:
        self._inbox.release(messages)
        if self._ingest is not None:
            self._ingest.ack(messages)

    async def _hand_out(self, messages: Sequence[Message]) -> None:
        if messages:
            routed = await self._in_thread(self._router.split, messages)
            self._router.hand_out(routed, lambda worker, number, take: self._hands[worker].take(number, take))

    def _judged(self, answers: Sequence[Answer]) -> Tick:
        """In the thread."""
        return self._union.tick([answer.whole() for answer in answers])

    async def _checkpoint(self) -> None:
        if self._keeper is not None and not self._keeper.checkpoint_pending:
            also = self.also()
            self._keeper.checkpoint({**await self._in_thread(self._union.dump), **also})

    async def _in_thread(self, work: Callable[..., Any], *of: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *of)


def _loaded(config: Config, state: Arrays) -> Union:
    """In the thread: a Union that begins with what was stored, as far as that fits."""
    union = new_union(config)
    try:
        anew = union.load(state)
    except (IncompatibleStateError, KeyError, ValueError, msgspec.MsgspecError) as error:
        LOG.warning("alerts and regimes begin anew: %s", error)
        return new_union(config)
    if anew:
        LOG.warning("judged otherwise than before, so alerts and regimes begin anew: %s", ", ".join(anew))
    return union


def _taken_over(config: Config, before: Union) -> Union:
    """In the thread: the Union after this one; StateError if it can take over nothing."""
    union = new_union(config)
    union.inherit(before)
    return union
