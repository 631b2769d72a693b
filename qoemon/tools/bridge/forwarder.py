"""Takes messages from the inbox, writes them to Kafka by shard, and acknowledges those that Kafka has stored.

What belongs to a shard and has arrived within POLL_S becomes one record. While Kafka does not answer, nothing more
is taken from the inbox: it fills, then QoS 1 messages stay at the broker and requests are answered with 429.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, NoReturn

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.joined import Joiner, Part
from qoemon.engine.engine import POLL_S
from qoemon.engine.router import Router
from qoemon.engine.spark.records import record_of
from qoemon.inputs.inbox import Inbox, Message
from qoemon.net.kafka.producer import RecordProducer

AHEAD = 50
"""How many times messages are taken from the inbox before Kafka must have stored the first of them: 5 s."""

RECORD_BYTES = 500_000
"""A record with more has a single message."""

FRAME_BYTES = 32
"""Of a message in a record, beside topic and payload, at most."""

MESSAGE_BYTES = 20_000
"""Of a message without its payload: the longest topic, in UTF-8; and of a record, key and headers."""


def largest_record(plan: Plan) -> int:
    """Bytes of the largest record."""
    return max(RECORD_BYTES, plan.limits.message_bytes) + MESSAGE_BYTES


class _Waiting(NamedTuple):
    """A record for which the client had no room yet."""

    shard: int
    number: int
    messages: Sequence[Part]
    last: bool
    """Whether it is the last of this number for the shard."""


class Forwarder:
    """Writes records for a number of shards to the partitions of a topic.

    ack  called with the messages that Kafka has stored, in the order of their arrival
    """

    def __init__(
        self,
        plan: Plan,
        shards: int,
        partitions: int,
        inbox: Inbox,
        producer: RecordProducer,
        ack: Callable[[Sequence[Message]], object],
    ) -> None:
        self._shards, self._partitions = shards, partitions
        self._inbox, self._producer, self._ack = inbox, producer, ack
        self._joiner = Joiner(shards, plan)
        self._router = Router[Sequence[Sequence[Part]]](self._records, self._stored)
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bridge")

    async def run(self) -> NoReturn:
        """Forward until cancelled; ProducerError if Kafka refuses a record."""
        while True:
            await self._forward()
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Release the thread, after run() has ended."""
        self._thread.shutdown()

    async def _forward(self) -> None:
        self._write()
        if self._waiting or self._router.uncommitted >= AHEAD:
            return
        messages = self._inbox.drain()
        if messages:
            loop = asyncio.get_running_loop()
            routed = await loop.run_in_executor(self._thread, self._router.route, messages)
            self._router.dispatch(routed, self._enqueue)
            self._write()

    def _records(self, _: int, messages: Sequence[Message]) -> dict[int, Sequence[Sequence[Part]]]:
        """By shard, the messages of each record. Runs in the thread."""
        return {shard: [*_cut(parts)] for shard, parts in self._joiner.join(messages).items()}

    def _enqueue(self, shard: int, number: int, records: Sequence[Sequence[Part]]) -> None:
        *others, last = records
        self._waiting += [_Waiting(shard, number, each, last=False) for each in others]
        self._waiting.append(_Waiting(shard, number, last, last=True))

    def _write(self) -> None:
        """Write the waiting records, as far as the client has room for them."""
        while self._waiting:
            shard, number, messages, last = self._waiting[0]
            key, value, headers = record_of(shard, self._shards, messages)
            # Records of a partition are stored in their order, so the last one is enough.
            on_stored = partial(self._router.committed, shard, number) if last else _nothing
            if not self._producer.write(shard % self._partitions, key, value, headers, on_stored):
                return
            self._waiting.popleft()

    def _stored(self, messages: Sequence[Message]) -> None:
        self._inbox.release(messages)
        self._ack(messages)


def _nothing() -> None:
    pass


def _cut(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """The messages of each record."""
    begin = size = 0
    for at, part in enumerate(parts):
        length = len(part.topic.encode()) + len(part.payload) + FRAME_BYTES
        if at > begin and size + length > RECORD_BYTES:
            yield parts[begin:at]
            begin, size = at, 0
        size += length
    yield parts[begin:]
