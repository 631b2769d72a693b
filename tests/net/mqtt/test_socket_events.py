"""The event loop watches paho's socket while it is open, and never another one that has its number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from qoemon.net.mqtt.errors import MqttConnectionError
from qoemon.net.mqtt.socket_events import SocketEvents
from qoemon.net.mqtt.websocket import WebSocket, client_protocol
from tests.support.patience import NEVER_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class Wire:
    """A paho with a socket of its own, as if connected to `far`."""

    def __init__(self) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.far.settimeout(30)
        self.paho = Paho(CallbackAPIVersion.VERSION2)
        self.reads = 0
        self.error: Exception | None = None
        self.errors: list[Exception] = []
        events = SocketEvents(self.paho, self._read, self.errors.append)
        self.paho.on_socket_open, self.paho.on_socket_close = events.opened, events.closing
        self.paho.on_socket_register_write = events.register_write
        self.paho.on_socket_unregister_write = events.unregister_write
        self.paho._sock = self.near

    def _read(self) -> None:
        self.reads += 1
        self.near.recv(1000)
        if self.error is not None:
            raise self.error

    def open(self) -> None:
        """What paho does once it has connected."""
        self.paho._call_socket_open(self.near)
        self.paho._call_socket_register_write()

    def close(self) -> None:
        self.paho._sock_close()

    def dispose(self) -> None:
        self.close()
        self.far.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    yield made
    made.dispose()


def watched() -> set[int]:
    """Descriptors that the event loop watches, without that by which it wakes itself."""
    loop = asyncio.get_running_loop()
    own: int = loop._ssock.fileno()  # type: ignore[attr-defined]
    return set(loop._selector.get_map()) - {own}  # type: ignore[attr-defined]


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def in_thread(work: Callable[[], None]) -> None:
    """Run it in another thread, while the event loop does nothing."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@contextlib.contextmanager
def strangers(numbers: set[int]) -> Iterator[list[socket.socket]]:
    """Sockets that have got these numbers, each with its peer."""
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        while not numbers <= {one.fileno() for one in sockets}:
            sockets += [opened.enter_context(one) for one in socket.socketpair()]
            assert len(sockets) < 200
        yield sockets


@pytest.mark.parametrize("closed_by", ["loop", "thread"])
async def test_a_socket_closed_before_the_loop_gets_to_it_is_not_watched(
    wire: Wire, closed_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    in_thread(wire.open)
    wire.close() if closed_by == "loop" else in_thread(wire.close)
    await turns()
    assert watched() == set()
    assert caplog.records == []


async def test_writing_that_is_no_longer_wanted_is_not_watched(wire: Wire) -> None:
    def register_and_unregister() -> None:
        wire.paho._call_socket_register_write()
        wire.paho._call_socket_unregister_write()

    in_thread(wire.open)
    wire.paho._call_socket_unregister_write()
    in_thread(register_and_unregister)
    await turns()
    (only,) = watched()
    assert asyncio.get_running_loop().remove_writer(only) is False
    assert asyncio.get_running_loop().remove_reader(only) is True


@pytest.mark.parametrize("closed_by", ["loop", "thread"])
async def test_a_stranger_with_the_same_number_is_neither_watched_nor_unwatched(wire: Wire, closed_by: str) -> None:
    loop, heard = asyncio.get_running_loop(), []
    in_thread(wire.open)
    if closed_by == "loop":
        await turns()
    numbers = {wire.near.fileno()} | watched()
    wire.close() if closed_by == "loop" else in_thread(wire.close)
    if closed_by == "thread":
        numbers = {min(numbers)}
    with strangers(numbers) as others:
        for other in others:
            loop.add_reader(other, heard.append, other)
        await turns()
        assert watched() == {other.fileno() for other in others}
        wire.paho._call_socket_register_write()
        wire.paho._call_socket_unregister_write()
        wire.close()
        await turns()
        assert watched() == {other.fileno() for other in others}
        for other in others:
            other.send(b"x")
        await until(lambda: len(set(heard)) == len(others))
        for other in others:
            loop.remove_reader(other)
    assert wire.reads == 0


async def test_a_watched_number_is_not_given_to_another_socket_before_the_loop_has_let_go(wire: Wire) -> None:
    """paho may close in the thread that connects, while the loop is busy."""
    in_thread(wire.open)
    await turns()
    (number,) = watched()
    in_thread(wire.close)
    os.fstat(number)
    await turns()
    assert watched() == set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


async def test_what_comes_is_read_and_what_is_queued_is_written(wire: Wire) -> None:
    in_thread(wire.open)
    wire.paho._packet_queue(0xC0, b"\xc0\x00", 0, 0)
    wire.far.send(b"x")
    await until(lambda: wire.reads and not wire.paho.want_write())
    assert wire.far.recv(100) == b"\xc0\x00"
    assert wire.errors == []


async def test_what_reading_raises_is_passed_on(wire: Wire) -> None:
    wire.error = MqttConnectionError("such as this")
    in_thread(wire.open)
    wire.far.send(b"x")
    await until(lambda: wire.errors)
    assert wire.errors[0] is wire.error


async def test_no_descriptor_stays_open(wire: Wire) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    in_thread(wire.open)
    await turns()
    wire.close()
    assert set(Path("/proc/self/fd").iterdir()) < before


async def test_the_event_loop_does_other_work_between_reads_of_a_long_frame(wire: Wire) -> None:
    uri = WebSocketURI(False, "localhost", 80, "/mqtt", "")
    near, server = WebSocket(wire.near, client_protocol(uri, State.OPEN)), ServerProtocol(state=State.OPEN)
    turn, read_in, read = 0, list[int](), 0

    def read_some() -> None:
        nonlocal read
        with contextlib.suppress(BlockingIOError):
            read += len(near.recv(1000))
            read_in.append(turn)

    events = SocketEvents(wire.paho, read_some, wire.errors.append)
    wire.paho.on_socket_open, wire.paho.on_socket_close = events.opened, events.closing
    wire.paho._sock = near  # type: ignore[assignment]
    wire.open()
    server.send_binary(bytes(50_000))
    wire.far.sendall(b"".join(server.data_to_send()))
    async with asyncio.timeout(NEVER_S):
        while read < 50_000:
            await asyncio.sleep(0)
            turn += 1
    assert read_in == sorted(set(read_in)), "at most one in each turn"
    assert not wire.errors
