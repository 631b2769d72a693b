"""How the parent and a worker talk: whole objects, in order, over a pair of connected sockets that only they have.

Objects are pickled: both ends are this program, of the same version, and nobody else can write there.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from typing import Any

_LENGTH = 8

BUFFER_BYTES = 2**24
"""What waits to be looked at before the other end has to wait: with little, a large object takes many turns."""


class ChannelError(Exception):
    """The other end has gone."""


class Channel:
    """One end. Made on a running event loop by `opened`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, what: object) -> None:
        """Have it sent; it is never refused and never waits. Nothing happens if the other end has gone."""
        self.send_packed(packed(what))

    def send_packed(self, frame: bytes) -> None:
        """As send, of what `packed` gave."""
        if not self._writer.is_closing():
            self._writer.write(frame)

    async def receive(self) -> Any:
        """The next object; ChannelError if there is none any more."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - written by ourselves
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChannelError(str(error)) from None

    async def drain(self) -> None:
        """Wait until the other end has taken most of what was sent."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelError(str(error)) from None

    def close(self) -> None:
        """Let go; the other end learns that there is nothing more."""
        self._writer.close()


async def opened(end: socket.socket) -> Channel:
    """A channel over a connected socket, which it owns from now on."""
    return Channel(*await asyncio.open_unix_connection(sock=end, limit=BUFFER_BYTES))


def packed(what: object) -> bytes:
    """An object as it is sent."""
    frame = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    return len(frame).to_bytes(_LENGTH, "big") + frame
