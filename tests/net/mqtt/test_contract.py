"""What is relied on in paho and aiomqtt, private names included, holds in the installed versions."""

from __future__ import annotations

import inspect
import socket
import threading
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from qoemon.net.mqtt.connection import PRIVATE_NAMES, paho_client
from tests.support.hostile import packet

if TYPE_CHECKING:
    from collections.abc import Iterator

PINGREQ, PINGRESP, DISCONNECT = packet(0xC0), packet(0xD0), packet(0xE0)


class Wire:
    """A paho that has connected to us, with the calls of its socket callbacks in order."""

    def __init__(self, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311) -> None:
        self.calls: list[tuple[str, int, int]] = []
        """Callback, descriptor of its socket, thread."""
        self.paho = Paho(CallbackAPIVersion.VERSION2, protocol=version)
        for name in ("open", "close", "register_write", "unregister_write"):
            setattr(self.paho, f"on_socket_{name}", self._noting(name))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(30)
            self.connecting = threading.Thread(target=self.paho.connect, args=listening.getsockname())
            self.connecting.start()
            self.far, _ = listening.accept()
            self.connecting.join()
        self.far.settimeout(30)

    def _noting(self, name: str) -> Any:
        def note(_paho: Paho, _userdata: object, sock: socket.socket) -> None:
            self.calls.append((name, sock.fileno(), threading.get_ident()))

        return note

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def written(self) -> bytes:
        self.paho.loop_write()
        return self.far.recv(1000)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.paho._sock_close()
    made.far.close()


def test_private_methods_have_the_parameters_that_we_pass() -> None:
    assert list(inspect.signature(Paho._sock_recv).parameters) == ["self", "bufsize"]
    assert list(inspect.signature(Paho._packet_queue).parameters)[:5] == ["self", "command", "packet", "mid", "qos"]
    assert list(inspect.signature(Paho._create_socket).parameters) == ["self"]
    assert set(PRIVATE_NAMES) <= set(dir(Paho(CallbackAPIVersion.VERSION2)))


def test_paho_uses_what_create_socket_returns_and_sends_nothing_before_that() -> None:
    paho, created = Paho(CallbackAPIVersion.VERSION2), list[object]()
    plainly = paho._create_socket

    def create() -> Any:
        created.append(plainly())
        return created[0]

    paho._create_socket = create  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        paho.connect(*listening.getsockname())
        assert (paho.host, paho.port) == listening.getsockname()
    assert created == [paho.socket()]
    paho._sock_close()


def test_socket_callbacks_come_from_the_thread_that_connects_and_before_anything_is_sent(wire: Wire) -> None:
    number = wire.paho.socket().fileno()  # type: ignore[union-attr]
    assert wire.calls == [
        ("open", number, wire.connecting.ident),
        ("register_write", number, wire.connecting.ident),
    ]
    wire.far.setblocking(False)
    with pytest.raises(BlockingIOError):
        wire.far.recv(1)


def test_a_socket_is_registered_for_writing_once_and_until_all_is_written(wire: Wire) -> None:
    wire.paho._packet_queue(0xC0, PINGREQ, 0, 0)
    assert wire.names == ["open", "register_write"]
    assert wire.written().endswith(PINGREQ)
    assert wire.names == ["open", "register_write", "unregister_write"]
    wire.paho._packet_queue(0xC0, PINGREQ, 0, 0)
    assert wire.names[3:] == ["register_write"]


def test_a_socket_is_still_open_when_its_closing_is_announced(wire: Wire) -> None:
    number = wire.paho.socket().fileno()  # type: ignore[union-attr]
    wire.far.close()
    wire.paho.loop_read()
    assert [call[:2] for call in wire.calls[2:]] == [("unregister_write", number), ("close", number)]
    assert wire.paho.socket() is None


def test_packets_are_queued_as_they_are(wire: Wire) -> None:
    wire.written()
    acks = packet(0x40, b"\x00\x01") + packet(0x40, b"\x00\x02")
    assert wire.paho._packet_queue(0x40, acks, 0, 0) == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert wire.written() == acks


def test_without_a_callback_for_writing_paho_writes_at_once_and_ends(wire: Wire) -> None:
    wire.written()
    wire.paho._packet_queue(0xC0, PINGREQ, 0, 0)
    wire.paho.on_socket_register_write = None
    wire.paho.disconnect()
    assert wire.far.recv(100) == PINGREQ + DISCONNECT
    assert wire.paho.socket() is None


def test_paho_reads_by_sock_recv_only_and_resumes_where_it_blocked(wire: Wire) -> None:
    wire.written()
    pieces = [PINGREQ[:1], BlockingIOError(), PINGREQ[1:], BlockingIOError()]

    def recv(bufsize: int) -> bytes:
        piece = pieces.pop(0)
        if isinstance(piece, BlockingIOError):
            raise piece
        assert bufsize >= len(piece)
        return piece

    wire.paho._sock_recv = recv  # type: ignore[method-assign]
    for _ in range(2):
        assert wire.paho.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert wire.written() == PINGRESP


def test_the_end_is_an_empty_read(wire: Wire) -> None:
    wire.paho._sock_recv = lambda _: b""  # type: ignore[method-assign, assignment]
    ended: list[Any] = []
    wire.paho.on_disconnect = lambda *arguments: ended.append(arguments)
    wire.paho.loop_read()
    ((_, _, flags, reason, _),) = ended
    assert not flags.is_disconnect_packet_from_server
    assert reason.value == 0x80
    assert wire.paho.socket() is None


def test_the_reason_that_a_broker_sends_is_passed_on() -> None:
    """paho 2.1.0 loses it, unless properties follow."""
    wire = Wire(MQTTProtocolVersion.MQTTv5)
    ended: list[Any] = []
    wire.paho.on_disconnect = lambda *arguments: ended.append(arguments)
    wire.far.send(packet(0xE0, b"\x8e"))
    wire.paho.loop_read()
    wire.far.close()
    ((_, _, flags, reason, _),) = ended
    assert flags.is_disconnect_packet_from_server
    assert reason.value == 0x8E


def test_a_message_of_qos_2_waits_in_in_messages(wire: Wire) -> None:
    assert not wire.paho._in_messages
    wire.far.send(packet(0x34, b"\x00\x01t\x00\x07"))
    wire.paho.loop_read()
    assert list(wire.paho._in_messages) == [7]


def test_a_socket_that_is_turned_away_ends_the_attempt() -> None:
    def refuse(*_: object) -> None:
        raise ConnectionAbortedError

    paho = Paho(CallbackAPIVersion.VERSION2)
    paho.on_socket_open = refuse
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(ConnectionAbortedError):
        paho.connect(*listening.getsockname())
    paho._sock_close()


async def test_aiomqtt_keeps_its_paho_client_where_we_look() -> None:
    client = aiomqtt.Client("localhost")
    assert isinstance(paho_client(client), Paho)
    del client._client
    with pytest.raises(RuntimeError, match=r"no paho client in Client\._client"):
        paho_client(client)


@pytest.mark.parametrize("name", ["_create_socket", "_sock_recv", "_packet_queue"])
async def test_a_paho_without_a_private_name_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = aiomqtt.Client("localhost")
    monkeypatch.delattr(Paho, name)
    with pytest.raises(RuntimeError, match=rf"paho-mqtt has no Client\.{name}: install versions"):
        paho_client(client)
