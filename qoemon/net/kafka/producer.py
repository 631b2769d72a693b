"""Writes records, and calls back when Kafka has stored each of them in all replicas in sync.

The client (librdkafka) repeats until that is so, for any length of time, without gaps, repetitions or changes of
order in a partition. What it reports as failed is permanent, so a failure ends the producer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from qoemon.common.backoff import Repeats
from qoemon.net.kafka.client import Options, describe_error, option_error

LOG = logging.getLogger("qoemon.net.kafka")

USUAL_BYTES = 1_000_000
"""Size of the largest record that the client accepts by default."""

STATISTICS_S = 1.0
"""How often the client reports the state of its connections."""

CALLBACK_WAIT_S = 0.2
"""Longest wait of the thread for callbacks, and so for the end of the thread."""

OnStored = Callable[[], object]


class ProducerError(Exception):
    """Records cannot be written any more; the message gives the reason."""


@dataclass
class ProducerStats:
    """State and totals of a producer.

    connected      whether a broker is connected
    last_error     what the client reported last; None while it is connected
    records_total  stored by Kafka
    bytes_total    of their values
    undelivered    records that are written and not stored yet
    """

    connected: bool = False
    last_error: str | None = None
    records_total: int = 0
    bytes_total: int = 0
    undelivered: int = 0


class RecordProducer:
    """Writes to one topic; used from the event loop that made it.

    largest     bytes of the largest record
    on_latency  called with the seconds from write() until Kafka had stored the record
    raises      OptionError if the client does not accept its options
    """

    def __init__(self, options: Options, topic: str, largest: int, on_latency: Callable[[float], object]) -> None:
        self.stats = ProducerStats()
        self._topic, self._brokers, self._on_latency = topic, options["bootstrap.servers"], on_latency
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._repeats = Repeats()
        self._closing = False
        self._progress_s = 0.0
        ours: dict[str, object] = {
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": 0,  # Never gives up.
            "message.max.bytes": max(largest, USUAL_BYTES),
            "statistics.interval.ms": int(STATISTICS_S * 1000),
            "stats_cb": self._counted,
            "error_cb": self._reported,
        }
        try:
            self._producer = Producer({"linger.ms": 5, **options, **ours})
        except KafkaException as error:
            raise option_error(error) from None
        self._thread = threading.Thread(target=self._call_back, name="kafka", daemon=True)
        self._thread.start()

    @property
    def silent_s(self) -> float:
        """Seconds since Kafka has stored a record, or since there is one to be stored; 0 if there is none."""
        return time.monotonic() - self._progress_s if self.stats.undelivered else 0.0

    async def run(self) -> None:
        """Wait until records cannot be written any more: ProducerError."""
        await asyncio.shield(self._failure)

    def write(
        self, partition: int, key: bytes, value: bytes, headers: Mapping[str, bytes], on_stored: OnStored
    ) -> bool:
        """Have the client write a record, and call on_stored on the event loop when Kafka has stored it.

        returns  whether the client had room for it
        raises   ProducerError if it cannot be written
        """
        told = partial(self._told, time.monotonic(), len(value), on_stored)
        try:
            self._producer.produce(self._topic, value, key, partition, on_delivery=told, headers=dict(headers))
        except BufferError:
            return False
        except KafkaException as error:
            raise ProducerError(self._unwritable(describe_error(error))) from None
        if not self.stats.undelivered:
            self._progress_s = time.monotonic()
        self.stats.undelivered += 1
        return True

    def close(self) -> None:
        """Drop what is not stored, and release the connections."""
        self._closing = True
        self._thread.join()
        self._producer.purge()
        self._producer.flush(CALLBACK_WAIT_S)
        if self._failure.done():
            self._failure.exception()
        else:
            self._failure.cancel()

    def _call_back(self) -> None:
        """The thread: serves the callbacks of the client, below, as they come."""
        while not self._closing:
            self._producer.poll(CALLBACK_WAIT_S)

    def _told(self, begun_s: float, size: int, on_stored: OnStored, error: KafkaError | None, _: Message) -> None:
        """Runs in the thread."""
        if not self._closing:
            self._loop.call_soon_threadsafe(self._stored, time.monotonic() - begun_s, size, on_stored, error)

    def _reported(self, error: KafkaError) -> None:
        """Runs in the thread."""
        if not self._closing:
            self._loop.call_soon_threadsafe(self._trouble, error)

    def _counted(self, statistics: str) -> None:
        """Runs in the thread."""
        brokers = json.loads(statistics)["brokers"].values()
        connected = any(each["state"] == "UP" for each in brokers)
        if not self._closing and connected != self.stats.connected:
            self._loop.call_soon_threadsafe(self._note, connected)

    def _stored(self, took_s: float, size: int, on_stored: OnStored, error: KafkaError | None) -> None:
        if error is not None:
            self._fail(describe_error(error))
            return
        self._progress_s = time.monotonic()
        self.stats.undelivered -= 1
        self.stats.records_total += 1
        self.stats.bytes_total += size
        self._on_latency(took_s)
        on_stored()

    def _trouble(self, error: KafkaError) -> None:
        if error.fatal():
            self._fail(describe_error(error))
        elif error.code() != KafkaError._ALL_BROKERS_DOWN or self.stats.last_error is None:
            self.stats.last_error = describe_error(error)

    def _note(self, connected: bool) -> None:
        if connected == self.stats.connected:
            return
        self.stats.connected = connected
        if connected:
            self.stats.last_error = None
            text, level = f"connected to Kafka at {self._brokers}", logging.INFO
        else:
            text, level = (
                f"lost Kafka at {self._brokers}: {self.stats.last_error or 'no broker is connected'}",
                logging.WARNING,
            )
        if self._repeats.is_news(text, time.monotonic()):
            LOG.log(level, "%s", text)

    def _fail(self, reason: str) -> None:
        if not self._failure.done():
            self._failure.set_exception(ProducerError(self._unwritable(reason)))

    def _unwritable(self, reason: str) -> str:
        return f"cannot write to topic {self._topic} at {self._brokers}: {reason}"
