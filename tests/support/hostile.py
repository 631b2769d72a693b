"""An MQTT server for the tests that is as bad as a script says, and writes its packets byte by byte itself.

The first connections follow the script. Those after them are treated well, to see that the client comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL = 0x10, 0x20, 0x30, 0x40, 0x50, 0x62
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
TOPIC = b"qoe/v1/video/eu/a"


def length(number: int) -> bytes:
    """A remaining length, as MQTT writes it."""
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (128 if number else 0))
        if not number:
            return bytes(out)


def packet(head: int, body: bytes = b"") -> bytes:
    """A whole packet."""
    return bytes([head]) + length(len(body)) + body


class Got(NamedTuple):
    """A packet from the client: the first byte's upper half (its type), and what follows the length."""

    kind: int
    body: bytes


class Conversation:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: str) -> None:
        self._reader, self.writer, self._version = reader, writer, version
        self.received: list[Got] = []

    @property
    def _properties(self) -> bytes:
        """An empty list of properties, where the version has them."""
        return b"\x00" if self._version == "5" else b""

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def take(self) -> Got:
        """The next packet of the client; IncompleteReadError at the end."""
        head = (await self._reader.readexactly(1))[0]
        remaining, shift = 0, 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            remaining |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                break
        got = Got(head & 0xF0, await self._reader.readexactly(remaining))
        self.received.append(got)
        return got

    async def end(self) -> None:
        """Read until the client has hung up."""
        while await self._reader.read(65_536):
            pass

    async def connect(self, *, session_present: bool = False, session_expiry_s: int | None = None) -> None:
        """Let the client in; with MQTT 5, possibly with another session expiry interval than it requested."""
        await self.take()
        properties = self._properties
        if session_expiry_s is not None:
            properties = b"\x05\x11" + session_expiry_s.to_bytes(4, "big")
        self.send(packet(CONNACK, bytes([session_present, 0]) + properties))

    async def subscribe(self, grant: bytes = b"\x01") -> None:
        """Answer the subscription; grant has a byte for each filter."""
        self.grant(await self.take(), grant)

    def grant(self, got: Got, grant: bytes) -> None:
        """Answer this SUBSCRIBE; grant has a byte for each filter."""
        self.send(packet(SUBACK, got.body[:2] + self._properties + grant))

    def unsubscribe(self, got: Got, codes: bytes) -> None:
        """Answer this UNSUBSCRIBE; with MQTT 5, codes has a byte for each filter."""
        rest = self._properties + codes if self._version == "5" else b""
        self.send(packet(UNSUBACK, got.body[:2] + rest))

    def filters(self, got: Got) -> list[bytes]:
        """The topic filters of a SUBSCRIBE or an UNSUBSCRIBE."""
        names, at = [], 2 + len(self._properties)
        while at < len(got.body):
            end = at + 2 + int.from_bytes(got.body[at : at + 2], "big")
            names.append(got.body[at + 2 : end])
            at = end + (got.kind == SUBSCRIBE)  # A byte of options.
        return names

    async def begin(self) -> None:
        """Let the client in and subscribe."""
        await self.connect()
        await self.subscribe()

    async def behave(self) -> None:
        """Answer whatever the client asks until it leaves."""
        while True:
            got = await self.take()
            if got.kind == PINGREQ:
                self.send(packet(PINGRESP))
            elif got.kind == UNSUBSCRIBE:
                self.unsubscribe(got, b"\x11")

    def message(self, payload: bytes, mid: int = 0, flags: int = 0, topic: bytes = TOPIC) -> bytes:
        """A PUBLISH: at QoS 1 if it has an identifier; further flags: 8 DUP, 4 QoS 2, 1 RETAIN."""
        identifier = mid.to_bytes(2, "big") if mid else b""
        head = PUBLISH | flags | (2 if mid and not flags & 4 else 0)
        return packet(head, len(topic).to_bytes(2, "big") + topic + identifier + self._properties + payload)


Script = Callable[[Conversation], Awaitable[None]]


class HostileBroker:
    """The server.

    script    what the first connections meet
    times     how many those are
    """

    def __init__(self, script: Script, *, version: str = "5", times: int = 1) -> None:
        self._script, self._version, self._times = script, version, times
        self.port = 0
        self.conversations: list[Conversation] = []
        self.began_s: list[float] = []
        """When each connection was made, by the monotonic clock."""
        self._serving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[HostileBroker]:
        """Serve until the block ends."""
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for conversation in self.conversations:
                conversation.writer.transport.abort()
            await asyncio.gather(*self._serving)
            await server.wait_closed()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        conversation = Conversation(reader, writer, self._version)
        self.conversations.append(conversation)
        self.began_s.append(time.monotonic())
        try:
            await (self._script if len(self.conversations) <= self._times else well)(conversation)
        except (OSError, EOFError):  # The client has left.
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()
            self._serving.discard(task)


async def well(conversation: Conversation) -> None:
    """What a good broker does, with one message."""
    await conversation.connect(session_present=True)
    await conversation.subscribe()
    conversation.send(conversation.message(b"good", mid=1))
    await conversation.behave()
