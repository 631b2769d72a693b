"""A WebSocket sends everything once and in order, however little the other end reads."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from qoemon.net.mqtt.errors import MqttConnectionError
from qoemon.net.mqtt.websocket import MAX_FRAME_BYTES, MAX_UNSENT, WebSocket, client_protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

URI = WebSocketURI(False, "localhost", 80, "/mqtt", "")


class Wire:
    """A WebSocket with little room to send, and its other end."""

    def __init__(self) -> None:
        self.far, near = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # The kernel gives some kilobytes.
        near.setblocking(False)
        self.far.setblocking(False)
        self.ours = WebSocket(near, client_protocol(URI, State.OPEN))
        self.server = ServerProtocol(state=State.OPEN, max_size=None)
        """Checks what it receives, masks included."""
        self.frames: list[tuple[Opcode, bytes]] = []
        """All that we sent: opcode and payload of each frame."""

    def take(self) -> None:
        """Read what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while data := self.far.recv(1000):
                self.server.receive_data(data)
        for event in self.server.events_received():
            assert isinstance(event, Frame)
            self.frames.append((event.opcode, bytes(event.data)))
        assert self.server.parser_exc is None

    def serve(self) -> None:
        """Send what the server has to send."""
        self.far.sendall(b"".join(self.server.data_to_send()))


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
        wire.server.send_ping(b"%d" % number)
        wire.serve()  # While a frame is sent in part.
        with pytest.raises(BlockingIOError):
            wire.ours.recv(1)
        send_all(wire, data)
    wire.take()
    assert [data for opcode, data in wire.frames if opcode is Opcode.BINARY] == sent
    pongs = [data for opcode, data in wire.frames if opcode is Opcode.PONG]
    assert len(pongs) > 3
    assert len(pongs) + len(sent) == len(wire.frames)


def test_pings_without_end_take_no_room(wire: Wire) -> None:
    for _ in range(3000):
        wire.server.send_ping(bytes(125))
        wire.serve()
        with pytest.raises(BlockingIOError):
            wire.ours.recv(1)
    assert len(wire.ours._unsent) < MAX_UNSENT + 200


def test_what_was_in_one_frame_is_pending_until_it_is_read(wire: Wire) -> None:
    wire.server.send_binary(b"abc")
    wire.server.send_binary(b"de")
    wire.serve()
    assert wire.ours.recv(1) == b"a"
    assert wire.ours.pending() == 4
    assert wire.ours.recv(2) == b"bc"
    assert wire.ours.recv(100) == b"de"
    assert wire.ours.pending() == 0
    with pytest.raises(BlockingIOError):
        wire.ours.recv(1)


@pytest.mark.parametrize("how", ["close", "hang up"])
def test_the_end_comes_after_what_was_sent_before_it(wire: Wire, how: str) -> None:
    wire.server.send_binary(b"last")
    if how == "close":
        wire.server.send_close()
    wire.serve()
    if how == "hang up":
        wire.far.shutdown(socket.SHUT_WR)
    assert wire.ours.recv(100) == b"last"
    assert wire.ours.recv(100) == b""
    assert wire.ours.recv(100) == b""
    with pytest.raises(BrokenPipeError):
        wire.ours.send(b"late")


@pytest.mark.parametrize("code", [1000, 1001])
def test_a_close_without_an_error_is_an_end_and_is_answered(wire: Wire, code: int) -> None:
    wire.server.send_close(code)
    wire.serve()
    assert wire.ours.recv(100) == b""
    wire.take()
    assert wire.frames == [(Opcode.CLOSE, code.to_bytes(2))]


def test_a_close_with_an_error_is_reported_after_what_was_sent_before_it(wire: Wire) -> None:
    wire.server.send_binary(b"last")
    wire.server.send_close(1008, "n\u00f6\n")
    wire.serve()
    assert wire.ours.recv(100) == b"last"
    for _ in range(2):
        with pytest.raises(MqttConnectionError, match=r"code 1008, n\u00f6\\n$"):
            wire.ours.recv(100)


def test_text_is_refused_after_what_was_sent_before_it(wire: Wire) -> None:
    wire.server.send_binary(b"before")
    wire.server.send_text(b"hi")
    wire.serve()
    assert wire.ours.recv(100) == b"before"
    with pytest.raises(MqttConnectionError, match="breaks the rules of WebSocket"):
        wire.ours.recv(100)


def test_a_frame_that_is_too_long_is_refused_before_it_has_arrived(wire: Wire) -> None:
    wire.far.sendall(b"\x82\x7f" + (MAX_FRAME_BYTES + 1).to_bytes(8))
    with pytest.raises(MqttConnectionError, match="breaks the rules of WebSocket"):
        wire.ours.recv(100)


def test_a_message_may_have_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker may send all in one message: only the length of its frames is limited."""
    monkeypatch.setattr("qoemon.net.mqtt.websocket.MAX_FRAME_BYTES", 1000)
    near, far = socket.socketpair()
    with near, far:
        ours, server = WebSocket(near, client_protocol(URI, State.OPEN)), ServerProtocol(state=State.OPEN)
        server.send_binary(bytes(1000), fin=False)
        for _ in range(3):
            far.sendall(b"".join(server.data_to_send()))
            assert ours.recv(2000) == bytes(1000)
            server.send_continuation(bytes(1000), fin=False)


def test_frames_that_came_with_the_handshake_are_not_lost() -> None:
    near, far = socket.socketpair()
    with near, far:
        protocol, server = client_protocol(URI, State.OPEN), ServerProtocol(state=State.OPEN)
        server.send_binary(b"early")
        protocol.receive_data(b"".join(server.data_to_send()))
        assert WebSocket(near, protocol).recv(100) == b"early"
