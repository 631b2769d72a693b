"""The channel between the parent and a worker: sends objects, in order, over a pair of connected sockets.

Objects are pickled: both ends are the same version of this program, and no other process has access.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from typing import Any

_LENGTH = 8

BUFFER_BYTES = 2**24
"""Size of the receive buffer: with a small one, a large object needs many iterations of the event loop."""


class ChannelError(Exception):
    """The other end is closed."""


class Channel:
    """One end of a channel; made by opened()."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, message: object) -> None:
        """Send an object without waiting. If the other end is closed, it is discarded."""
        self.send_packed(packed(message))

    def send_packed(self, frame: bytes) -> None:
        """As send(), for an object that is packed already."""
        if not self._writer.is_closing():
            self._writer.write(frame)

    async def receive(self) -> Any:
        """The next object; ChannelError if the other end is closed."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - written by ourselves
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChannelError(str(error)) from None

    async def drain(self) -> None:
        """Wait until the other end has received most of the sent bytes; ChannelError if it is closed."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelError(str(error)) from None

    def close(self) -> None:
        """Close this end; the other end gets a ChannelError."""
        self._writer.close()


async def opened(end: socket.socket) -> Channel:
    """Open a channel over a connected socket, which the channel closes."""
    return Channel(*await asyncio.open_unix_connection(sock=end, limit=BUFFER_BYTES))


def packed(message: object) -> bytes:
    """An object as bytes to send."""
    frame = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(frame).to_bytes(_LENGTH, "big") + frame
