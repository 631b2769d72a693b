"""What is read past paho is what paho would have read, wherever the stream is cut; the rest is paho's."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from qoemon.config.sections.mqtt import MAX_PACKET_BYTES
from qoemon.net.mqtt.bulk_reader import BulkReader, send_acks
from qoemon.net.mqtt.errors import MqttConnectionError
from tests.support.hostile import length, packet

PINGREQ, PINGRESP = 0xC0, 0xD0


class Got(NamedTuple):
    flags: int
    topic: bytes
    mid: int
    payload: bytes


class Wire:
    """paho with a reader before it, as if connected to us."""

    def __init__(self, version: MQTTProtocolVersion) -> None:
        self.got: list[Got] = []
        self.ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.paho = Client(CallbackAPIVersion.VERSION2, protocol=version)
        self.paho._sock = theirs
        self.paho.on_message = self._past_the_reader
        self.reader = BulkReader(
            self.paho, lambda *told: self.got.append(Got(*told)), properties=version == MQTTProtocolVersion.MQTTv5
        )
        self.paho._sock_recv = self.reader.recv  # type: ignore[method-assign, assignment]

    def _past_the_reader(self, _: Client, _userdata: object, message: MQTTMessage) -> None:
        pytest.fail(f"paho has got {message.topic}")

    def feed(self, data: bytes) -> MQTTErrorCode:
        self.ours.sendall(data)
        return self.reader.read()


@contextlib.contextmanager
def connected(version: MQTTProtocolVersion) -> Iterator[Wire]:
    made = Wire(version)
    yield made
    made.ours.close()
    made.reader.read()  # paho finds the end, and closes its own.
    assert made.paho.socket() is None


@pytest.fixture(params=[MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with connected(request.param) as made:
        yield made


def message(rng: random.Random, version: MQTTProtocolVersion) -> bytes:
    """A PUBLISH at QoS 0 or 1: with any flags, and properties up to more than a byte can tell the length of."""
    qos = rng.randrange(2)
    topic = rng.randbytes(rng.choice((1, 30, 300)))
    mid = rng.randrange(1, 65536).to_bytes(2, "big") if qos else b""
    properties = b""
    if version == MQTTProtocolVersion.MQTTv5:
        user = b"\x26\x00\x01k" + struct.pack(">H", 150) + 150 * b"v"
        told = rng.choice((b"", b"\x01\x01", user))
        properties = length(len(told)) + told
    body = struct.pack(">H", len(topic)) + topic + mid + properties + rng.randbytes(rng.choice((0, 1, 90, 20_000)))
    return packet(0x30 | rng.choice((0, 1, 8)) | qos << 1, body)


def as_paho_reads(packets: list[bytes], version: MQTTProtocolVersion) -> Iterator[Got]:
    """What a paho of its own makes of each packet."""
    paho, got = Client(CallbackAPIVersion.VERSION2, protocol=version), list[MQTTMessage]()
    paho.on_message = lambda _client, _userdata, message: got.append(message)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        paho._sock = theirs
        theirs.setblocking(False)
        for whole in packets:
            ours.sendall(whole)
            paho.loop_read()
            one = got.pop()
            flags = one.dup << 3 | one.qos << 1 | one.retain
            yield Got(flags, bytes(one._topic), one.mid, bytes(one.payload))


def test_any_stream_cut_anywhere_is_read_as_paho_reads_it(wire: Wire) -> None:
    rng = random.Random(1)
    version = MQTTProtocolVersion(wire.paho.protocol)
    packets = [message(rng, version) for _ in range(300)]
    stream, at = b"".join(packets), 0
    while at < len(stream):
        beyond = at + rng.choice((1, 2, 3, 50, 1000, 100_000))
        assert wire.feed(stream[at:beyond]) == MQTTErrorCode.MQTT_ERR_SUCCESS
        at = beyond
    assert wire.got == list(as_paho_reads(packets, version))


def test_what_is_no_message_is_given_to_paho_wherever_it_is_cut(wire: Wire) -> None:
    """It answers a PINGREQ, which it need not: seen by the answer."""
    rng = random.Random(2)
    told = message(rng, MQTTProtocolVersion(wire.paho.protocol))
    stream = told + packet(PINGREQ) + told + packet(PINGREQ) + told
    for cut in range(len(stream)):
        wire.feed(stream[:cut])
        wire.feed(stream[cut:])
        assert wire.ours.recv(100) == 2 * packet(PINGRESP)
    assert len(wire.got) == 3 * len(stream)


def test_nothing_is_delivered_once_nobody_wants_it(wire: Wire) -> None:
    wire.reader.deliver = None
    wire.feed(message(random.Random(3), MQTTProtocolVersion(wire.paho.protocol)))
    assert wire.got == []


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"\x30\x00", "rules of MQTT"),
        (b"\x30\x01\x00", "rules of MQTT"),
        (b"\x32\x03\x00\x01t", "rules of MQTT"),
        (b"\x30\x05\x00\x04top", "rules of MQTT"),
        (b"\x30\x06\xff\xfftopi", "rules of MQTT"),
        (b"\x30\x80\x80\x80\x80\x01", "rules of MQTT"),
        (b"\x30" + length(MAX_PACKET_BYTES + 1), "limit the size of messages"),
    ],
)
def test_a_packet_that_breaks_the_rules_ends_it(wire: Wire, sent: bytes, words: str) -> None:
    with pytest.raises(MqttConnectionError, match=words):
        wire.feed(sent + message(random.Random(4), MQTTProtocolVersion.MQTTv311))
    assert wire.got == []


@pytest.mark.parametrize("properties", [b"\x02", b"\xff\xff\xff\x01", b"\xff"])
@pytest.mark.parametrize("more", [0, 4])
def test_properties_that_pass_the_end_of_their_packet_end_it(properties: bytes, more: int) -> None:
    with connected(MQTTProtocolVersion.MQTTv5) as wire, pytest.raises(MqttConnectionError, match="rules of MQTT"):
        wire.feed(packet(0x30, b"\x00\x01t" + properties) + more * packet(PINGREQ))


def test_acknowledgements_are_those_that_paho_would_send(wire: Wire) -> None:
    for mid in (1, 255, 65535):
        wire.paho._send_puback(mid)
    one_by_one = wire.ours.recv(100)
    send_acks(wire.paho, [1, 255, 65535])
    assert wire.ours.recv(100) == one_by_one
