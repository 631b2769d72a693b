"""How a client of the broker is made and dropped: aiomqtt around paho, with a session that outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.net.mqtt.errors import ANSWER_S, LinkError, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

T = TypeVar("T")

MAX_PACKET_BYTES = 2**24
"""The largest packet that we take, 16 MiB: far more than reports need, and far less than there is memory."""

# paho logs every packet, and each failure that we report in our own words.
PAHO_LOG = logging.getLogger("qoemon.net.mqtt.paho")
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


async def new_client(broker: Broker, *, forget: bool = False) -> aiomqtt.Client:
    """A client that has not connected yet and will ask for the broker's stored session; with MQTT 5 it can ask that
    what is in there be forgotten.

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
        **session_options(broker, forget=forget),
    )
    paho_client(client).connect_timeout = ANSWER_S
    return client


def session_options(broker: Broker, *, forget: bool = False) -> dict[str, Any]:
    """How each version of MQTT asks for a session that outlives the connection."""
    if broker.version == "3.1.1":
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_s
    properties.ReceiveMaximum = broker.receive_maximum
    # The broker drops what is larger, instead of sending it on each connection anew.
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    # paho's default would wipe the session on the first connect of each process.
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": forget, "properties": properties}


def paho_client(client: aiomqtt.Client) -> Paho:
    """The paho client inside: the one private name that we use of aiomqtt; of paho, Link uses one.

    raises   RuntimeError if these versions do not have them
    """
    paho = getattr(client, "_client", None)
    if isinstance(paho, Paho) and hasattr(paho, "_in_messages"):
        return paho
    raise RuntimeError(
        f"aiomqtt {aiomqtt.__version__} keeps no paho client in Client._client, or one that does not tell what it "
        "reads, so messages cannot be acknowledged late and bounded: install a version of aiomqtt that qoemon's "
        "package metadata allows"
    )


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


class Link:
    """The end of a connection, with its reason, from the first byte on.

    aiomqtt looks for the end only after the CONNACK. And where paho stumbles over what it reads, it stumbles again
    at every byte that follows. So its callbacks and its reading are wrapped here, before the client connects.

    session_present  whether the broker kept our session, by its CONNACK
    """

    _on_connected: Any  # paho's types know its first callback API only.

    def __init__(self, client: aiomqtt.Client) -> None:
        self.session_present = False
        self._lost: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        self._answered = False
        self._paho = paho = paho_client(client)
        self._on_connected = paho.on_connect
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect
        paho.loop_read = self._guarded(paho.loop_read)  # type: ignore[method-assign]
        paho.loop_write = self._guarded(paho.loop_write)  # type: ignore[method-assign]

    async def until_lost(self) -> NoReturn:
        """Wait for the end of the connection; MqttError says why."""
        await asyncio.wait({self._lost})
        raise self._reason()

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns; MqttError if the connection ends before."""
        task = asyncio.create_task(work, name="qoemon.net.mqtt.connection")
        try:
            either: set[asyncio.Future[Any]] = {task, self._lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._reason()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def end(self, error: Exception) -> None:
        """End the connection for this reason, if it has not ended yet."""
        if self._lost.done():
            return
        self._lost.set_exception(error)
        self._lost.exception()  # If we are just being cancelled, nobody else asks for it.
        unread = self._paho.socket()
        if isinstance(unread, socket.socket):  # So that paho's next write closes it, whatever waits to be read.
            with contextlib.suppress(OSError):
                unread.shutdown(socket.SHUT_RDWR)

    def _reason(self) -> aiomqtt.MqttError:
        error = self._lost.exception()
        if isinstance(error, aiomqtt.MqttError):
            return error
        wrapped = aiomqtt.MqttError()
        wrapped.__cause__ = error
        return wrapped

    def _guarded(self, work: Callable[[], MQTTErrorCode]) -> Callable[..., MQTTErrorCode]:
        def guarded(*_: Any) -> MQTTErrorCode:
            try:
                code = work()
                self._check_qos()
            except (OSError, aiomqtt.MqttError) as error:
                self.end(error)
            except Exception as error:  # noqa: BLE001 - whatever paho stumbles over in a malformed packet
                self.end(LinkError(f"{NOT_MQTT} ({type(error).__name__}: {error})"))
            else:
                return code
            return MQTTErrorCode.MQTT_ERR_CONN_LOST

        return guarded

    def _check_qos(self) -> None:
        if self._paho._in_messages:  # paho would keep them until the broker says the word.
            raise LinkError("the broker sends a message with QoS 2, which we never ask for: it is broken")

    def _on_connect(self, paho: Paho, userdata: Any, flags: ConnectFlags, reason: ReasonCode, more: Any) -> None:
        self._answered = True
        if reason.is_failure:
            self.end(aiomqtt.MqttCodeError(reason))
        else:
            self.session_present = flags.session_present
            self._on_connected(paho, userdata, flags, reason, more)

    def _on_disconnect(
        self, _: Paho, _userdata: Any, flags: DisconnectFlags, reason: ReasonCode, _more: Any
    ) -> None:
        told = flags.is_disconnect_packet_from_server
        if not told and reason.value == PROTOCOL_ERROR:
            self.end(LinkError(NOT_MQTT))
        elif reason.value == UNSPECIFIED and not (told or self._answered):
            self.end(LinkError(HUNG_UP))
        else:
            self.end(aiomqtt.MqttCodeError(reason) if reason.is_failure else aiomqtt.MqttError())


UNSPECIFIED, PROTOCOL_ERROR = 0x80, 0x82
"""Reason codes, which paho also uses for what it finds itself."""

NOT_MQTT = "what arrived breaks the rules of MQTT: check that the port is a broker's, and version"

HUNG_UP = (
    "the other end hung up instead of answering: check that the port is a broker's, whether it wants TLS, and the "
    "broker's log"
)


class _TellingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, and tells what goes wrong after it: paho forgets both.

    With TLS 1.3 the broker judges our certificate only when the handshake is over for us.
    """

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            raise LinkError(explain(error)) from error

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
    context.sslsocket_class = _TellingSocket
    if tls.cert_file is not None:
        # Without any password, OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(tls.cert_file, tls.key_file, tls.key_password or "")
    return context
