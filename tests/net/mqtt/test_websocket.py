"""A WebSocket sends everything once and in order, however little the other end reads."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import TYPE_CHECKING

import pytest

from qoemon.net.mqtt.websocket import MAX_UNSENT, WebSocket, authority
from qoemon.net.mqtt.websocket_frames import BINARY, CLOSE, PING, PONG, masked
from tests.net.mqtt.test_websocket_frames import served

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wire:
    """A WebSocket with little room to send, and its other end."""

    def __init__(self) -> None:
        self.far, near = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # The kernel gives some kilobytes.
        near.setblocking(False)
        self.far.setblocking(False)
        self.ours = WebSocket(near)
        self.stream = b""

    def take(self) -> None:
        """Read what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while data := self.far.recv(1000):
                self.stream += data

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """All that was sent: opcode and payload of each frame."""
        at = 0
        while at < len(self.stream):
            head, length, begin = self.stream[at], self.stream[at + 1] & 127, at + 2
            if length > 125:
                begin += 2 if length == 126 else 8
                length = int.from_bytes(self.stream[at + 2 : begin], "big")
            at = begin + 4 + length
            yield head & 15, masked(self.stream[begin + 4 : at], self.stream[begin : begin + 4])


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.ours.close()
    made.far.close()


def send_all(wire: Wire, data: bytes) -> None:
    """As paho does: the same data again, until it is sent."""
    for _ in range(100_000):
        with contextlib.suppress(BlockingIOError):
            if sent := wire.ours.send(data):
                assert sent == len(data)
                return
        wire.take()
    pytest.fail("not sent")


def test_what_does_not_fit_is_sent_once_and_pongs_come_between_frames(wire: Wire) -> None:
    rng = random.Random(1)
    sent = [rng.randbytes(rng.choice((2, 4, 1000, 200_000))) for _ in range(50)]
    for number, data in enumerate(sent):
        with contextlib.suppress(BlockingIOError):
            if wire.ours.send(data):
                continue
        wire.far.send(served(PING, b"%d" % number))  # While a frame is sent in part.
        with pytest.raises(BlockingIOError):
            wire.ours.recv(1)
        send_all(wire, data)
    wire.take()
    frames = list(wire.frames())
    assert [data for opcode, data in frames if opcode == BINARY] == sent
    pongs = [data for opcode, data in frames if opcode == PONG]
    assert len(pongs) > 3
    assert len(pongs) + len(sent) == len(frames)


def test_pings_without_end_take_no_room(wire: Wire) -> None:
    for _ in range(3000):
        wire.far.send(served(PING, bytes(125)))
        with pytest.raises(BlockingIOError):
            wire.ours.recv(1)
    assert len(wire.ours._unsent) < MAX_UNSENT + 200


def test_what_was_in_one_frame_is_pending_until_it_is_read(wire: Wire) -> None:
    wire.far.send(served(BINARY, b"abc") + served(BINARY, b"de"))
    assert wire.ours.recv(1) == b"a"
    assert wire.ours.pending() == 4
    assert wire.ours.recv(2) == b"bc"
    assert wire.ours.recv(100) == b"de"
    assert wire.ours.pending() == 0
    with pytest.raises(BlockingIOError):
        wire.ours.recv(1)


@pytest.mark.parametrize("how", ["close", "hang up"])
def test_the_end_comes_after_what_was_sent_before_it(wire: Wire, how: str) -> None:
    wire.far.send(served(BINARY, b"last"))
    if how == "close":
        wire.far.send(served(CLOSE) + served(BINARY, b"ignored"))
    else:
        wire.far.shutdown(socket.SHUT_WR)
    assert wire.ours.recv(100) == b"last"
    assert wire.ours.recv(100) == b""
    assert wire.ours.recv(100) == b""


def test_frames_that_came_with_the_handshake_are_not_lost() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert WebSocket(near, served(BINARY, b"early")).recv(100) == b"early"


def test_ipv6_addresses_are_in_brackets() -> None:
    assert authority("::1", 1883) == "[::1]:1883"
    assert authority("broker.example.org", 443) == "broker.example.org:443"
