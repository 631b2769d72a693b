"""A worker: one shard of the sessions in a process of its own, which does what the parent says.

It keeps no wall clock: what time it is follows from the time since boot and what the parent says they differ by. So
all workers see the clock set at the same moment, between two ticks.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from qoemon.common.clock import since_boot
from qoemon.config.config import Config
from qoemon.config.plan import shard_plan
from qoemon.core.sharding.shard_counts import ShardLine, Share
from qoemon.core.sharding.sparse import Thinner
from qoemon.daemon.tick_loop import POLL_S
from qoemon.engine.shard import Shard
from qoemon.engine.storage import layout_name, state_directory
from qoemon.engine.workers.channel import Channel, ChannelError, packed
from qoemon.engine.workers.messages import (
    Begin,
    FreezeGroups,
    Heartbeat,
    Leave,
    Ready,
    RecoveryProgress,
    Reload,
    Safe,
    Shift,
    Take,
    TickRequest,
    Told,
)
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.mqtt.options import worker_broker_options
from qoemon.inputs.source import Source
from qoemon.inputs.stats import MqttStats
from qoemon.state.frames import decode
from qoemon.state.store import Store

LOG = logging.getLogger("qoemon.engine.workers")

FARE_S = 1.0


class Routed:
    """A source that has nothing to do: what it acknowledges came from the parent, which is told."""

    def __init__(self, channel: Channel) -> None:
        self.state = MqttStats(connected=True, subscribed=True)
        self._channel = channel

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            await asyncio.sleep(math.inf)

    def ack(self, messages: Sequence[Message]) -> None:
        """Tell the parent. What is safe is whole takes, since each is taken in at once."""
        self._channel.send(Safe(messages[-1].mid))

    def leave(self) -> None:
        """The parent does."""


class Worker:
    """Made when the parent has said Begin.

    raises   StateError if its directory cannot be used
    """

    def __init__(self, channel: Channel, begin: Begin) -> None:
        self._channel, self._offset_s = channel, begin.offset_s
        self._loop = asyncio.get_running_loop()
        limits = begin.config.limits
        if begin.routed:
            # The parent's inbox is the bound: what it has handed out counts there until we say it is safe.
            self._inbox = Inbox(sys.maxsize, sys.maxsize)
            source: Source = Routed(channel)
        else:
            size_b = max(limits.inbox_bytes // begin.workers, limits.message_bytes)
            self._inbox = Inbox(math.ceil(limits.inbox_messages / begin.workers), size_b)
            source = MqttConsumer(
                worker_broker_options(begin.config, begin.number), self._inbox, self._now, forget=begin.forget
            )
        self._shard: Shard[Share] = Shard(
            self._fresh(begin.config), self._inbox, source, _store(begin), begin.config.state.checkpoint_s
        )
        self._thinner = Thinner()
        self._turn = asyncio.Lock()
        """Who holds it is the only one to work with the shard."""

    async def run(self) -> None:
        """Until the parent says Leave, or has gone."""
        try:
            async with asyncio.TaskGroup() as group:
                parts: list[asyncio.Task[None]] = [group.create_task(self._tell())]
                await self._shard.recover(lambda _: None, self._recovering)
                self._channel.send(Ready(anew=self._shard.line.monitor.tick is None))
                parts += [group.create_task(part, name=name) for name, part in self._shard.parts().items()]
                parts += [group.create_task(self._poll())]
                await self._obey()
                for part in parts:
                    part.cancel()
        finally:
            self._shard.close()

    def _recovering(self, done: float) -> None:
        """In the shard's thread."""
        self._loop.call_soon_threadsafe(self._channel.send, RecoveryProgress(done))

    async def _obey(self) -> None:
        """Do what the parent says, one word after the other."""
        while True:
            try:
                word = await self._channel.receive()
            except ChannelError:
                LOG.warning("the parent has gone: ending")
                return None
            if isinstance(word, Leave):
                return await self._leave()
            async with self._turn:
                await self._do(word)

    async def _do(self, word: Any) -> None:
        match word:
            case Take(number, frame):
                for topic, payload, arrival_s in decode(frame):
                    self._inbox.put(Message(topic, payload, arrival_s, 1, number, 0))
                await self._shard.take_in()
            case TickRequest(tick_s, offset_s):
                self._offset_s = offset_s
                share = await self._shard.tick(tick_s)
                self._channel.send_packed(await asyncio.to_thread(self._answer, share))
            case Shift(by_s, offset_s):
                self._offset_s = offset_s
                await self._shard.shift(by_s, self._now())
            case FreezeGroups(groups):
                self._shard.line.monitor.know_only(groups)
            case Reload(config):
                await self._shard.replace(self._fresh(config))
                self._thinner = Thinner()

    async def _leave(self) -> None:
        self._shard.leave()
        async with self._turn:
            await self._shard.take_in()
            await self._shard.finish()
        await self._channel.drain()

    async def _poll(self) -> NoReturn:
        while True:
            await asyncio.sleep(POLL_S)
            async with self._turn:
                await self._shard.take_in()
                await self._shard.checkpoint_if_due()

    async def _tell(self) -> NoReturn:
        """How it fares."""
        while True:
            used = resource.getrusage(resource.RUSAGE_SELF)
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            memory = pages * resource.getpagesize()
            self._channel.send(Heartbeat(self._shard.intake, used.ru_utime + used.ru_stime, memory))
            await asyncio.sleep(FARE_S)

    def _answer(self, share: Share) -> bytes:
        return packed(Told(replace(share, tallies=()), self._thinner.thin(share.tallies)))

    def _now(self) -> float:
        """The wall clock, as the parent sees it."""
        return since_boot() + self._offset_s

    def _fresh(self, config: Config) -> Callable[[], ShardLine]:
        plan = shard_plan(config)
        return lambda: ShardLine(plan)


def _store(begin: Begin) -> Store | None:
    directory, state = state_directory(begin.config), begin.config.state
    if directory is None:
        return None
    own = directory / layout_name(begin.config) / str(begin.number)
    return Store(own, state.durability, max(state.journal_bytes // begin.workers, 1))
