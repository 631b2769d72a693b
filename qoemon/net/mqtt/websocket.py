"""MQTT over a WebSocket: an object that paho uses like a socket, around the protocol of the library websockets.

The library does the handshake and the frames, without I/O. Reading and sending is done here: one system call reads
what has arrived, so that the bulk reader gets as much as from a plain socket.
docs/decisions/0016-mqtt-path.md says why paho's own WebSocket is not used.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHeader, InvalidMessage, InvalidStatus, SecurityError
from websockets.frames import OK_CLOSE_CODES, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from qoemon.common.address import without_query
from qoemon.common.text import printable
from qoemon.net.mqtt.errors import MqttConnectionError

if TYPE_CHECKING:
    from paho.mqtt.client import Client as Paho

READ_BYTES = 2**12
"""Read with one system call at least; paho asks for single bytes."""

MAX_UNSENT = 2**16
"""Pings are not answered while more bytes than this wait to be sent."""

MAX_FRAME_BYTES = 2**27
"""The longest frame that is accepted. nats-server sends all that waits as one frame, by default up to 64 MiB."""

# websockets logs every frame, and the path, whose query may hold a secret.
WEBSOCKETS_LOG = logging.getLogger("qoemon.net.mqtt.websockets")
WEBSOCKETS_LOG.setLevel(logging.CRITICAL)

NO_ANSWER = (
    "the other end closed the connection instead of answering the WebSocket handshake: check that the port speaks "
    "WebSocket, not plain MQTT, and whether it requires TLS or a client certificate"
)
NOT_HTTP = "the port does not speak WebSocket: check port and transport"

NOT_WEBSOCKET = (
    "received data that breaks the rules of WebSocket: check that the port is a broker's, and whether a proxy "
    "changes what passes it"
)


class WebSocket:
    """Sends and receives MQTT data. Has the methods of a socket that paho uses.

    MQTT is a stream of bytes: neither frames nor messages of the WebSocket need to match its packets.

    socket    TCP or TLS, whose handshake has ended
    protocol  has done the handshake of the WebSocket; may have received frames
    """

    def __init__(self, connected: socket.socket, protocol: ClientProtocol) -> None:
        self.socket = connected
        self._protocol = protocol
        self._received = bytearray()
        """MQTT data that was not requested yet."""
        self._ended = False
        self._fault: str | None = None
        """Why the WebSocket has ended; None if it is open, or was closed without an error."""
        self._unsent = bytearray()
        self._promised = 0
        """Length of the MQTT data whose frame is in `_unsent`, 0 for none."""
        self._process()

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes of MQTT data; b"" at the end.

        raises   BlockingIOError if there is none; OSError; MqttConnectionError if the other end breaks the rules
                 or closes the WebSocket with an error
        """
        if not self._received and not self._ended:
            self._receive(max(size, READ_BYTES))
        if self._received:
            taken = bytes(self._received[:size])
            del self._received[:size]
            return taken
        if self._fault is not None:
            raise MqttConnectionError(self._fault)
        if not self._ended:
            raise BlockingIOError
        return b""

    def _receive(self, size: int) -> None:
        if data := self.socket.recv(size):
            self._protocol.receive_data(data)
            self._process()
        else:
            self._ended = True

    def _process(self) -> None:
        """Take what the protocol has decoded, and send what it answers."""
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                continue  # The answer to the handshake.
            if event.opcode is Opcode.TEXT:
                self._protocol.fail(CloseCode.UNSUPPORTED_DATA)
                break
            if event.opcode in {Opcode.BINARY, Opcode.CONT}:
                self._received += event.data
        self._answer(b"".join(self._protocol.data_to_send()))
        if self._protocol.close_expected():
            self._end()

    def _answer(self, frames: bytes) -> None:
        """Send pongs. If the other end reads nothing, they wait for what is sent next, or are left out."""
        if frames and len(self._unsent) <= MAX_UNSENT:
            self._unsent += frames
            with contextlib.suppress(OSError):  # What is sent next reports it.
                self._flush()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # The end is then noticed, even if the other end stays.
        self._protocol.receive_eof()
        self._ended, self._fault = True, fault(self._protocol.close_exc)

    def send(self, data: bytes) -> int:
        """Send MQTT data; returns its length, or 0 if not all was sent: the caller passes the same data again.

        raises   OSError, also BlockingIOError
        """
        if self._ended:
            raise BrokenPipeError
        if not self._promised:
            self._protocol.send_binary(data)
            self._unsent += b"".join(self._protocol.data_to_send())
            self._promised = len(data)
        self._flush()
        if self._unsent:
            return 0
        sent, self._promised = self._promised, 0
        return sent

    def _flush(self) -> None:
        if self._unsent:
            del self._unsent[: self.socket.send(self._unsent)]

    def pending(self) -> int:
        """Number of bytes that can be read, although the socket may not be readable."""
        return len(self._received) + (self.socket.pending() if isinstance(self.socket, ssl.SSLSocket) else 0)

    def fileno(self) -> int:
        """As of a socket."""
        return self.socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self.socket.setblocking(flag)

    def shutdown(self, how: int) -> None:
        """As of a socket."""
        self.socket.shutdown(how)

    def close(self) -> None:
        """As of a socket."""
        self.socket.close()


