"""A collector on a free loopback port, whose reader commits when the test wants it, and raw requests to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from qoemon.core.plan.topic import TopicTemplate
from qoemon.inputs.http.collector import Collector
from qoemon.inputs.http.options import CollectorOptions
from qoemon.inputs.inbox import Inbox, Message
from tests.support.patience import LOOK_S, WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/cmcd/v1/video/eu/a"
OPTIONS = CollectorOptions(
    host="127.0.0.1",
    port=0,
    paths=(TopicTemplate("/cmcd/v1/{service}/{region}/{cdn}"), TopicTemplate("/web/+/report", "web")),
    off=(TopicTemplate("/old/{service}"),),
)


class Reply(NamedTuple):
    """An answer: its status, headers by name in lower case, and content."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Collecting:
    """A running collector. Messages are committed as they come, unless `hold` is set; `messages` are all so far."""

    collector: Collector
    inbox: Inbox
    hold: bool = False
    messages: list[Message] = field(default_factory=list)
    drained: list[Message] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.collector.port

    def commit(self) -> None:
        """Commit all messages."""
        committed, self.drained = self.drained, []
        self.inbox.release(committed)
        self.collector.ack(committed)

    async def arrived(self, count: int) -> list[Message]:
        """The messages, once there are so many."""
        await until(lambda: len(self.messages) >= count, lambda: self.collector.stats)
        return self.messages

    async def read(self) -> None:
        """Drain the inbox again and again."""
        while True:
            drained = self.inbox.drain()
            self.messages += drained
            self.drained += drained
            if not self.hold:
                self.commit()
            await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def collecting(
    inbox: Inbox | None = None, options: CollectorOptions = OPTIONS, *, hold: bool = False, **changed: object
) -> AsyncIterator[Collecting]:
    """A running collector with these options."""
    inbox = inbox or Inbox(1_000_000, 2**30)
    collector = Collector(replace(options, **changed), inbox)  # type: ignore[arg-type]
    await collector.listen()
    running = Collecting(collector, inbox, hold)
    parts = [asyncio.create_task(collector.run()), asyncio.create_task(running.read())]
    try:
        yield running
    finally:
        for part in parts:
            part.cancel()
        ended = await asyncio.gather(*parts, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


def request(
    body: bytes = b'sid="a"',
    path: str = PATH,
    content_type: str | None = "application/cmcd",
    method: str = "POST",
    version: str = "1.1",
    length: bool = True,
    **headers: str,
) -> bytes:
    """A request; in names of headers, _ stands for -."""
    fields = {"Host": "collector.example"}
    if content_type is not None:
        fields["Content-Type"] = content_type
    if length:
        fields["Content-Length"] = str(len(body))
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + body


class Client:
    """A connection to the collector."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Reset the connection: a client that ends it in order may still want answers."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def reply(self, *, bodyless: bool = False) -> Reply:
        """The next answer."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = 0 if bodyless else int(headers.get("content-length", 0))
            return Reply(int(status.split()[1]), headers, (await self.reader.readexactly(length)).decode())

    async def ended(self) -> bytes:
        """What still comes before the server ends the connection, or resets it."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@contextlib.asynccontextmanager
async def client(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A connection; aborted at the end."""
    name = None if tls is None else "localhost"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def exchange(port: int, sent: bytes, tls: ssl.SSLContext | None = None, *, bodyless: bool = False) -> Reply:
    """The answer to a request on a connection of its own."""
    async with client(port, tls) as wire:
        wire.send(sent)
        return await wire.reply(bodyless=bodyless)
