"""Records messages from the broker, and requests to a collector of its own, until cancelled.

The recorder is an MQTT client beside the daemon. Its session ends with its connection, so that the broker does not
queue messages for a recorder that has gone. MQTT 3.1.1 has no such sessions; there it subscribes with QoS 0, for
which brokers queue nothing.

Requests over HTTP have one receiver, so the recorder listens on a port of its own. They are answered with 204 when
they are written and flushed: after a crash of the recorder, whoever has an answer is in the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from qoemon.common.address import address_text
from qoemon.common.signals import cancelled_by_signals
from qoemon.core.wire.message import Kind
from qoemon.inputs.http.collector import Collector
from qoemon.inputs.http.options import CollectorOptions
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.net.mqtt.client import Broker
from qoemon.tools.recordings.recording import Header, Writer

POLL_S = 0.2
"""Interval at which received messages are written."""

FLUSH_S = 1.0
"""Interval at which the file is flushed to the operating system; a crash loses at most this much."""


class RecordError(Exception):
    """Nothing could be recorded; the message says why."""


class Recorded(NamedTuple):
    """Progress of a recording.

    size    of the file, bytes
    lost    messages dropped by a full inbox
    missed  commits of a daemon that were gone before they could be read
    """

    duration_s: float
    messages: int
    written: int
    size: int
    lost: int
    trouble: str | None
    missed: int = 0


def recorder_options(broker: Broker) -> Broker:
    """The daemon's broker options, changed for a recorder: client id, no persistent session, QoS 0 with 3.1.1."""
    options = replace(broker, client_id=f"{broker.client_id}-record", session_expiry_s=0)
    return options if broker.version == "5" else replace(options, qos=0)


@dataclass
class _Recorder:
    """Moves messages from the inbox to the file."""

    inbox: Inbox
    consumer: MqttConsumer | None
    collector: Collector | None
    writer: Writer
    began_s: float
    messages: int = 0
    flushed_s: float = 0.0

    async def write_pending(self) -> None:
        """Write the received messages, then acknowledge them; requests after a flush."""
        messages = self.inbox.drain()
        await asyncio.to_thread(self.writer.write, messages)
        posted = any(message.kind is not Kind.MQTT for message in messages)
        if posted or time.monotonic() - self.flushed_s >= FLUSH_S:
            await asyncio.to_thread(self.writer.flush)
            self.flushed_s = time.monotonic()
        self.inbox.release(messages)
        for source in self.sources:
            source.ack(messages)
        self.messages += len(messages)

    async def end(self) -> None:
        """Accept no more requests, and answer those that have come."""
        if self.collector is not None:
            self.collector.leave()
            await self.write_pending()

    @property
    def sources(self) -> list[MqttConsumer | Collector]:
        """Where messages come from."""
        return [source for source in (self.consumer, self.collector) if source is not None]

    def progress(self) -> Recorded:
        """Progress so far."""
        return Recorded(
            duration_s=time.monotonic() - self.began_s,
            messages=self.messages,
            written=self.writer.written,
            size=self.writer.size,
            lost=self.inbox.dropped,
            trouble=None if self.consumer is None else self.consumer.stats.last_error,
        )


async def record(
    broker: Broker | None,
    collector: CollectorOptions | None,
    path: Path,
    inbox: Inbox,
    *,
    for_s: float | None,
    on_progress: Callable[[Recorded], None],
) -> Recorded:
    """Record until for_s has passed or a signal arrives.

    broker, collector  where to receive; None for not there
    raises             UnreadableError if the file cannot be created, RecordingError if it cannot be written,
                       RecordError if nothing could be received, ConfigError for the web configuration file
    """
    consumer = None if broker is None else MqttConsumer(recorder_options(broker), inbox)
    listening = None if collector is None else await _listening(collector, inbox)
    with Writer(path, Header(started_s=time.time(), source=_source(broker, collector, listening))) as writer:
        recorder = _Recorder(inbox, consumer, listening, writer, time.monotonic())
        with cancelled_by_signals(), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s), asyncio.TaskGroup() as parts:
                receiving = [
                    parts.create_task(each.run(), name="qoemon.record.ingest") for each in recorder.sources
                ]
                try:
                    await _record(recorder, on_progress)
                finally:
                    await recorder.end()
                    for each in receiving:
                        each.cancel()
        await recorder.write_pending()
        writer.silence(time.time())
        writer.flush()
        done = recorder.progress()
    unheard = consumer is not None and (consumer.stats.connects_total == 0 or done.trouble is not None)
    if broker is not None and unheard and done.messages == 0:
        path.unlink()  # the next attempt may then use the name
        raise RecordError(
            f"{path}: nothing was recorded: {done.trouble or f'no answer from {broker.addresses} yet'}"
        )
    return done


async def _listening(options: CollectorOptions, inbox: Inbox) -> Collector:
    """A collector that has its port; RecordError if it cannot have it."""
    collector = Collector(options, inbox)
    try:
        await collector.listen()
    except OSError as error:
        raise RecordError(f"{error}; the daemon has a port of its own, so give another one by --listen") from None
    return collector


def _source(broker: Broker | None, options: CollectorOptions | None, collector: Collector | None) -> str:
    """Where the messages come from, for the header."""
    http = [] if options is None or collector is None else [f"http {address_text(options.host, collector.port)}"]
    return ", ".join([*([] if broker is None else [broker.addresses]), *http])


async def _record(recorder: _Recorder, on_progress: Callable[[Recorded], None]) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        write = asyncio.create_task(recorder.write_pending(), name="qoemon.record.write")
        try:
            # A cancellation must not separate draining and writing.
            await asyncio.shield(write)
        except asyncio.CancelledError:
            await write
            raise
        on_progress(recorder.progress())
