"""Keeps a connection to the MQTT broker and puts the messages into the inbox, as bytes.

A QoS 1 message is acknowledged with `MqttConsumer.ack`, after its reports are counted and committed. Until then the
broker keeps it, and delivers it again on the next connection. This requires a persistent session (fixed client id,
no clean start, an expiry longer than any outage), which every connection requests.

When the inbox is full, QoS 1 messages are held back: neither stored nor acknowledged. From the first one on, the
connection stores no further QoS 1 message: if a later report overtook an earlier one, the earlier one would look
like a duplicate. Brokers send again only after a reconnect, so the consumer reconnects once all that it stored is
acknowledged. The reader never waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.common import duration
from qoemon.common.backoff import Repeats, backoff_s
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.session_memory import SAVE_S, BrokerSession, Fate, SessionMemory, fate
from qoemon.inputs.stats import MqttStats
from qoemon.net.mqtt.bulk_reader import DUP, QOS, RETAIN
from qoemon.net.mqtt.client import Broker, new_client
from qoemon.net.mqtt.connection import Connection, raise_if_cancelled
from qoemon.net.mqtt.errors import (
    MqttConnectionError,
    describe_error,
    ended_without_reason,
    hung_up_at_subscribe,
    hung_up_at_unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

LOG = logging.getLogger("qoemon.inputs.mqtt")

STEADY_S = 30.0
"""After a connection that lasted this long, the next pause is the shortest again."""


REFUSED = 0x80
"""SUBACK and UNSUBACK codes from here on are refusals; lower ones of a SUBACK are the granted QoS."""


MAX_FILTERS = 8
"""Topic filters in one SUBSCRIBE or UNSUBSCRIBE: some cloud brokers close the connection at more."""


MAX_TOPIC = 4096
"""Characters."""


class MqttConsumer:
    """Receives messages over one connection to the broker, and reconnects when it ends.

    The reader of the inbox passes each batch to `ack` once it is committed, QoS 0 messages included. Runs on one
    event loop.

    inbox   where messages are stored
    clock   seconds since the epoch
    memory  what is known of our sessions at brokers; by default, nothing that was before this process
    forget  whether the broker discards our stored session before the first connection
    """

    def __init__(
        self,
        broker: Broker,
        inbox: Inbox,
        clock: Callable[[], float] = time.time,
        *,
        memory: SessionMemory | None = None,
        forget: bool = False,
    ) -> None:
        self.broker = broker
        """At the address of the present connection, or of the next one."""
        self._memory = SessionMemory() if memory is None else memory
        self._forget = forget
        self.stats = MqttStats()
        self._inbox = inbox
        self._clock = clock
        self._connection: Connection | None = None
        self._connections = 0
        """How many there were: the number of the present one."""
        self._connected_s: float | None = None
        """When this connection was made, by the monotonic clock; None before."""
        self._unacknowledged = 0
        """QoS 1 messages of this connection that are stored and not acknowledged yet."""
        self._in_flight: set[int] = set()
        """Packet identifiers of QoS 1 messages first sent on this connection and not acknowledged yet."""
        self._overrun = False
        """Whether it was logged that the broker sends more than receive_maximum."""
        self._session_at: str | None = None
        """The address where we last had a session that is to be kept."""
        self._holding_back = False
        self._resuming = False
        """Whether we ended the connection ourselves, to receive again what was held back on it."""
        self._leaving = False
        self._failures = 0
        """Connections in a row that failed or did not last STEADY_S."""
        self._info, self._warning = logging.INFO, logging.WARNING
        """Levels of the log lines of this connection."""
        self._repeats = defaultdict[str, Repeats](Repeats)
        """By address, and of the inbox."""
        self._repeated_refusals = Repeats()

    async def run(self) -> NoReturn:
        """Receive until cancelled; reconnect whenever the connection ends."""
        try:
            while True:
                try:
                    await self._receive()
                except (aiomqtt.MqttError, OSError, UnicodeError) as error:  # UnicodeError: no possible host.
                    raise_if_cancelled()
                    pause_s = self._ended(error)
                await asyncio.sleep(pause_s)
        finally:
            self._memory.save()

    def ack(self, messages: Sequence[Message]) -> None:
        """Acknowledge the QoS 1 messages among these, in their order: the broker may discard them.

        Those of an earlier connection are counted and skipped: the broker delivers them again.
        """
        at_qos_1 = [message for message in messages if message.qos]
        mids = [each.mid for each in at_qos_1 if self._connection and each.connection == self._connections]
        self.stats.stale_acks_total += len(at_qos_1) - len(mids)
        if self._connection is not None and mids:
            self._connection.ack(mids)
            self._in_flight.difference_update(mids)
            self.stats.acks_total += len(mids)
            self._unacknowledged -= len(mids)
        if self._holding_back and self._unacknowledged == 0 and not (self._resuming or self._leaving):
            self._resume()

    def leave(self) -> None:
        """Store no more messages, but continue to acknowledge. The next process receives what arrives now."""
        self._leaving = True

    async def _receive(self) -> NoReturn:
        """Connect, and receive until the connection ends.

        raises   MqttError, OSError or UnicodeError: the reason
        """
        self._connected_s = None
        client = await new_client(self.broker, forget=self._forget)
        connection = self._begin(client)
        try:
            # Not `async with`: its exit waits up to ANSWER_S for a broker that may be gone, then raises an error
            # that hides a cancellation.
            await connection.unless_lost(client.__aenter__())
            self._connected(kept=connection.session_present, expiry_s=connection.session_expiry_s)
            await self._subscribe_to_all(client, connection)
            while True:
                await self._remember()
                await connection.unless_lost(asyncio.sleep(SAVE_S))
        finally:
            if self.stats.connected:
                self._note_time()
            self._connection = None
            self.stats.connected = self.stats.subscribed = False
            connection.close()

    async def _subscribe_to_all(self, client: aiomqtt.Client, connection: Connection) -> None:
        """Subscribe to every filter, and again to those that the broker refuses: its reason may pass."""
        await self._remember(filters=tuple(dict.fromkeys((*self._session.filters, *self.broker.filters))))
        grants = await self._subscribe(client, connection, self.broker.filters)
        self._memory.update(replace(self._session, connected_s=self._clock()))
        # Afterwards, so that no message is missed that both an old filter and a new one match.
        await self._unsubscribe_from_others(client, connection)
        refusals = 0
        self._session_at = str(self.broker)
        while refused := self._subscribed(grants):
            refusals += 1
            pause_s = backoff_s(refusals, self.broker.reconnect_min_s, self.broker.reconnect_max_s)
            if self._repeated_refusals.is_news(str(self.stats.last_error), time.monotonic()):
                LOG.error("%s; next attempt in %.1f s", self.stats.last_error, pause_s)
            await self._remember()
            await connection.unless_lost(asyncio.sleep(pause_s))
            grants = await self._subscribe(client, connection, refused)

    async def _subscribe(
        self, client: aiomqtt.Client, connection: Connection, filters: Sequence[str]
    ) -> dict[str, int]:
        """Subscribe to the filters; returns what the broker granted for each: a QoS, or a refusal."""
        grants = dict[str, int]()
        for first in range(0, len(filters), MAX_FILTERS):
            part, subacks = filters[first : first + MAX_FILTERS], connection.subacks
            try:
                request = client.subscribe([(one, int(self.broker.qos)) for one in part])
                answer = await connection.unless_lost(request)
            except aiomqtt.MqttError as error:
                # The SUBACK and the end may have come in one read.
                if connection.subacks == subacks and ended_without_reason(error):
                    raise MqttConnectionError(hung_up_at_subscribe(part)) from error
                raise
            if len(answer) != len(part):
                raise MqttConnectionError(
                    f"the broker answers {len(answer)} subscriptions of {len(part)}: it does not conform to MQTT"
                )
            grants.update(zip(part, map(granted_qos, answer), strict=True))
        return grants

    async def _unsubscribe_from_others(self, client: aiomqtt.Client, connection: Connection) -> None:
        """Unsubscribe from the filters of our session that the configuration no longer has."""
        others = [each for each in self._session.filters if each not in self.broker.filters]
        for first in range(0, len(others), MAX_FILTERS):
            part = others[first : first + MAX_FILTERS]
            refused = await self._unsubscribe(client, connection, part)
            if gone := [each for each in part if each not in refused]:
                await self._remember(filters=tuple(each for each in self._session.filters if each not in gone))
                LOG.info("unsubscribed from %s, of an earlier configuration", ", ".join(gone))
            if refused:
                LOG.warning(
                    "%s refuses to unsubscribe us from %s, of an earlier configuration: their messages still "
                    "arrive; check the broker's access rules, or set another client_id",
                    self.broker,
                    ", ".join(refused),
                )

    async def _unsubscribe(
        self, client: aiomqtt.Client, connection: Connection, filters: Sequence[str]
    ) -> list[str]:
        """Unsubscribe from at most MAX_FILTERS filters; returns those for which the broker refuses it."""
        connection.unsuback = None
        try:
            await connection.unless_lost(client.unsubscribe(list(filters)))
        except aiomqtt.MqttError as error:
            if connection.unsuback is None and ended_without_reason(error):
                raise MqttConnectionError(hung_up_at_unsubscribe(filters)) from error
            raise
        # With MQTT 3.1.1 there are no codes, and nothing can be refused.
        codes: Sequence[ReasonCode] = connection.unsuback or ()
        return [name for name, code in zip(filters, codes, strict=False) if granted_qos(code) >= REFUSED]

    @property
    def _session(self) -> BrokerSession:
        """What is known of our session at the broker."""
        return self._memory.session(str(self.broker), self.broker.client_id)

    def _note_time(self) -> None:
        """Remember that we are connected now. A session without subscriptions has nothing to lose."""
        if self._session.connected_s is not None:
            self._memory.update(replace(self._session, connected_s=self._clock()))

    async def _remember(self, *, filters: tuple[str, ...] | None = None) -> None:
        """Remember the filters of our session, if given, and that we are connected now; store it if that is due."""
        if filters is not None:
            self._memory.update(replace(self._session, filters=filters))
        self._note_time()
        if self._memory.due:
            await asyncio.to_thread(self._memory.save)

    def _begin(self, client: aiomqtt.Client) -> Connection:
        # Before connecting, since messages of a stored session may arrive before we have subscribed.
        connection = Connection(client, self._arrived, properties=self.broker.version == "5")
        self._connection = connection
        self._connections += 1
        self._unacknowledged = 0
        self._in_flight = set()
        self._holding_back = False
        # Under overload this happens again and again, so it is logged for debugging only.
        self._info, self._warning = (
            (logging.DEBUG, logging.DEBUG) if self._resuming else (logging.INFO, logging.WARNING)
        )
        self._resuming = False
        return connection

    def _connected(self, *, kept: bool, expiry_s: int | None) -> None:
        """Log and record what the CONNACK tells: whether the session was kept, and a session expiry interval."""
        self._connected_s = time.monotonic()
        broker, session = self.broker, "our stored session" if kept else "a new session"
        LOG.log(
            self._info,
            "connected to %s as client %s, MQTT %s, %s",
            broker,
            broker.client_id,
            broker.version,
            session,
        )
        self._note_fate(kept=kept, expiry_s=expiry_s)
        self._session_at = str(broker) if kept else None  # A new one has nothing to lose before we have subscribed.
        self._forget = False
        self.stats.connected = True
        self.stats.connects_total += 1
        self.stats.granted_qos = None
        if broker.version == "5":
            self._session_expires(broker.session_expiry_s if expiry_s is None else expiry_s)

    def _note_fate(self, *, kept: bool, expiry_s: int | None) -> None:
        """Log and record what has become of our session since the last connection, and what there is now."""
        broker, before, now_s = self.broker, self._session, self._clock()
        at_5 = broker.version == "5"
        if self._forget and at_5:  # Discarded by our CONNECT.
            before = BrokerSession(before.broker, before.client_id)
        self._log_fate(fate(before, now_s, kept=kept, running=self.stats.connects_total > 0), before)
        granted_s = broker.session_expiry_s if expiry_s is None else expiry_s
        self._memory.update(
            replace(
                before,
                # An address may be a new name of a known broker, or of its cluster: to unsubscribe does no harm.
                filters=(before.filters or self._memory.filters(broker.client_id)) if kept else (),
                expiry_s=granted_s if at_5 else None,
                connected_s=now_s if kept else None,  # A new session has nothing to lose before we have subscribed.
            )
        )

    def _log_fate(self, became: Fate, before: BrokerSession) -> None:
        match became:
            case Fate.UNKNOWN:
                self._log_unknown_filters()
            case Fate.NEW if self._session_at not in {None, str(self.broker)}:
                self.stats.sessions_lost_total += 1
                LOG.warning(
                    "%s does not have our session of %s: messages queued there are delivered only if we connect to "
                    "it again; let the brokers share sessions, as those of a cluster do",
                    self.broker,
                    self._session_at,
                )
            case Fate.EXPIRED:
                LOG.info(
                    "%s no longer has our session, which it kept for %s after a disconnect: messages since %s are "
                    "lost, unless clients send them again; raise session_expiry for longer outages",
                    self.broker,
                    duration.text(before.expiry_s or 0),
                    utc(before.connected_s),
                )
            case Fate.LOST:
                self.stats.sessions_lost_total += 1
                LOG.warning(
                    "%s has forgotten our session: messages since %s are lost, unless clients send them again; let "
                    "the broker keep sessions longer, and on disk",
                    self.broker,
                    utc(before.connected_s),
                )

    def _log_unknown_filters(self) -> None:
        # Not a warning: without state this is so at every start, and mostly harmless.
        LOG.info(
            "%s has a session of client_id %s whose topic filters are not known here: if mqtt.topics has changed, "
            "messages of the old topics still arrive, and those that old and new ones match count twice; in that "
            "case set another client_id, or delete the session at the broker%s",
            self.broker,
            self.broker.client_id,
            "" if self._memory.survives else "; with state.dir, qoemon unsubscribes from old topics itself",
        )

    def _session_expires(self, granted_s: int) -> None:
        """Record how long the broker keeps our session; log if that is shorter than requested."""
        self.stats.session_expiry_s = granted_s
        if granted_s < self.broker.session_expiry_s:
            LOG.log(
                self._warning,
                "%s keeps our session for only %s after a disconnect, requested %s: messages of a longer outage "
                "are lost; raise the broker's limit, or lower session_expiry",
                self.broker,
                duration.text(granted_s),
                duration.text(self.broker.session_expiry_s),
            )

    def _subscribed(self, grants: Mapping[str, int]) -> list[str]:
        """Log and record what the broker granted for each filter: a QoS, or a refusal.

        returns  the refused filters
        """
        refused = [name for name, grant in grants.items() if grant >= REFUSED]
        lower = [name for name, grant in grants.items() if grant < self.broker.qos]
        self.stats.subscribed = not refused
        self.stats.last_error = refusal(self.broker, refused) if refused else None
        if granted := {name: grant for name, grant in grants.items() if grant < REFUSED}:
            before = REFUSED if self.stats.granted_qos is None else self.stats.granted_qos
            self.stats.granted_qos = min(before, *granted.values())
            texts = (f"{name} (QoS {grant})" for name, grant in granted.items())
            LOG.log(self._info, "subscribed to %s", ", ".join(texts))
        if lower:
            LOG.log(
                self._warning,
                "%s grants only QoS 0 for %s, requested 1: messages can be lost; raise the broker's maximum QoS",
                self.broker,
                ", ".join(lower),
            )
        return refused

    def _ended(self, error: Exception) -> float:
        """Record why the connection ended or was not made; returns the pause before the next one, s."""
        if self._connected_s is None:
            self.stats.connect_failures_total += 1
            return self._failed(f"cannot connect to {self.broker}", describe_error(error), lived_s=0.0)
        self.stats.disconnects_total += 1
        lived_s = time.monotonic() - self._connected_s
        if self._resuming:
            # At least the shortest pause after the last attempt, also when the inbox is too small for the load.
            return max(0.0, self.broker.reconnect_min_s - lived_s)
        lost = f"lost the connection to {self.broker} after {lived_s:.0f} s"
        return self._failed(lost, describe_error(error), lived_s)

    def _failed(self, event: str, reason: str, lived_s: float) -> float:
        """Log the failure; returns the pause before the next attempt, s."""
        self.stats.last_error = f"{event}: {reason}"
        repeats = self._repeats[str(self.broker)]
        self.broker = self.broker.next_address()
        self._failures = 0 if lived_s >= STEADY_S else self._failures + 1
        pause_s = backoff_s(self._failures, self.broker.reconnect_min_s, self.broker.reconnect_max_s)
        if repeats.is_news(f"{event}: {reason}", time.monotonic()):
            where = f", at {self.broker}" if self.broker.others else ""
            LOG.warning("%s: %s; next attempt in %.1f s%s", event, reason, pause_s, where)
        return pause_s

    def _arrived(self, flags: int, name: bytes, mid: int, payload: bytes) -> None:
        """Take a message from the reader. Runs once per message, so it does as little as possible."""
        stats, arrival_s = self.stats, self._clock()
        stats.messages_total += 1
        stats.message_bytes_total += len(payload)
        topic = self._topic(flags, name)
        if topic is None:
            self._ignore(flags, mid)
            return
        qos = 1 if flags & QOS else 0
        if qos and not flags & DUP:  # Some brokers deliver a message again on the same connection.
            self._check_identifier(mid)
        stats.last_message_s = arrival_s
        self._store(Message(topic, payload, arrival_s, qos, mid, self._connections))

    def _ignore(self, flags: int, mid: int) -> None:
        """Acknowledge the message at once, or the broker would deliver it on every connection."""
        if flags & QOS and self._connection is not None:
            self._connection.ack([mid])

    def _check_identifier(self, mid: int) -> None:
        """Check that an acknowledgement is not ambiguous; log when the broker sends more than receive_maximum.

        raises   MqttConnectionError if the identifier is in use
        """
        if mid in self._in_flight:
            raise MqttConnectionError(
                f"the broker reuses packet identifier {mid} before it was acknowledged: it does not conform to MQTT"
            )
        self._in_flight.add(mid)
        most = self.broker.receive_maximum
        # Accepted all the same: mosquitto does it too, and the inbox is bounded.
        if self.broker.version == "5" and len(self._in_flight) == most + 1 and not self._overrun:
            self._overrun = True
            LOG.warning("%s sends more than receive_maximum %d messages without acknowledgement", self.broker, most)

    def _topic(self, flags: int, name: bytes) -> str | None:
        """The message's topic; None if the message is to be ignored, which is counted."""
        if flags & RETAIN:  # Set only on messages that the broker had stored when we subscribed: outdated.
            self.stats.retained_ignored_total += 1
            return None
        try:
            topic = name.decode()
        except UnicodeDecodeError:
            topic = ""
        if 0 < len(topic) <= MAX_TOPIC:
            return topic
        self.stats.bad_topics_total += 1
        return None

    def _store(self, message: Message) -> None:
        if self._leaving:
            return
        if self._holding_back and message.qos > 0:
            self._inbox.reject(message.qos)
        elif self._inbox.put(message):
            self._unacknowledged += message.qos > 0
        elif message.qos > 0:
            self._hold_back()

    def _hold_back(self) -> None:
        self._holding_back = True
        if self._repeats["inbox"].is_news("full", time.monotonic()):
            LOG.warning(
                "the inbox is full (%d messages, %d bytes): messages wait at the broker until there is room",
                self._inbox.messages,
                self._inbox.bytes,
            )

    def _resume(self) -> None:
        """End the connection, so that the broker delivers on the next one what was held back.

        Messages are held back until then: what is read before the end must not overtake them.
        """
        if self._connection is not None:
            self._resuming = True
            self._connection.end_after_acks()


def granted_qos(code: int | ReasonCode) -> int:
    """The broker's answer for one filter: the granted QoS, or REFUSED and more."""
    return code if isinstance(code, int) else int(code.value)


def utc(time_s: float | None) -> str:
    """A time in seconds since the epoch, as text for the log."""
    return "an unknown time" if time_s is None else f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def refusal(broker: Broker, filters: Iterable[str]) -> str:
    """The message for filters that the broker refuses."""
    client = "anonymous clients" if broker.username is None else f"user {broker.username}"
    return (
        f"{broker} refuses the subscription to {', '.join(filters)}: allow {client} to read it, or wait if the "
        "broker's access control is down"
    )
