"""Keeps one MQTT connection and puts what arrives into the inbox, as bytes.

A report counts once it is in the Monitor, so that is when it is acknowledged: the broker keeps a QoS 1
message until `Ingest.ack`, and delivers it again on the next connection if that never came. This rests on a
persistent session (fixed client id, no clean start, an expiry longer than any outage), for which every
connection asks.

When the inbox is full, QoS 1 messages are withheld: neither stored nor acknowledged. From the first one on
the connection stores no further QoS 1 message, since a later report that overtakes an earlier one would make
it look like a duplicate. Brokers send again only after a reconnect, so once all that was stored is
acknowledged, we reconnect. The reader never waits.

aiomqtt brings paho into asyncio. Its own message queue is passed by: it makes a task per message, and
acknowledges before we have processed. So paho's `on_message` and `ack` are used, through the one private name
in `paho_client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTMessage, error_string
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.inbox import Inbox, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

LOG = logging.getLogger("qoemon.ingest")

# paho logs every packet, and each failure that we report in our own words.
PAHO_LOG = logging.getLogger("qoemon.ingest.paho")
PAHO_LOG.setLevel(logging.CRITICAL)

ANSWER_S = 10.0
"""How long the broker may take to answer a connect or a subscribe."""

STEADY_S = 30.0
"""A connection that lived this long was a good one: the next pause starts from the shortest again."""

REPEAT_S = 60.0
"""The same failure is logged at most once in this time."""

REFUSED = 0x80
"""SUBACK codes from here on are refusals; below they are the granted QoS."""


NO_FILTER = "qoemon/no/such/filter"
"""What nobody subscribed to, to be unsubscribed from."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS 1.2 or later, with the host name checked."""

    ca_file: Path | None
    """Which CAs to trust, PEM; None for the system's."""
    cert_file: Path | None
    """Our certificate, PEM, if the broker asks for one."""
    key_file: Path | None
    """Its key, PEM; None if it is in cert_file."""
    key_password: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Where the reports come from, and how to ask for them."""

    host: str
    port: int
    version: Literal["5", "3.1.1"]
    client_id: str
    """Names our session at the broker: the same after a restart, another one for each instance."""
    username: str | None
    password: str | None = field(repr=False)
    tls: Tls | None
    filters: tuple[str, ...]
    qos: Literal[0, 1]
    keepalive_s: int
    session_expiry_s: int
    """How long the broker keeps our session while we are away; MQTT 5 only, 3.1.1 leaves it to the broker."""
    receive_maximum: int
    """How many unacknowledged QoS 1 messages the broker may have sent; MQTT 5 only."""
    reconnect_min_s: float
    reconnect_max_s: float

    def __post_init__(self) -> None:
        if not self.client_id:
            raise ValueError("client_id is empty, expected a fixed name: the broker's key to our session")
        if not self.filters:
            raise ValueError("filters is empty, expected at least one topic filter to subscribe to")
        if not 0 < self.reconnect_min_s <= self.reconnect_max_s:
            pauses = f"{self.reconnect_min_s} s to {self.reconnect_max_s} s"
            raise ValueError(f"pauses from {pauses}, expected 0 < reconnect_min_s <= reconnect_max_s")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass
class IngestState:
    """How it goes, for whoever exports it. Totals count since the start."""

    connected: bool = False
    subscribed: bool = False
    """The broker granted every filter, if some at a lower QoS than asked."""
    connects_total: int = 0
    connect_failures_total: int = 0
    disconnects_total: int = 0
    messages_total: int = 0
    """All that arrived, also what was ignored or refused."""
    message_bytes_total: int = 0
    """Their payloads."""
    retained_ignored_total: int = 0
    bad_topics_total: int = 0
    """Messages whose topic is not UTF-8: ignored."""
    acks_total: int = 0
    stale_acks_total: int = 0
    """Acknowledgements that came after their connection had ended: those messages are delivered again."""
    last_message_s: float | None = None
    """When the newest message arrived, seconds since the epoch; a retained one does not count."""
    last_error: str | None = None
    """Why we are not receiving, in words; None while all is well."""


class Ingest:
    """One connection to the broker, made again whenever it ends.

    `run` for as long as messages are wanted. Whoever takes messages from the inbox hands each batch to `ack`
    once it is safe, QoS 0 messages included. All of it on one event loop.
    """

    def __init__(self, broker: Broker, inbox: Inbox, clock: Callable[[], float] = time.time) -> None:
        self.broker = broker
        self.state = IngestState()
        self._inbox = inbox
        self._clock = clock
        self._paho: Paho | None = None
        self._connection = 0
        self._connected_s: float | None = None
        """Since when this connection stands, by the monotonic clock; None before."""
        self._unacknowledged = 0
        """QoS 1 messages stored on this connection and not acknowledged yet."""
        self._withholding = False
        self._resuming = False
        """We ended the connection ourselves, to be sent what was withheld on it."""
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
        for message in messages:
            if message.qos == 0:
                continue
            if self._paho is None or message.connection != self._connection:
                self.state.stale_acks_total += 1
                continue
            self._paho.ack(message.mid, message.qos)
            self.state.acks_total += 1
            self._unacknowledged -= 1
        if self._withholding and self._unacknowledged == 0 and not self._resuming:
            self._resume()

    async def _receive(self) -> NoReturn:
        """One connection, from the attempt to its end.

        raises   MqttError, OSError or UnicodeError that says why it ended
        """
        self._connected_s = None
        client = await new_client(self.broker)
        paho = self._begin(client)
        try:
            # Not `async with`: its end waits up to ANSWER_S for a broker that may be gone, then raises what
            # hides that we were cancelled.
            await client.__aenter__()
            raise_if_cancelled()
            self._connected()
            await self._subscribe_and_wait(client)
        finally:
            self._paho = None
            self.state.connected = self.state.subscribed = False
            hang_up(paho)

    def _begin(self, client: aiomqtt.Client) -> Paho:
        # Before connecting, since a stored session's messages may come before we have subscribed.
        paho = self._paho = paho_client(client)
        paho.manual_ack_set(True)
        paho.on_message = self._on_message
        self._connection += 1
        self._unacknowledged = 0
        self._withholding = False
        # What overload makes us do again and again is not news.
        self._log_level = logging.DEBUG if self._resuming else logging.INFO
        self._resuming = False
        return paho

    def _connected(self) -> None:
        self._connected_s = time.monotonic()
        self.state.connected = True
        self.state.connects_total += 1
        broker, level = self.broker, self._log_level
        LOG.log(level, "connected to %s as client %s, MQTT %s", broker, broker.client_id, broker.version)

    async def _subscribe_and_wait(self, client: aiomqtt.Client) -> NoReturn:
        # The broker may hang up instead of answering the subscribe: watch for both.
        lost = asyncio.create_task(until_lost(client), name="qoemon.ingest.lost")
        filters = [(one, int(self.broker.qos)) for one in self.broker.filters]
        subscribing = asyncio.create_task(client.subscribe(filters), name="qoemon.ingest.subscribe")
        try:
            await asyncio.wait({lost, subscribing}, return_when=asyncio.FIRST_COMPLETED)
            if not lost.done():
                self._subscribed([granted_qos(code) for code in subscribing.result()])
            await lost
        finally:
            lost.cancel()
            subscribing.cancel()
            await asyncio.gather(lost, subscribing, return_exceptions=True)
        raise AssertionError("until_lost ended without saying why")

    def _subscribed(self, grants: Sequence[int]) -> None:
        """Judge what the broker granted for each filter: a QoS, or a refusal."""
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
            return self._failed(f"cannot connect to {self.broker}", explain(error), lived_s=0.0)
        self.state.disconnects_total += 1
        lived_s = time.monotonic() - self._connected_s
        if self._resuming:
            # No faster than the shortest pause, also when the inbox is too small for what comes.
            return max(0.0, self.broker.reconnect_min_s - lived_s)
        lost = f"lost the connection to {self.broker} after {lived_s:.0f} s"
        return self._failed(lost, explain(error), lived_s)

    def _failed(self, event: str, reason: str, lived_s: float) -> float:
        """Say what failed; returns the pause before the next attempt, s."""
        self.state.last_error = f"{event}: {reason}"
        self._failures = 0 if lived_s >= STEADY_S else self._failures + 1
        pause_s = backoff_s(self._failures, self.broker.reconnect_min_s, self.broker.reconnect_max_s)
        if self._repeats.is_news(f"{event}: {reason}", time.monotonic()):
            LOG.warning("%s: %s; next attempt in %.1f s", event, reason, pause_s)
        return pause_s

    def _on_message(self, paho: Paho, _userdata: Any, message: MQTTMessage) -> None:
        """The reader's work, once per message, so as little as possible."""
        arrival_s = self._clock()
        self.state.messages_total += 1
        self.state.message_bytes_total += len(message.payload)
        topic = self._topic(message)
        if topic is None:
            paho.ack(message.mid, message.qos)
            return
        self.state.last_message_s = arrival_s
        payload = bytes(message.payload)
        self._store(Message(topic, payload, arrival_s, message.qos, message.mid, self._connection))

    def _topic(self, message: MQTTMessage) -> str | None:
        """The message's topic; None, and counted, if the message is to be ignored."""
        if message.retain:  # Set only on what the broker had in store when we subscribed: old news.
            self.state.retained_ignored_total += 1
            return None
        try:
            return message.topic
        except UnicodeDecodeError:
            self.state.bad_topics_total += 1
            return None

    def _store(self, message: Message) -> None:
        if self._withholding and message.qos > 0:
            self._inbox.refuse(message.qos)
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
        if self._paho is None:
            return
        self._resuming = True
        # Closing a socket with unread data makes the kernel throw away what we sent last: the broker may never
        # see our acknowledgements, and deliver the same batch for ever. So ask for something that is answered
        # only after them, and end the connection then.
        self._paho.on_unsubscribe = lambda paho, *_: paho.disconnect()
        self._paho.unsubscribe(NO_FILTER)