def fault(closed: ConnectionClosed) -> str | None:
    """Why the WebSocket was closed, by either end; None without an error."""
    if closed.rcvd is None:
        return NOT_WEBSOCKET
    if closed.rcvd.code in OK_CLOSE_CODES:
        return None
    reason = printable(closed.rcvd.reason)
    return f"the broker closed the WebSocket: code {int(closed.rcvd.code)}{reason and f', {reason}'}"


def use_websocket(paho: Paho, path: str) -> None:
    """Let this client, which connects by TCP or TLS, speak through a WebSocket."""
    connected = paho._create_socket

    def create() -> WebSocket:
        plain = cast("socket.socket", connected())
        try:
            return open_websocket(plain, paho.host, paho.port, path, paho.connect_timeout)
        except BaseException:
            plain.close()
            raise

    paho._create_socket = create  # type: ignore[method-assign, assignment]


def open_websocket(connected: socket.socket, host: str, port: int, path: str, answer_s: float) -> WebSocket:
    """The WebSocket at this path.

    answer_s  how long the answer may take
    raises    TimeoutError or another OSError; MqttConnectionError if it is refused
    """
    path_only, _, query = path.partition("?")
    protocol = client_protocol(
        WebSocketURI(isinstance(connected, ssl.SSLSocket), host, port, path_only, query), State.CONNECTING
    )
    protocol.send_request(protocol.connect())
    with contextlib.suppress(ConnectionError):  # The next read reports it.
        connected.sendall(b"".join(protocol.data_to_send()))
    until_s = time.monotonic() + answer_s
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        if data := _read(connected, until_s):
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
            if isinstance(protocol.handshake_exc, InvalidMessage):
                raise MqttConnectionError(NO_ANSWER)
    if protocol.handshake_exc is not None:
        raise MqttConnectionError(refusal(protocol.handshake_exc, without_query(path)))
    return WebSocket(connected, protocol)


def client_protocol(uri: WebSocketURI, state: State) -> ClientProtocol:
    """The protocol as MQTT needs it. Compression is not requested, messages may have any length."""
    return ClientProtocol(
        uri,
        subprotocols=[Subprotocol("mqtt")],
        state=state,
        max_size=(None, MAX_FRAME_BYTES),
        logger=WEBSOCKETS_LOG,
    )


def _read(connected: socket.socket, until_s: float) -> bytes:
    """What arrives next; b"" at the end, also if the connection is reset. TimeoutError if nothing arrives."""
    remaining_s = until_s - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    connected.settimeout(remaining_s)
    try:
        return connected.recv(READ_BYTES)
    except ConnectionError:
        return b""


def refusal(error: Exception, path: str) -> str:
    """Why the handshake failed, and what to check."""
    match error:
        case InvalidStatus():
            return f"{path} answers {_status(error.response.status_code)}: check port and websocket_path"
        case InvalidMessage() | SecurityError():
            return NOT_HTTP
        case InvalidHeader(name="Connection"):
            found = "the answer has no header Connection: Upgrade"
        case InvalidHeader(name="Upgrade"):
            found = "the answer has no header Upgrade: websocket"
        case InvalidHeader(name="Sec-WebSocket-Accept"):
            found = "the answer has a wrong Sec-WebSocket-Accept, as from a cache"
        case _:
            found = "the answer selects another subprotocol than mqtt, or an extension"
    return f"{path} is no WebSocket for MQTT: {found}; check port and websocket_path"


def _status(code: int) -> str:
    with contextlib.suppress(ValueError):
        return f"{code} {HTTPStatus(code).phrase}"
    return str(code)
