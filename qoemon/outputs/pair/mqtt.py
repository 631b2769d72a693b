"""The topic of the lease on the broker: a connection of its own, so that no backlog of reports delays a record."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import aiomqtt
import msgspec

from qoemon.common.backoff import Repeats
from qoemon.net.mqtt.bulk_reader import RETAIN
from qoemon.net.mqtt.client import Broker, new_client
from qoemon.net.mqtt.connection import Connection, raise_if_cancelled
from qoemon.net.mqtt.errors import MqttConnectionError, describe_error
from qoemon.outputs.pair.lease import VERSION, Lease, Record
from qoemon.outputs.pair.standing import UNREADABLE

LOG = logging.getLogger("qoemon.outputs.pair")

RETRY_S = 1.0
"""Longest pause before the next attempt to connect: a holder has to be back before its lease ends."""

POLL_S = 0.05


class _Versioned(msgspec.Struct):
    """What every version of a record has."""

    version: int


class LeaseTopic:
    """Carries records between the lease and the topic, and reconnects until cancelled.

    broker     of the reports
    client_id  of this connection
    changed    called when the connection begins or ends
    clock      steady, seconds
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        topic: str,
        lease: Lease,
        changed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        keepalive_s = min(broker.keepalive_s, max(int(lease.length_s), 1))
        self._broker = replace(broker, client_id=client_id, session_expiry_s=0, keepalive_s=keepalive_s)
        self._topic, self._lease, self._changed, self._clock = topic, lease, changed, clock
        self._outgoing: list[Record] = []
        self._failures, self._ignored, self._unknowns = Repeats(), Repeats(), Repeats()
        self.connected = False
        """Whether the connection is subscribed."""
        self._doubtful = False
        """Whether our last record did not come back, and no other one has arrived since."""
        self.error: str | None = None
        """Why the last connection ended, until records arrive again."""

    @property
    def online(self) -> bool:
        """Whether records reach the topic and come from there, as far as we know.

        A broker whose access rules forbid us to publish lets us connect again and again. If that counted, each
        daemon would leave it to the other one to send.
        """
        return self.connected and not self._doubtful

    def publish(self, record: Record) -> None:
        """Publish a record, without waiting."""
        self._outgoing.append(record)

    async def run(self) -> NoReturn:
        """Keep a connection until cancelled."""
        while True:
            try:
                await self._connect()
            except (aiomqtt.MqttError, OSError, UnicodeError) as error:  # UnicodeError: no possible host.
                raise_if_cancelled()
                self.error = describe_error(error) + (self._doubt() if self._doubtful else "")
                if self._failures.is_news(self.error, time.monotonic()):
                    LOG.warning("%s: no lease while not connected: %s", self._broker, self.error)
                self._broker = self._broker.next_address()
            await asyncio.sleep(random.uniform(RETRY_S / 4, RETRY_S))

    async def _connect(self) -> NoReturn:
        client = await new_client(self._broker)
        connection = Connection(client, self._arrived, properties=self._broker.version == "5")
        try:
            await connection.unless_lost(client.__aenter__())
            self._lease.connected(self._clock())  # Before the retained record arrives.
            await self._subscribe(client, connection)
            self._outgoing.clear()
            self.connected = True
            if not self._doubtful:
                self.error = None
            self._changed()
            await connection.unless_lost(self._carry(client))
        finally:
            if self.connected:
                self.connected = False
                self._doubtful |= self._lease.unreturned
                self._changed()
            connection.close()
        raise AssertionError("the connection ends by an error")

    async def _subscribe(self, client: aiomqtt.Client, connection: Connection) -> None:
        answer = await connection.unless_lost(client.subscribe(self._topic, 0))
        codes = [code if isinstance(code, int) else code.value for code in answer]
        if any(code >= 0x80 for code in codes):
            raise MqttConnectionError(
                f"the broker refuses to subscribe us to {self._topic}: check its access rules"
            )

    async def _carry(self, client: aiomqtt.Client) -> NoReturn:
        """Publish what is to be published, as long as it comes back."""
        while True:
            while self._outgoing:
                body, answer_s = msgspec.json.encode(self._outgoing.pop(0)), self._lease.length_s / 2
                await client.publish(self._topic, body, 1, retain=True, timeout=answer_s)
                raise_if_cancelled()
            await asyncio.sleep(POLL_S)
            if self._lease.stalled(self._clock()):
                raise MqttConnectionError("a record is overdue")

    def _arrived(self, flags: int, _topic: bytes, _mid: int, payload: bytes) -> None:
        if not payload:  # It only clears the retained record.
            return
        try:
            version = msgspec.json.decode(payload, type=_Versioned).version
            if version > VERSION:
                self._unknown(version)
                return
            record = msgspec.json.decode(payload, type=Record)
        except UNREADABLE as error:
            self._ignore(error)
            return
        self._lease.observe(record, self._clock(), retained=bool(flags & RETAIN))
        if self._doubtful and not flags & RETAIN:
            self._doubtful, self.error = False, None
            self._changed()

    def _doubt(self) -> str:
        return (
            f"; what we published to {self._topic} did not come back: if that repeats, check the broker's access "
            "rules, and that it supports retained messages"
        )

    def _ignore(self, error: Exception) -> None:
        text = (
            f"{self._topic}: ignored what is no record of a lease ({error}): by the broker's access rules, let "
            "only the two daemons publish there"
        )
        if self._ignored.is_news(text, time.monotonic()):
            LOG.warning("%s", text)

    def _unknown(self, version: int) -> None:
        self._lease.observe_unknown(self._clock())
        text = (
            f"{self._topic}: a later version of qoemon has the lease (record of version {version}, this one knows "
            f"{VERSION}): standing by until it has been silent for {self._lease.length_s:g} s; upgrade this daemon"
        )
        if self._unknowns.is_news(text, time.monotonic()):
            LOG.warning("%s", text)
