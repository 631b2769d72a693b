"""The engine with workers: distributes messages, and evaluates the counts of all workers at each tick.

Results from a part of the users would be mistaken for those of all. So there is no tick while a worker is down: the
results of the last tick stay published, and their age is exported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from operator import add
from typing import IO, Any, TypeVar

import msgspec

from qoemon.common.clock import since_boot
from qoemon.common.metrics import Families
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.alerting.alerts import AlertKey
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Tick
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.wire.partition import Partitioner
from qoemon.engine.engine import ExtraState, OnTick
from qoemon.engine.evaluations import restored, successor
from qoemon.engine.inputs import sources
from qoemon.engine.metrics import engine_metrics
from qoemon.engine.router import Router
from qoemon.engine.shard import nothing
from qoemon.engine.stats import NOTHING_YET, EngineStats
from qoemon.engine.storage import enter, layout_name, open_store, open_worker_store, state_directory
from qoemon.engine.workers.channel import packed
from qoemon.engine.workers.handle import WorkerHandle
from qoemon.engine.workers.messages import ClockStep, IngestBatch, Start, TickRequest
from qoemon.inputs.inbox import Inbox, Message
from qoemon.state.frames import StoredMessage, encode
from qoemon.state.layout import PARENT, SHARDS
from qoemon.state.store import CorruptError, Store
from qoemon.state.upgrade import evaluation_state
from qoemon.state.writer import JournalWriter

LOG = logging.getLogger("qoemon.engine.workers")

T = TypeVar("T")


class WorkerPool:
    """Runs the configured number of workers, and the parts of the engine that are in the parent.

    If state is stored, each worker stores its own, and the parent stores windows, totals, alerts, regimes and
    notices.

    extra_state  further arrays to store with the parent's checkpoints
    raises       StateError if the directory cannot be used
    """

    own_clock = False

    def __init__(
        self, config: Config, extra_state: ExtraState = nothing, clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._extra_state, self._clock = config, extra_state, clock
        self._evaluation = new_evaluation(config)
        directory = state_directory(config)
        self._lock: IO[str] | None = None
        before: str | None = None
        if directory is not None:
            self._lock, before = enter(config, directory)
        own = None if directory is None else directory / layout_name(config) / PARENT
        self._store = None if own is None else open_store(config, own)
        self._writer = None if self._store is None else JournalWriter(self._store)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pool")
        self._inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        self._forget = set(range(config.workers)) if before else set()
        """Workers whose session at the broker is outdated: another layout has accepted its messages."""
        forget = before is not None and before.endswith(SHARDS)
        self._sources = sources(config, self._inbox, directory, forget=forget)
        self._partitioner = Partitioner(config.workers, core_plan(config))
        self._router = Router(self._divide, self._acknowledge)
        self._workers = [WorkerHandle(number, self) for number in range(config.workers)]
        self._emptied: set[int] = set()
        """Workers that have lost their state since the last tick."""
        self._unstored = False
        """Whether there was a tick since the last checkpoint."""
        self._dumped_s: Mapping[int, int] = {}
        """By worker, the end of the newest closed interval in the last checkpoint, which may be uncommitted."""
        self._stored_s: Mapping[int, int] = {}
        """The same for the last committed checkpoint."""

    @property
    def stats(self) -> EngineStats:
        """As Engine.stats."""
        whole = reduce(add, (worker.stats for worker in self._workers), NOTHING_YET)
        if self._writer is None:
            return self._with_parent(whole)
        # The parent's checkpoints are one per tick, and would hide those of the workers.
        writer = whole.writer + replace(self._writer.stats, checkpoints=0)
        return self._with_parent(replace(whole, writer=writer))

    @property
    def newest_s(self) -> None:
        """As Engine.newest_s: the parts that have the sessions restore them by themselves."""

    def metrics(self, now_s: float) -> Families:
        """As Engine.metrics."""
        workers = [worker.worker_stats for worker in self._workers]
        return engine_metrics(self.stats, self._evaluation.rejected, workers, now_s)

    def problems(self) -> list[str]:
        """As Engine.problems: the workers that are down."""
        return [worker.problem for worker in self._workers if worker.problem]

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """As Engine.parts."""
        parts: dict[str, Coroutine[Any, Any, None]] = {
            f"worker.{number}": worker.process.run() for number, worker in enumerate(self._workers)
        }
        parts |= self._sources.parts()
        if self._writer is not None:
            parts["state.writer"] = self._writer.run()
        return parts

    async def listen(self) -> None:
        """As Engine.listen; the parent has the collector."""
        await self._sources.listen()

    async def recover(self, on_tick: OnTick) -> Arrays:
        """As Engine.recover, for the parent's part; no tick is replayed, as the workers have the messages."""
        if self._store is None:
            return {}
        state = await self._in_thread(self._stored)
        if state:
            self._evaluation = await self._in_thread(restored, self._config, state)
            await self._in_thread(self._evaluation.begin_exports)
        return state

    async def change(self, config: Config) -> None:
        """As Engine.change: the parent and all workers at once, between two ticks."""
        evaluation = await self._in_thread(successor, config, self._evaluation)
        self._config, self._evaluation = config, evaluation
        self._partitioner = Partitioner(config.workers, core_plan(config))
        for worker in self._workers:
            worker.reload(config)

    async def process_pending(self) -> None:
        """As Engine.process_pending: distribute messages; workers poll their own connections by themselves."""
        await self._distribute(self._inbox.drain())

    async def tick(self, tick_s: int) -> Tick | None:
        """As Engine.tick; None if a worker is down, or takes longer than a tick."""
        await self._distribute(self._inbox.drain(before_s=tick_s))
        stored_s = self._stored_s if self._writer else self._evaluation.closed_s
        requests = [
            worker.request_tick(TickRequest(tick_s, self._offset_s, stored_s.get(number)))
            for number, worker in enumerate(self._workers)
        ]
        await asyncio.wait(requests, timeout=self._config.sessions.tick_s)
        answers = [each.result() if each.done() else None for each in requests]
        shards = [answer for answer in answers if answer is not None]
        if len(shards) < len(answers):
            slow = [str(number) for number, each in enumerate(requests) if not each.done()]
            if slow:
                LOG.warning("no figures of this tick: worker %s has not answered in time", " and ".join(slow))
            return None
        tick = await self._in_thread(self._evaluate, shards, self.stats.connected)
        for worker in self._workers:
            worker.freeze_groups(self._evaluation.full)
        self._unstored = True
        return tick

    async def next_tick(self) -> Tick | None:
        """None: see own_clock."""
        return None

    async def shift(self, by_s: int, now_s: float) -> None:
        """As Engine.shift."""
        self._inbox.restamp(now_s)
        await self._in_thread(self._evaluation.shift, by_s)
        self._dumped_s, self._stored_s = {}, {}
        self._unstored = True  # Workers store what they have moved at once: both must be of the same clock.
        for worker in self._workers:
            worker.send(ClockStep(by_s, self._offset_s))

    async def adopt_alerts(self, firing: Mapping[AlertKey, int]) -> None:
        """As Engine.adopt_alerts."""
        await self._in_thread(self._evaluation.adopt_alerts, firing)

    async def checkpoint_if_due(self) -> None:
        """As Engine.checkpoint_if_due: the parent's, once per tick; workers store their own."""
        # After the tick was published: alerts that it changed are stored together with what is to be sent of them.
        if self._unstored and self._writer is not None and not self._writer.checkpoint_pending:
            self._unstored = False
            await self._checkpoint(self._writer)

    def stop_receiving(self) -> None:
        """As Engine.stop_receiving."""
        self._sources.leave()
        for worker in self._workers:
            worker.give_up()

    async def finish(self) -> None:
        """As Engine.finish: the workers store their state, and exit."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            await worker.process.ended.wait()
        if self._writer is not None:
            await self._writer.flush()  # While a checkpoint is being written, no other is made.
            await self._checkpoint(self._writer)
            await self._writer.flush()

    def close(self) -> None:
        """As Engine.close."""
        self._sources.close()
        self._thread.shutdown()
        if self._writer is not None:
            self._writer.close()
        if self._lock is not None:
            self._lock.close()

    def start_message(self, worker: int) -> Start:
        """As WorkerEvents.start_message."""
        forget = worker in self._forget
        self._forget.discard(worker)
        return Start(self._config, worker, len(self._workers), forget, self._offset_s)

    def committed(self, worker: int, number: int) -> None:
        """As WorkerEvents.committed."""
        self._router.committed(worker, number)

    def emptied(self, worker: int) -> None:
        """As WorkerEvents.emptied. Its totals must not decrease: the evaluation keeps them, at the next tick."""
        self._emptied.add(worker)

    @property
    def _offset_s(self) -> float:
        return self._clock() - since_boot()

    def _with_parent(self, whole: EngineStats) -> EngineStats:
        """The statistics of all workers, with those of the parent's inputs and inbox.

        What the parent hands out counts in its own inbox until it is committed. Workers that have connections of
        their own have inboxes of their own as well.
        """
        if not self._config.sharded:
            return EngineStats.of(self._sources, whole.writer, self._inbox)
        return whole + EngineStats.of(self._sources, NOTHING_YET.writer, self._inbox)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        self._inbox.release(messages)
        self._sources.ack(messages)

    def _divide(self, number: int, messages: Sequence[Message]) -> dict[int, bytes]:
        """By worker, its packed IngestBatch of this number. Runs in the thread."""
        parts: dict[int, list[StoredMessage]] = {}
        for message in messages:
            for worker, payload in self._partitioner.split(message.topic, message.payload, message.kind):
                part = StoredMessage(message.topic, payload, message.arrival_s, message.kind)
                parts.setdefault(worker, []).append(part)
        return {worker: packed(IngestBatch(number, encode(some))) for worker, some in parts.items()}

    async def _distribute(self, messages: Sequence[Message]) -> None:
        if messages:
            routed = await self._in_thread(self._router.route, messages)
            self._router.dispatch(
                routed, lambda worker, number, batch: self._workers[worker].send_batch(number, batch)
            )

    def _evaluate(self, shards: Sequence[ShardCounts], connected: bool) -> Tick:
        """Runs in the thread."""
        while self._emptied:
            self._evaluation.lose(self._emptied.pop())
        return self._evaluation.tick(shards, connected=connected)

    async def _checkpoint(self, writer: JournalWriter) -> None:
        self._stored_s, self._dumped_s = self._dumped_s, self._evaluation.closed_s
        extra = self._extra_state()
        writer.checkpoint({**await self._in_thread(self._evaluation.dump), **extra})

    def _stored(self) -> Arrays:
        """The parent's checkpoint; version 1 is completed from the workers' checkpoints. Runs in the thread."""
        assert self._store is not None, "recover() has checked it"  # noqa: S101 - for the type checker
        try:
            state = dict(self._store.state())
            if not state or "evaluation/meta" in state:
                return state
            groups = msgspec.json.decode(state["meta"].tobytes())["groups"]
            shards = [shard for number in range(self._config.workers) if (shard := self._worker_state(number))]
            return state | (evaluation_state(shards, groups) if shards else {})
        except CorruptError as error:
            self._store.quarantine(str(error))
            return {}

    def _worker_state(self, worker: int) -> Arrays:
        store: Store | None = open_worker_store(self._config, worker)
        if store is None:
            return {}
        try:
            return dict(store.state())
        except CorruptError:
            return {}  # The worker renames it, and logs that.
        finally:
            store.close()

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
