"""Load generator: sends encoded MQTT packets over a plain socket, so that the receivers are what is measured.

Everything is encoded before the first byte is sent; sending is then `sendall` of whole chunks, and the
acknowledgements are only counted. Broker and generator speak MQTT 3.1.1, where a publisher has no limit of
messages in flight.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Self

import msgspec

CHUNK = 50
"""Messages in one write; paced load sends as many at once."""

ACK_BYTES = 4
CONNACK_BYTES = 4

NAMES = count()


def topic(group: int) -> bytes:
    """The topic of one of up to a hundred groups and more."""
    return b"qoe/v1/video/region-%d/cdn-%d" % (group % 10, group // 10)


def payloads(messages: int, batch: int, sessions: int, groups: int, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """The group and the JSON of each message; reports of all sessions in turn.

    begin  number of the first report, for sequence numbers that continue those of an earlier load
    """
    number = begin
    for _ in range(messages):
        reports = [report(number + place, sessions, groups) for place in range(batch)]
        yield number // batch % groups, msgspec.json.encode(reports if batch > 1 else reports[0])
        number += batch


def report(number: int, sessions: int, groups: int) -> dict[str, object]:
    """Report of this number. Sessions report in turn; the counters of each grow with every report."""
    seq, session = divmod(number, sessions)
    stalls = session % 7 // 6 * seq
    return {
        "session": f"{groups:06d}-{session:024x}",
        "seq": seq,
        "stall_count": stalls,
        "stall_s": 0.5 * stalls,
        "play_s": 10.0 * (seq + 1),
    }


def packets(messages: Iterator[tuple[int, bytes]], qos: int) -> list[bytes]:
    """PUBLISH packets in chunks of CHUNK messages."""
    encoded = [
        publish(topic(group), payload, qos, 1 + number % 65535) for number, (group, payload) in enumerate(messages)
    ]
    return [b"".join(encoded[begin : begin + CHUNK]) for begin in range(0, len(encoded), CHUNK)]


def publish(name: bytes, payload: bytes, qos: int, mid: int) -> bytes:
    """One PUBLISH packet."""
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", mid) if qos else b"") + payload
    return bytes([0x30 | qos << 1]) + _length(len(body)) + body


def _length(value: int) -> bytes:
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (128 if value else 0))
        if not value:
            return bytes(digits)


class Generator:
    """One connection that only publishes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = b"load-%d" % next(NAMES)
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name
        self._socket.sendall(b"\x10" + _length(len(body)) + body)
        assert self._socket.recv(CONNACK_BYTES, socket.MSG_WAITALL)[3] == 0
        self._acked_bytes = 0
        self._reader = threading.Thread(target=self._count_acks, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    @property
    def acked(self) -> int:
        """QoS 1 messages that the broker has acknowledged."""
        return self._acked_bytes // ACK_BYTES

    def flood(self, chunks: Sequence[bytes]) -> None:
        """Send as fast as the broker reads."""
        for chunk in chunks:
            self._socket.sendall(chunk)

    def pace(self, chunks: Sequence[bytes], rate: float) -> float:
        """Send so many messages a second, CHUNK at once; the longest delay behind this plan, s."""
        began_s, late_s = time.monotonic(), 0.0
        for number, chunk in enumerate(chunks):
            ahead_s = began_s + number * CHUNK / rate - time.monotonic()
            late_s = max(late_s, -ahead_s)
            time.sleep(max(0.0, ahead_s))
            self._socket.sendall(chunk)
        return late_s

    def _count_acks(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # The socket is closed without a DISCONNECT.
            while got := self._socket.recv(65536):
                self._acked_bytes += len(got)


def ceiling(chunks: Sequence[bytes]) -> float:
    """Messages a second that the generator sends to a socket whose other end only reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = threading.Thread(target=_sink, args=(server,), daemon=True)
        sink.start()
        with socket.create_connection(server.getsockname()) as wire:
            began_s = time.perf_counter()
            for chunk in chunks:
                wire.sendall(chunk)
        sink.join()
        return len(chunks) * CHUNK / (time.perf_counter() - began_s)


def _sink(server: socket.socket) -> None:
    wire, _ = server.accept()
    with wire:
        while wire.recv(1 << 20):
            pass
