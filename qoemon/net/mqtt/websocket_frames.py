"""Frames of a WebSocket (RFC 6455, section 5), as an MQTT client writes and reads them. No I/O.

MQTT is a stream of bytes: neither frames nor messages of the WebSocket need to match its packets. So data is passed
on as it arrives, and only control frames are collected as a whole. They have at most 125 bytes.
"""

from __future__ import annotations

import os
import struct

from qoemon.common.text import printable
from qoemon.net.mqtt.errors import MqttConnectionError

CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA

FINAL, CONTROL, OPCODE = 0x80, 0x08, 0x0F
"""In the first byte: last frame of a message; a control frame; all of the opcode."""

MASKED = 0x80
"""In the second byte. Clients mask, servers must not."""

MAX_CONTROL = 125
"""Length of the longest payload of a control frame, bytes."""

NORMAL = {1000, 1001}
"""Codes of a close that is no error: normal closure, and going away."""

NOT_WEBSOCKET = (
    "received data that breaks the rules of WebSocket: check that the port is a broker's, and whether a proxy "
    "changes what passes it"
)


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame of a client, masked."""
    first, length, mask = FINAL | opcode, len(payload), os.urandom(4)
    if length < 126:
        head = struct.pack("!BB", first, MASKED | length)
    elif length < 2**16:
        head = struct.pack("!BBH", first, MASKED | 126, length)
    else:
        head = struct.pack("!BBQ", first, MASKED | 127, length)
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """The payload with each byte XORed with that of the repeated mask; the same again restores it."""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


class FrameReader:
    """Reads frames of a server from pieces of any length.

    pong    payload of the last ping that is not answered; earlier ones need no answer
    closed  why the other end closed the WebSocket; "" for a normal closure, None while it is open
    """

    def __init__(self) -> None:
        self.pong: bytes | None = None
        self.closed: str | None = None
        self._rest = b""
        """The beginning of a frame: of its header, or of a control frame."""
        self._left = 0
        """Number of bytes of the present data frame that have not arrived."""

    def feed(self, data: bytes) -> bytes:
        """The MQTT data in these bytes. After a close everything is ignored.

        raises   MqttConnectionError if the other end breaks the rules
        """
        data, at, pieces = self._rest + data, 0, list[bytes]()
        while at < len(data) and self.closed is None:
            if self._left == 0:
                begin, length = extent(data, at)
                control = data[at] & CONTROL
                if begin > len(data) or (control and begin + length > len(data)):
                    break
                if control:
                    self._control(data[at] & OPCODE, data[begin : begin + length])
                    at = begin + length
                    continue
                at, self._left = begin, length
            piece = data[at : at + self._left]
            pieces.append(piece)
            at, self._left = at + len(piece), self._left - len(piece)
        self._rest = data[at:]
        return b"".join(pieces)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.pong = payload
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1000
            reason = printable(payload[2:].decode(errors="replace"))
            self.closed = "" if code in NORMAL else f"code {code}{reason and f', {reason}'}"


def extent(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins, and its length; it begins beyond the data if more is needed.

    raises   MqttConnectionError if the frame is not one that a server may send to an MQTT client
    """
    first = data[at]
    control = first & CONTROL
    known = first & ~FINAL in {CONTINUATION, BINARY, CLOSE, PING, PONG}
    if not known or (control and not first & FINAL):
        raise MqttConnectionError(NOT_WEBSOCKET)
    if len(data) < at + 2:
        return at + 2, 0
    short = data[at + 1]
    if short & MASKED or (control and short > MAX_CONTROL):
        raise MqttConnectionError(NOT_WEBSOCKET)
    begin = at + 2 + {126: 2, 127: 8}.get(short, 0)
    return begin, short if short < 126 else int.from_bytes(data[at + 2 : begin], "big")
