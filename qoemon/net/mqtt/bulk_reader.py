"""Reads from the broker in large pieces, and decodes the messages in them without paho.

paho reads a packet's type, its length and the rest separately, four system calls a message, and makes a dozen
objects and a log record of each. Together that costs more than the rest of the daemon. Here one system call reads
all that has arrived, and messages are delivered from these bytes. paho gets every other packet byte for byte, as if
from the socket. Acknowledgements are joined and queued as one packet, which paho sends with one system call.

It reads through paho's `_sock_recv` and sends acknowledgements by its `_packet_queue`, both private names of paho.
docs/decisions/0016-mqtt-path.md has the measurements, and what was rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import MQTTErrorCode

from qoemon.config.sections.mqtt import MAX_PACKET_BYTES
from qoemon.net.mqtt.errors import NOT_MQTT, MqttConnectionError

READ_BYTES = 2**17
"""Read with one system call at most: some 700 messages and 3 ms of work before the event loop continues."""

PUBLISH, PUBACK = 0x30, 0x40

RETAIN, QOS, DUP = 1, 6, 8
"""Flags of a PUBLISH. At QoS 0 and 1, the QOS bits are also the length of the packet identifier in bytes."""

Deliver = Callable[[int, bytes, int, bytes], None]
"""Called with flags, topic, packet identifier (0 at QoS 0) and payload of a message."""


class BulkReader:
    """Reads paho's socket; `connection.patch` puts `recv` in the place of paho's `_sock_recv`.

    deliver     called with each message of QoS 0 or 1; None to discard them
    properties  whether messages have properties, as in MQTT 5
    """

    def __init__(self, paho: Paho, deliver: Deliver, *, properties: bool) -> None:
        self.deliver: Deliver | None = deliver
        self._properties = properties
        self._paho = paho
        self._receive: Callable[[int], bytes] = paho._sock_recv
        self._pieces: list[bytes] = []
        """Bytes that are no complete packet yet."""
        self._waiting = 0
        """Number of bytes in them."""
        self._wanted = 2
        """Number of bytes at which the first packet is complete, or more of its length is known."""
        self._packet = b""
        """Rest of the packet that paho is reading."""
        self._ended = False

    def read(self) -> MQTTErrorCode:
        """Read once, and process all complete packets.

        returns  as paho's loop_read
        raises   MqttConnectionError if a packet is malformed; what `deliver` raises
        """
        if self._paho.socket() is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            data = self._receive(READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if data:
            return self._add(data)
        self._ended, self._packet = True, b""
        return self._paho.loop_read()  # paho finds the end and reports it.

    def _add(self, data: bytes) -> MQTTErrorCode:
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting < self._wanted:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return self._process(b"".join(self._pieces))

    def _process(self, data: bytes) -> MQTTErrorCode:
        """Process the complete packets at the beginning of the data, and keep the rest."""
        at, end, code = 0, len(data), MQTTErrorCode.MQTT_ERR_SUCCESS
        self._wanted = 2
        while end - at >= 2 and not code:
            begin, beyond = extent(data, at)
            if beyond > end:
                self._wanted = beyond - at
                break
            head = data[at]
            if head & 0xF0 == PUBLISH and head & QOS <= 2:
                self._publish(head & 0x0F, data, begin, beyond)
            else:
                code = self._hand_over(data[at:beyond])
            at = beyond
        self._pieces, self._waiting = [data[at:]], end - at
        return code

    def _publish(self, flags: int, data: bytes, begin: int, beyond: int) -> None:
        """Deliver a message, whose body is data[begin:beyond]: topic, packet identifier, properties, payload."""
        if beyond - begin < 2:
            raise MqttConnectionError(NOT_MQTT)
        topic_end = begin + 2 + (data[begin] << 8 | data[begin + 1])
        body = topic_end + (flags & QOS)
        if body + self._properties > beyond:
            raise MqttConnectionError(NOT_MQTT)
        mid = data[topic_end] << 8 | data[topic_end + 1] if flags & QOS else 0
        if self._properties:
            body = past_properties(data, body, beyond)
        if self.deliver is not None:
            self.deliver(flags, data[begin + 2 : topic_end], mid, data[body:beyond])

    def _hand_over(self, packet: bytes) -> MQTTErrorCode:
        self._packet = packet
        return self._paho.loop_read()

    def recv(self, size: int) -> bytes:
        """In the place of paho's `_sock_recv`: up to `size` bytes of the packet that is passed to paho."""
        if not self._packet and not self._ended:
            raise BlockingIOError
        taken, self._packet = self._packet[:size], self._packet[size:]
        return taken


def extent(data: bytes, at: int) -> tuple[int, int]:
    """Where the body of the packet at `at` begins and ends; the end is beyond the data if it is not complete.

    raises   MqttConnectionError if its length is malformed, or exceeds MAX_PACKET_BYTES
    """
    length, begin = data[at + 1], at + 2
    if length < 128:
        return begin, begin + length
    try:
        length, begin = number(data, at + 1)
    except IndexError:
        return begin, len(data) + 1
    if length > MAX_PACKET_BYTES:
        raise MqttConnectionError(
            f"the broker sends a packet of {length} bytes, at most {MAX_PACKET_BYTES} are accepted: limit the "
            "size of messages at the broker, or check that the port is a broker's"
        )
    return begin, begin + length


def past_properties(data: bytes, at: int, beyond: int) -> int:
    """Where the properties at `at` end, in a packet that ends at `beyond`. They are not decoded.

    raises   MqttConnectionError if they exceed the packet
    """
    if data[at] == 0:
        return at + 1
    try:
        size, begin = number(data, at)
    except IndexError:
        raise MqttConnectionError(NOT_MQTT) from None
    if begin + size > beyond:
        raise MqttConnectionError(NOT_MQTT)
    return begin + size


def number(data: bytes, at: int) -> tuple[int, int]:
    """The variable byte integer at `at` (seven bits a byte, lowest first), and where it ends.

    raises   IndexError if it is incomplete, MqttConnectionError if it has more than four bytes
    """
    value = 0
    for place in range(4):
        digit = data[at + place]
        value |= (digit & 127) << 7 * place
        if digit < 128:
            return value, at + place + 1
    raise MqttConnectionError(NOT_MQTT)


def send_acks(paho: Paho, mids: Sequence[int]) -> None:
    """Acknowledge the QoS 1 messages of these packet identifiers, in their order."""
    packets = np.empty((len(mids), 2), ">u2")
    packets[:, 0] = PUBACK << 8 | 2
    packets[:, 1] = mids
    paho._packet_queue(PUBACK, packets.tobytes(), 0, 0)