class Repeats:
    """What was logged last, so that a failure that lasts is not logged at every attempt."""

    def __init__(self) -> None:
        self._last = ""
        self._last_s = 0.0

    def is_news(self, text: str, now_s: float) -> bool:
        """Whether the text differs from the last, or that was REPEAT_S ago."""
        if text == self._last and now_s - self._last_s < REPEAT_S:
            return False
        self._last, self._last_s = text, now_s
        return True


def backoff_s(failures: int, shortest_s: float, longest_s: float) -> float:
    """A random pause whose ceiling doubles with each failure in a row, so that clients do not return in step.

    failures     in a row, 0 for none
    returns      s, from shortest_s to longest_s
    """
    ceiling_s = shortest_s * 2.0 ** min(failures, 60)
    return random.uniform(shortest_s, min(ceiling_s, longest_s))


async def new_client(broker: Broker) -> aiomqtt.Client:
    """A client that has not connected yet and will ask for the broker's stored session.

    A new one for each attempt: aiomqtt's own reuse leaves the state of the last attempt behind.
    """
    # Read anew each time, so that renewed certificates are used; and elsewhere, since it reads files.
    context = None if broker.tls is None else await asyncio.to_thread(tls_context, broker.tls)
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=broker.client_id,
        username=broker.username,
        password=broker.password,
        tls_context=context,
        keepalive=broker.keepalive_s,
        timeout=ANSWER_S,
        logger=PAHO_LOG,
        **session_options(broker),
    )
    paho_client(client).connect_timeout = ANSWER_S
    return client


