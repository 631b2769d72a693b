"""Keeps what the broker sends in a recording, until told to end.

It is a client of its own, beside the daemon, whose session ends with it: a recorder that was forgotten must not
make the broker pile up messages. MQTT 3.1.1 has no such sessions, so there it subscribes with QoS 0, for which
brokers keep nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from qoemon.common.signals import cancelled_by_signals
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.net.mqtt.client import Broker
from qoemon.tools.recordings.recording import Header, Writer

POLL_S = 0.2
"""How often what has arrived is written."""

FLUSH_S = 1.0
"""How often it is handed to the system: what a crash may lose."""


class RecordError(Exception):
    """Nothing could be recorded; says why."""


class Recorded(NamedTuple):
    """How far a recording has come. size is that of the file, lost what the inbox had no room for."""

    duration_s: float
    messages: int
    written: int
    size: int
    lost: int
    trouble: str | None


def own(broker: Broker) -> Broker:
    """The same broker for a client beside the daemon."""
    apart = replace(broker, client_id=f"{broker.client_id}-record", session_expiry_s=0)
    return apart if broker.version == "5" else replace(apart, qos=0)


@dataclass
class _Taking:
    """Messages from the inbox to the file."""

    inbox: Inbox
    ingest: MqttConsumer
    writer: Writer
    began_s: float
    messages: int = 0
    flushed_s: float = 0.0

    async def look(self) -> None:
        """Write what has arrived; the broker may forget it then."""
        messages = self.inbox.drain()
        await asyncio.to_thread(self.writer.write, messages)
        self.inbox.release(messages)
        self.ingest.ack(messages)
        self.messages += len(messages)
        if time.monotonic() - self.flushed_s >= FLUSH_S:
            await asyncio.to_thread(self.writer.flush)
            self.flushed_s = time.monotonic()

    def told(self) -> Recorded:
        """How far it has come."""
        return Recorded(
            duration_s=time.monotonic() - self.began_s,
            messages=self.messages,
            written=self.writer.written,
            size=self.writer.size,
            lost=self.inbox.dropped,
            trouble=self.ingest.stats.last_error,
        )


async def record(
    broker: Broker,
    path: Path,
    inbox: Inbox,
    *,
    for_s: float | None,
    on_progress: Callable[[Recorded], None],
) -> Recorded:
    """Record until for_s has passed, or a signal comes.

    raises   UnreadableError if the file cannot be made, RecordingError if it cannot be written, RecordError if
             the broker could never be subscribed to
    """
    ingest = MqttConsumer(own(broker), inbox)
    with Writer(path, Header(started_s=time.time(), source=str(broker))) as writer:
        taking = _Taking(inbox, ingest, writer, time.monotonic())
        with cancelled_by_signals(), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s), asyncio.TaskGroup() as parts:
                receiving = parts.create_task(ingest.run(), name="qoemon.record.ingest")
                try:
                    await _take(taking, on_progress)
                finally:
                    receiving.cancel()
        await taking.look()
        writer.silence(time.time())
        writer.flush()
        done = taking.told()
    if ingest.stats.connects_total == 0 or (done.messages == 0 and done.trouble):
        path.unlink()  # so that the next attempt may have the name
        raise RecordError(f"{path}: nothing was recorded: {done.trouble or f'no answer from {broker} yet'}")
    return done


async def _take(taking: _Taking, on_progress: Callable[[Recorded], None]) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        look = asyncio.create_task(taking.look(), name="qoemon.record.look")
        try:
            # Not to be broken off between taking and writing.
            await asyncio.shield(look)
        except asyncio.CancelledError:
            await look
            raise
        on_progress(taking.told())
