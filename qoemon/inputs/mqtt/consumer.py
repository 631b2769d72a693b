"""Keeps one MQTT connection and puts what arrives into the inbox, as bytes.

A report counts once it is in the Monitor, so that is when it is acknowledged: the broker keeps a QoS 1
message until `Ingest.ack`, and delivers it again on the next connection if that never came. This rests on a
persistent session (fixed client id, no clean start, an expiry longer than any outage), for which every
connection asks.

When the inbox is full, QoS 1 messages are withheld: neither stored nor acknowledged. From the first one on
the connection stores no further QoS 1 message, since a later report that overtakes an earlier one would make
it look like a duplicate. Brokers send again only after a reconnect, so once all that was stored is
acknowledged, we reconnect. The reader never waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NoReturn

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.common.backoff import Repeats, backoff_s
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.stats import MqttStats
from qoemon.net.mqtt.bulk_reader import DUP, QOS, RETAIN
from qoemon.net.mqtt.client import Broker, new_client
from qoemon.net.mqtt.connection import Connection, raise_if_cancelled
from qoemon.net.mqtt.errors import MqttConnectionError, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LOG = logging.getLogger("qoemon.inputs.mqtt")

STEADY_S = 30.0
"""A connection that lived this long was a good one: the next pause starts from the shortest again."""


REFUSED = 0x80
"""SUBACK codes from here on are refusals; below they are the granted QoS."""


MAX_TOPIC = 4096
"""Characters; the inbox bounds the bytes of payloads only."""


class MqttConsumer:
    """One connection to the broker, made again whenever it ends.

    `run` for as long as messages are wanted. Whoever takes messages from the inbox hands each batch to `ack`
    once it is safe, QoS 0 messages included. All of it on one event loop.
    """

    def __init__(
        self, broker: Broker, inbox: Inbox, clock: Callable[[], float] = time.time, *, forget: bool = False
    ) -> None:
        self.broker = broker
        self._forget = forget
        """Whether the broker is to throw away what it keeps for us, before the first connection."""
        self.state = MqttStats()
        self._inbox = inbox
        self._clock = clock
        self._connection: Connection | None = None
        self._connections = 0
        """How many there were: the number of the present one."""
        self._connected_s: float | None = None
        """Since when this connection stands, by the monotonic clock; None before."""
        self._unacknowledged = 0
        """QoS 1 messages stored on this connection and not acknowledged yet."""
        self._in_flight: set[int] = set()
        """Identifiers of QoS 1 messages that came first on this connection and are not acknowledged yet."""
        self._overrun = False
        """The broker has sent more than receive_maximum, and we have said so."""
        self._had_session = False
        """The broker had a session of ours to keep."""
        self._withholding = False
        self._resuming = False
        """We ended the connection ourselves, to be sent what was withheld on it."""
        self._leaving = False
        self._failures = 0
        """Connections in a row that failed or did not last."""
        self._log_level = logging.INFO
        self._repeats = Repeats()

    async def run(self) -> NoReturn:
        """Receive until cancelled, over as many connections as it takes."""
        while True:
            try:
                await self._receive()
            except (aiomqtt.MqttError, OSError, UnicodeError) as error:  # UnicodeError: no possible host.
                raise_if_cancelled()
                pause_s = self._ended(error)
            await asyncio.sleep(pause_s)

    def ack(self, messages: Sequence[Message]) -> None:
        """Acknowledge the QoS 1 messages among these, in their order: the broker may forget them.

        Those of an earlier connection are counted and skipped: the broker delivers them again.
        """
        asked = [message for message in messages if message.qos]
        here = [each.mid for each in asked if self._connection and each.connection == self._connections]
        self.state.stale_acks_total += len(asked) - len(here)
        if self._connection is not None and here:
            self._connection.ack(here)
            self._in_flight.difference_update(here)
            self.state.acks_total += len(here)
            self._unacknowledged -= len(here)
        if self._withholding and self._unacknowledged == 0 and not (self._resuming or self._leaving):
            self._resume()

    def leave(self) -> None:
        """Take no more messages, but go on acknowledging: what comes now is for the next one to have."""
        self._leaving = True

    async def _receive(self) -> NoReturn:
        """One connection, from the attempt to its end.

        raises   MqttError, OSError or UnicodeError that says why it ended
        """
        self._connected_s = None
        client = await new_client(self.broker, forget=self._forget)
        connection = self._begin(client)
        try:
            # Not `async with`: its end waits up to ANSWER_S for a broker that may be gone, then raises what
            # hides that we were cancelled.
            await connection.unless_lost(client.__aenter__())
            self._connected(kept=connection.session_present)
            filters = [(one, int(self.broker.qos)) for one in self.broker.filters]
            # The broker may hang up instead of answering.
            answer = await connection.unless_lost(client.subscribe(filters))
            self._subscribed([granted_qos(code) for code in answer])
            await connection.until_lost()
        finally:
            self._connection = None
            self.state.connected = self.state.subscribed = False
            connection.close()

    def _begin(self, client: aiomqtt.Client) -> Connection:
        # Before connecting, since a stored session's messages may come before we have subscribed.
        connection = Connection(client, self._arrived, properties=self.broker.version == "5")
        self._connection = connection
        self._connections += 1
        self._unacknowledged = 0
        self._in_flight = set()
        self._withholding = False
        # What overload makes us do again and again is not news.
        self._log_level = logging.DEBUG if self._resuming else logging.INFO
        self._resuming = False
        return connection

    def _connected(self, *, kept: bool) -> None:
        self._connected_s = time.monotonic()
        self._forget = False
        self.state.connected = True
        self.state.connects_total += 1
        broker, session = self.broker, "our stored session" if kept else "a new session"
        LOG.log(
            self._log_level,
            "connected to %s as client %s, MQTT %s, %s",
            broker,
            broker.client_id,
            broker.version,
            session,
        )
        if self._had_session and not kept:
            LOG.warning(
                "%s has forgotten our session: messages that waited there for us are lost, unless clients "
                "send them again; keep sessions longer there, and on disk",
                broker,
            )

    def _subscribed(self, grants: Sequence[int]) -> None:
        """Judge what the broker granted for each filter: a QoS, or a refusal."""
        if len(grants) != len(self.broker.filters):
            asked = len(self.broker.filters)
            raise MqttConnectionError(
                f"the broker answers {len(grants)} subscriptions where we asked for {asked}: it is broken"
            )
        self._had_session = True
        granted = list(zip(self.broker.filters, grants, strict=True))
        refused = [name for name, grant in granted if grant >= REFUSED]
        lower = [name for name, grant in granted if grant < self.broker.qos]
        self.state.subscribed = not refused
        self.state.last_error = refusal(self.broker, refused) if refused else None
        granted_texts = [f"{name} (QoS {grant})" for name, grant in granted if grant < REFUSED]
        LOG.log(self._log_level, "subscribed to %s", ", ".join(granted_texts) or "nothing")
        if refused:
            LOG.error("%s", self.state.last_error)
        if lower:
            LOG.warning(
                "%s grants only QoS 0 for %s, asked for 1: messages can be lost; raise the broker's maximum",
                self.broker,
                ", ".join(lower),
            )

    def _ended(self, error: Exception) -> float:
        """Record how the connection ended, or that there was none; returns the pause before the next, s."""
        if self._connected_s is None:
            self.state.connect_failures_total += 1
            return self._failed(f"cannot connect to {self.broker}", describe_error(error), lived_s=0.0)
        self.state.disconnects_total += 1
        lived_s = time.monotonic() - self._connected_s
        if self._resuming:
            # No faster than the shortest pause, also when the inbox is too small for what comes.
            return max(0.0, self.broker.reconnect_min_s - lived_s)
        lost = f"lost the connection to {self.broker} after {lived_s:.0f} s"
        return self._failed(lost, describe_error(error), lived_s)

    def _failed(self, event: str, reason: str, lived_s: float) -> float:
        """Say what failed; returns the pause before the next attempt, s."""
        self.state.last_error = f"{event}: {reason}"
        self._failures = 0 if lived_s >= STEADY_S else self._failures + 1
        pause_s = backoff_s(self._failures, self.broker.reconnect_min_s, self.broker.reconnect_max_s)
        if self._repeats.is_news(f"{event}: {reason}", time.monotonic()):
            LOG.warning("%s: %s; next attempt in %.1f s", event, reason, pause_s)
        return pause_s

    def _arrived(self, flags: int, name: bytes, mid: int, payload: bytes) -> None:
        """The reader's work, once per message, so as little as possible."""
        state, arrival_s = self.state, self._clock()
        state.messages_total += 1
        state.message_bytes_total += len(payload)
        topic = self._topic(flags, name)
        if topic is None:
            self._pass_over(flags, mid)
            return
        qos = 1 if flags & QOS else 0
        if qos and not flags & DUP:  # Some brokers deliver again on the same connection.
            self._check_identifier(mid)
        state.last_message_s = arrival_s
        self._store(Message(topic, payload, arrival_s, qos, mid, self._connections))

    def _pass_over(self, flags: int, mid: int) -> None:
        if flags & QOS and self._connection is not None:
            self._connection.ack([mid])

    def _check_identifier(self, mid: int) -> None:
        """Refuse what would make acknowledgements ambiguous; say when the broker sends more than we allowed.

        raises   MqttConnectionError
        """
        if mid in self._in_flight:
            raise MqttConnectionError(
                f"the broker uses packet identifier {mid} again before we acknowledged it: it is broken"
            )
        self._in_flight.add(mid)
        most = self.broker.receive_maximum
        # Taken all the same: mosquitto does it too, and the inbox is bounded.
        if self.broker.version == "5" and len(self._in_flight) == most + 1 and not self._overrun:
            self._overrun = True
            LOG.warning("%s sends more than receive_maximum %d messages without acknowledgement", self.broker, most)

    def _topic(self, flags: int, name: bytes) -> str | None:
        """The message's topic; None, and counted, if the message is to be ignored."""
        if flags & RETAIN:  # Set only on what the broker had in store when we subscribed: old news.
            self.state.retained_ignored_total += 1
            return None
        try:
            topic = name.decode()
        except UnicodeDecodeError:
            topic = ""
        if 0 < len(topic) <= MAX_TOPIC:
            return topic
        self.state.bad_topics_total += 1
        return None

    def _store(self, message: Message) -> None:
        if self._leaving:
            return
        if self._withholding and message.qos > 0:
            self._inbox.reject(message.qos)
        elif self._inbox.put(message):
            self._unacknowledged += message.qos > 0
        elif message.qos > 0:
            self._withhold()

    def _withhold(self) -> None:
        self._withholding = True
        if self._repeats.is_news("inbox full", time.monotonic()):
            LOG.warning(
                "the inbox is full (%d messages, %d bytes): messages wait at the broker until there is room",
                self._inbox.messages,
                self._inbox.bytes,
            )

    def _resume(self) -> None:
        """End the connection, so that the next one brings what was withheld on this one.

        Until then we go on withholding: what is read before the end must not overtake it.
        """
        if self._connection is not None:
            self._resuming = True
            self._connection.end_after_acks()


def granted_qos(code: int | ReasonCode) -> int:
    """What the broker answers for one filter: a QoS, or 128 and more for a refusal."""
    return code if isinstance(code, int) else int(code.value)


def refusal(broker: Broker, filters: Iterable[str]) -> str:
    """What to say when the broker refuses some of our filters."""
    who = "anonymous clients" if broker.username is None else f"user {broker.username}"
    what = f"{broker} refuses the subscription to {', '.join(filters)}"
    return f"{what}: allow {who} to read that, then restart qoemon"