def session_options(broker: Broker) -> dict[str, Any]:
    """How each version of MQTT asks for a session that outlives the connection."""
    if broker.version == "3.1.1":
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_s
    properties.ReceiveMaximum = broker.receive_maximum
    # paho's default would wipe the session on the first connect of each process.
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": False, "properties": properties}


def paho_client(client: aiomqtt.Client) -> Paho:
    """The paho client inside: the one private name that we use of aiomqtt.

    raises   RuntimeError if this aiomqtt does not have it
    """
    paho = getattr(client, "_client", None)
    if not isinstance(paho, Paho):
        raise RuntimeError(
            f"aiomqtt {aiomqtt.__version__} keeps no paho client in Client._client, without which messages "
            "cannot be acknowledged late: install a version of aiomqtt that qoemon's package metadata allows"
        )
    return paho


def raise_if_cancelled() -> None:
    """Make up for Python 3.11's wait_for, which forgets a cancellation that comes together with a result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def hang_up(paho: Paho) -> None:
    """Disconnect at once, whatever state the attempt or the connection is in."""
    paho.on_message = None
    paho.on_socket_open = _come_too_late  # The thread that connects cannot be cancelled, only turned away.
    paho.on_disconnect = None  # aiomqtt's fails if the attempt was cancelled.
    paho.on_socket_register_write = None  # Without it paho writes now, acknowledgements first.
    paho.disconnect()
    unsent = paho.socket()
    if isinstance(unsent, socket.socket):  # The broker reads no more: let aiomqtt's reader find the end.
        with contextlib.suppress(OSError):
            unsent.shutdown(socket.SHUT_RDWR)


def _come_too_late(_paho: Paho, _userdata: Any, _socket: Any) -> NoReturn:
    raise ConnectionAbortedError("connected after the attempt had been given up")


async def until_lost(client: aiomqtt.Client) -> NoReturn:
    """Wait for the end of the connection.

    raises   MqttError with the reason as its cause
    """
    await anext(client.messages)
    raise AssertionError("aiomqtt queued a message, so its on_message was not replaced")


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho only forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What to trust and what to show.

    raises   OSError if a file cannot be read or used
    """
    for file in (tls.ca_file, tls.cert_file, tls.key_file):
        if file is not None:
            file.open("rb").close()  # ssl's own error would not name the file.
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSocket
    if tls.cert_file is not None:
        # Without any password, OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(tls.cert_file, tls.key_file, tls.key_password or "")
    return context


