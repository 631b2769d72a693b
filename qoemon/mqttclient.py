"""How a client of the broker is made and dropped: aiomqtt around paho, with a session that outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from qoemon.mqtterror import ANSWER_S

if TYPE_CHECKING:
    from pathlib import Path

# paho logs every packet, and each failure that we report in our own words.
PAHO_LOG = logging.getLogger("qoemon.ingest.paho")
PAHO_LOG.setLevel(logging.CRITICAL)


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
