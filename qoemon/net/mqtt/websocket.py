"""MQTT over a WebSocket: the handshake, and an object that paho uses like a socket.

paho has this, too, but reads each frame with three system calls, answers pings without the mask that RFC 6455
requires, masks byte by byte in Python, and reports every refusal as "WebSocket handshake error". Here one system
call reads what has arrived, so that the bulk reader gets as much as from a plain socket.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from qoemon.net.mqtt.errors import MqttConnectionError
from qoemon.net.mqtt.websocket_frames import BINARY, PONG, FrameReader, frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paho.mqtt.client import Client as Paho

READ_BYTES = 2**12
"""Read with one system call at least; paho asks for single bytes."""

MAX_UNSENT = 2**16
"""Pings are not answered while more bytes than this wait to be sent."""

MAX_ANSWER = 2**14
"""Length of the longest answer to the handshake, bytes."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""From RFC 6455: proves that the answer is to a WebSocket handshake."""

HTTP = b"HTTP/1."

NO_ANSWER = (
    "the other end closed the connection instead of answering the WebSocket handshake: check that the port speaks "
    "WebSocket, not plain MQTT, and whether it requires TLS or a client certificate"
)
NOT_HTTP = "the port does not speak WebSocket: check port and transport"


class WebSocket:
    """Sends and receives MQTT data. Has the methods of a socket that paho uses.

    socket   TCP or TLS, whose handshake has ended
    arrived  frames that have arrived already
    """

    def __init__(self, connected: socket.socket, arrived: bytes = b"") -> None:
        self.socket = connected
        self._frames = FrameReader()
        self._received = self._frames.feed(arrived)
        """MQTT data that was not requested yet."""
        self._ended = False
        self._unsent = bytearray()
        self._promised = 0
        """Length of the MQTT data whose frame is in `_unsent`, 0 for none."""

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes of MQTT data; b"" at the end.

        raises   BlockingIOError if there is none; OSError; MqttConnectionError if the other end breaks the rules
                 or closes the WebSocket with an error
        """
        if not self._received and self._frames.closed is None:
            self._receive(max(size, READ_BYTES))
        if self._received:
            taken, self._received = self._received[:size], self._received[size:]
            return taken
        if self._frames.closed:
            raise MqttConnectionError(f"the broker closed the WebSocket: {self._frames.closed}")
        if not self._ended:
            raise BlockingIOError
        return b""

    def _receive(self, size: int) -> None:
        data = self.socket.recv(size)
        self._received = self._frames.feed(data)
        if self._frames.pong is not None:
            self._answer(self._frames.pong)
            self._frames.pong = None
        if self._frames.closed is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # The end is then noticed, even if the other end stays.
        self._ended = not data or self._frames.closed is not None

    def _answer(self, ping: bytes) -> None:
        """Answer a ping. If the other end reads nothing, the answer waits for what is sent next, or is left out."""
        if len(self._unsent) <= MAX_UNSENT:
            self._unsent += frame(PONG, ping)
            with contextlib.suppress(OSError):  # What is sent next reports it.
                self._flush()

    def send(self, data: bytes) -> int:
        """Send MQTT data; returns its length, or 0 if not all was sent: the caller passes the same data again.

        raises   OSError, also BlockingIOError
        """
        if not self._promised:
            self._unsent += frame(BINARY, data)
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


def use_websocket(paho: Paho, path: str) -> None:
    """Let this client, which connects by TCP or TLS, speak through a WebSocket."""
    connected = paho._create_socket

    def create() -> WebSocket:
        plain = cast("socket.socket", connected())
        try:
            return open_websocket(plain, authority(paho.host, paho.port), path, paho.connect_timeout)
        except BaseException:
            plain.close()
            raise

    paho._create_socket = create  # type: ignore[method-assign, assignment]


def open_websocket(connected: socket.socket, host: str, path: str, answer_s: float) -> WebSocket:
    """The WebSocket at this path.

    host      and port, as the HTTP header has them
    answer_s  how long the answer may take
    raises    TimeoutError or another OSError; MqttConnectionError if it is refused
    """
    key = base64.b64encode(os.urandom(16))
    try:
        connected.sendall(request(host, path, key))
        answer, rest = _answer(connected, time.monotonic() + answer_s)
    except ConnectionError as error:
        raise MqttConnectionError(NO_ANSWER) from error
    check(answer, key, path)
    return WebSocket(connected, rest)


def shown(path: str) -> str:
    """The path without its query, which may hold a secret."""
    return path.partition("?")[0]


def authority(host: str, port: int) -> str:
    """Host and port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def request(host: str, path: str, key: bytes) -> bytes:
    """The handshake of the client."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
        "\r\n",
    )
    return "\r\n".join(lines).encode()


def _answer(connected: socket.socket, until_s: float) -> tuple[bytes, bytes]:
    """The answer to the handshake, and what has arrived after it."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        remaining_s = until_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        connected.settimeout(remaining_s)
        data = connected.recv(READ_BYTES)
        if not data:
            raise MqttConnectionError(NO_ANSWER)
        answer += data
        if answer[: len(HTTP)] != HTTP[: len(answer)] or len(answer) > MAX_ANSWER:
            raise MqttConnectionError(NOT_HTTP)
    head, _, rest = answer.partition(b"\r\n\r\n")
    return head, rest


def check(answer: bytes, key: bytes, path: str) -> None:
    """Check the answer to the handshake with this key; raises MqttConnectionError if it is not to our liking."""
    first, *lines = answer.decode("latin-1").split("\r\n")
    status = first[len(HTTP) + 2 :][:3]
    if status != str(HTTPStatus.SWITCHING_PROTOCOLS.value):
        raise MqttConnectionError(f"{shown(path)} answers {_status(status)}: check port and websocket_path")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if fault := _fault(headers, key):
        raise MqttConnectionError(f"{shown(path)} is no WebSocket for MQTT: {fault}; check port and websocket_path")


def _status(status: str) -> str:
    with contextlib.suppress(ValueError):
        return f"{int(status)} {HTTPStatus(int(status)).phrase}"
    return f"with the status {status!r}"


def _fault(headers: Mapping[str, str], key: bytes) -> str | None:
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
    if headers.get("upgrade", "").lower() != "websocket":
        return "the answer has no header Upgrade: websocket"
    if headers.get("sec-websocket-accept") != accept:
        return "the answer has a wrong Sec-WebSocket-Accept, as from a cache"
    if headers.get("sec-websocket-protocol", "mqtt").lower() != "mqtt":
        return "the answer selects another subprotocol than mqtt"
    return None
