"""A bad network for the tests: a TCP relay on loopback that cuts, delays, minces and falls silent when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class Pair:
    """One connection of a client, and ours to the server on its behalf."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: bool = False

    def abort(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass
class Proxy:
    """Relays to server_port until its block of `running()` ends.

    delay_s        how long every byte takes, in each direction
    byte_by_byte   whether each byte travels alone
    """

    server_port: int
    delay_s: float = 0.0
    byte_by_byte: bool = False
    port: int = 0
    made: int = 0
    """Connections so far."""
    to_client_bytes: int = 0
    """Passed on since the beginning, from the server to clients."""
    _cut_at_bytes: int | None = None
    _pairs: set[Pair] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop()
            await asyncio.gather(*self._tasks)
            await server.wait_closed()

    def cut_after(self, count: int) -> None:
        """Cut the connection once so many more bytes have reached a client, wherever in a packet that is."""
        self._cut_at_bytes = self.to_client_bytes + count

    @property
    def cutting(self) -> bool:
        """Whether that is still to come."""
        return self._cut_at_bytes is not None

    def drop(self) -> None:
        """End every connection at once."""
        for pair in list(self._pairs):
            pair.abort()

    def fall_silent(self) -> None:
        """Pass on nothing more on the present connections, and leave them open; later ones are good."""
        for pair in self._pairs:
            pair.silent = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                await self._relay(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
        pair = Pair(writer, to_server)
        self._pairs.add(pair)
        self.made += 1
        try:
            await asyncio.gather(
                self._pump(pair, reader, to_server, to_client=False),
                self._pump(pair, from_server, writer, to_client=True),
            )
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _pump(
        self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        """Pass on one direction; its end is the end of both."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, writer, pair, to_client=to_client))
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    under_way.put_nowait((asyncio.get_running_loop().time() + self.delay_s, data))
        finally:
            pair.abort()
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)

    async def _arrive(
        self,
        under_way: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        pair: Pair,
        *,
        to_client: bool,
    ) -> None:
        while True:
            due_s, data = await under_way.get()
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            size = 1 if self.byte_by_byte else len(data)
            for begin in range(0, len(data), size):
                if not pair.silent:
                    writer.write(self._cut(pair, data[begin : begin + size], to_client=to_client))
                    await writer.drain()
                    await asyncio.sleep(0)  # So that the next byte does not join this one in the same write.

    def _cut(self, pair: Pair, data: bytes, *, to_client: bool) -> bytes:
        """What of the data may still pass."""
        if not to_client:
            return data
        left = None if self._cut_at_bytes is None else self._cut_at_bytes - self.to_client_bytes
        if left is not None and left <= len(data):
            data, self._cut_at_bytes = data[:left], None
            # After the write that follows.
            asyncio.get_running_loop().call_soon(pair.abort)
        self.to_client_bytes += len(data)
        return data