def granted_qos(code: int | ReasonCode) -> int:
    """What the broker answers for one filter: a QoS, or 128 and more for a refusal."""
    return code if isinstance(code, int) else int(code.value)


def refusal(broker: Broker, filters: Iterable[str]) -> str:
    """What to say when the broker refuses some of our filters."""
    who = "anonymous clients" if broker.username is None else f"user {broker.username}"
    what = f"{broker} refuses the subscription to {', '.join(filters)}"
    return f"{what}: allow {who} to read that, then restart qoemon"


def explain(error: BaseException) -> str:
    """Why a connection failed or ended, in words for the person who can do something about it."""
    match error:
        case aiomqtt.MqttCodeError():
            return _explain_code(error.rc)
        case aiomqtt.MqttError():  # aiomqtt wraps what happened, or has nothing to say.
            cause = error.__cause__ or error.__context__
            return "the broker ended the connection" if cause is None else explain(cause)
        case ssl.SSLCertVerificationError():
            return f"TLS: {_explain_certificate(error)} ({error.verify_message})"
        case ssl.SSLError():
            return _explain_tls(error)
        case _:
            return _explain_system(error)


_CODES = {
    0x80: "the connection broke off without a reason: the broker or the network failed, or another client "
    "uses our client_id, which many brokers do not tell",
    0x84: "the broker does not speak this version of MQTT: set version to the other one",
    0x85: "the broker refuses our client_id: choose another",
    0x86: "the broker refuses user name or password: check username and password",
    0x87: "the broker does not authorize us: check username, password and the broker's access rules",
    0x8B: "the broker is shutting down",
    0x8D: "the broker showed no sign of life within the keepalive time",
    0x8E: "another client took over our session: give each client a client_id of its own",
}
"""By MQTT 5 reason code; paho translates those of 3.1.1."""


def _explain_code(code: int | ReasonCode | None) -> str:
    if not isinstance(code, ReasonCode):
        return error_string(code or 0)  # paho's own, about a connection that is gone.
    name = f"{str(code).lower()}, reason code {code.value}"
    return f"{_CODES[code.value]} ({name})" if code.value in _CODES else f"the broker says: {name}"


def _explain_certificate(error: ssl.SSLCertVerificationError) -> str:
    """By OpenSSL's X509_V_ERR numbers."""
    match error.verify_code:
        case 62 | 64:
            return "the broker's certificate is for another host name: check host, or have it issued for this"
        case 10:
            return "the broker's certificate has expired: renew it"
        case 9:
            return "the broker's certificate is not valid yet: check both clocks"
        case 18 | 19 | 20 | 21:
            return "the broker's certificate is not from a CA that we trust: check ca_file"
        case _:
            return "the broker's certificate is not acceptable"


def _explain_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: the other end hung up in the handshake: check that the port speaks TLS"
    if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "TLS: the port answers without TLS: check port, or leave tls out"
    return f"TLS: {error.reason or error}: check ca_file, cert_file, key_file and key_password"


_SYSTEM: dict[type[Exception], str] = {
    socket.gaierror: "no address is known for the host name: check host, and the name server",
    UnicodeError: "the host name is not a possible one: check host",
    ConnectionRefusedError: "connection refused: check host and port, and that the broker runs",
    ConnectionResetError: "the other end cut the connection: check whether the port wants TLS or not",
    TimeoutError: f"no answer within {ANSWER_S:g} s: check host, port, firewalls, and if the port wants TLS",
}


def _explain_system(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot read {error.filename}: {error.strerror}"
    known = (text for kind, text in _SYSTEM.items() if isinstance(error, kind))
    return next(known, str(error) or type(error).__name__)
