"""A worker: runs one shard of the sessions in its own process.

It does not read the wall clock: time is the time since boot plus the offset that the parent sends. So a step of the
clock reaches all workers at the same tick.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from qoemon.common.clock import since_boot
from qoemon.config.config import Config
from qoemon.config.plan import shard_plan
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.engine.engine import POLL_S
from qoemon.engine.shard import Shard
from qoemon.engine.storage import open_worker_store, session_memory
from qoemon.engine.workers.channel import Channel, ChannelError, packed
from qoemon.engine.workers.messages import (
    ClockStep,
    Committed,
    FreezeGroups,
    Heartbeat,
    IngestBatch,
    Ready,
    RecoveryProgress,
    Reload,
    Start,
    Stop,
    TickRequest,
    TickResult,
)
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.mqtt.options import worker_broker_options
from qoemon.inputs.sources import Sources
from qoemon.state.frames import decode
from qoemon.state.recovery import New, Recovery
from qoemon.state.store import Store

LOG = logging.getLogger("qoemon.engine.workers")

HEARTBEAT_S = 1.0


class ParentSource:
    """The source of the messages that the parent hands out: reports commits to the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def run(self) -> NoReturn:
        """Nothing to do, until cancelled."""
        while True:
            await asyncio.sleep(math.inf)

    def ack(self, messages: Sequence[Message]) -> None:
        """Report the commit to the parent. Batches are committed as a whole, since each is processed at once."""
        if messages:
            self._channel.send(Committed(messages[-1].mid))

    def leave(self) -> None:
        """Nothing to do: the parent stops sending."""


class Worker:
    """Runs a shard, controlled by messages of the parent; start is the first of these.

    raises   StateError if its directory cannot be used
    """

    def __init__(self, channel: Channel, start: Start) -> None:
        self._channel, self._offset_s = channel, start.offset_s
        self._loop = asyncio.get_running_loop()
        store = open_worker_store(start.config, start.number)
        limits = start.config.limits
        size = max(limits.inbox_bytes // start.workers, limits.message_bytes)
        self._inbox = Inbox(math.ceil(limits.inbox_messages / start.workers), size)
        sources = Sources(self._consumer(start, store), parent=ParentSource(channel))
        self._shard = Shard(_new(start.config), self._inbox, sources, store, start.config.state.checkpoint_s)
        self._lock = asyncio.Lock()
        """Held while the shard is in use."""

    async def run(self) -> None:
        """Run until the parent sends Stop, or ends."""
        try:
            async with asyncio.TaskGroup() as group:
                parts: list[asyncio.Task[None]] = [group.create_task(self._send_heartbeats())]
                await self._shard.recover(Recovery(on_progress=self._send_progress))
                self._channel.send(Ready(empty=not self._shard.pipeline.begun))
                parts += [group.create_task(part, name=name) for name, part in self._shard.parts().items()]
                parts += [group.create_task(self._poll())]
                await self._follow_parent()
                for part in parts:
                    part.cancel()
        finally:
            self._shard.close()

    def _consumer(self, start: Start, store: Store | None) -> MqttConsumer | None:
        """The worker's own connection to the broker, if topics have a level {shard}."""
        mqtt = start.config.mqtt
        if mqtt is None or not start.config.sharded:
            return None
        options = worker_broker_options(mqtt, start.number, start.workers)
        memory = session_memory(None if store is None else store.directory)
        return MqttConsumer(options, self._inbox, self._now, memory=memory, forget=start.forget)

    def _send_progress(self, done: float) -> None:
        """Runs in the shard's thread."""
        self._loop.call_soon_threadsafe(self._channel.send, RecoveryProgress(done))

    async def _follow_parent(self) -> None:
        """Handle the parent's messages, one after the other."""
        while True:
            try:
                message = await self._channel.receive()
            except ChannelError:
                LOG.warning("the parent has ended: exiting")
                return None
            if isinstance(message, Stop):
                return await self._stop()
            async with self._lock:
                await self._handle(message)

    async def _handle(self, message: Any) -> None:
        match message:
            case IngestBatch(number, frame):
                for topic, payload, arrival_s, kind in decode(frame):
                    self._inbox.add(Message(topic, payload, arrival_s, 1, number, 0, kind))
                await self._shard.process_pending()
            case TickRequest(tick_s, offset_s, stored_s):
                self._offset_s = offset_s
                if stored_s is not None:
                    await self._shard.in_thread(self._shard.pipeline.forget_closed, stored_s)
                counts = await self._shard.tick(tick_s)
                self._channel.send_packed(await asyncio.to_thread(_packed, counts))
            case ClockStep(by_s, offset_s):
                self._offset_s = offset_s
                await self._shard.shift(by_s, self._now())
            case FreezeGroups(groups):
                self._shard.pipeline.freeze_groups(groups)
            case Reload(config):
                await self._shard.replace(_new(config))

    async def _stop(self) -> None:
        self._shard.stop_receiving()
        async with self._lock:
            await self._shard.process_pending()
            await self._shard.finish()
        await self._channel.drain()

    async def _poll(self) -> NoReturn:
        while True:
            await asyncio.sleep(POLL_S)
            async with self._lock:
                await self._shard.process_pending()
                if self._shard.checkpoint_due:
                    await self._shard.checkpoint()

    async def _send_heartbeats(self) -> NoReturn:
        while True:
            used = resource.getrusage(resource.RUSAGE_SELF)
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            memory = pages * resource.getpagesize()
            self._channel.send(Heartbeat(self._shard.stats, used.ru_utime + used.ru_stime, memory))
            await asyncio.sleep(HEARTBEAT_S)

    def _now(self) -> float:
        """The parent's wall clock, seconds since the epoch."""
        return since_boot() + self._offset_s


def _packed(counts: ShardCounts) -> bytes:
    return packed(TickResult(sparse_counts(counts)))


def _new(config: Config) -> New:
    plan = shard_plan(config, config.workers)
    return lambda: ShardPipeline(plan, retain=True)
