"""Answers, sent piece by piece; large ones by a thread in one call of the operating system.

The event loop writes what the socket takes, waits, and writes again: ninety megabytes are some hundred rounds. In
each it gives the interpreter's lock away, and while a tick is evaluated it may wait 5 ms to get it back. A call
that blocks comes back once. It may also keep the socket's queue short, at no more rounds, which is faster still.
It waits WAIT_S at most, and few do at a time: whoever reads slowly is served by the event loop, under the eyes of
the guard. docs/decisions/0015 has figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

from aiohttp import web

Piece = bytes | memoryview

LARGE = 2**20
"""Bytes. Less than that takes the event loop few rounds."""

WAIT_S = 1
"""How long a thread waits for a reader, all its waits together."""

AT_ONCE = 2
"""Threads that may wait. Nobody can hold up others by reading slowly, only make them go the usual way."""

MOST_PIECES = 1024
"""Of one call."""

QUEUE = 128 * 1024
"""Bytes that wait in the socket, by the kernel's count twice that. It takes half the time that it takes with the
megabytes which the kernel would allow, presumably as what is read is still in the processor's cache."""

_SO_BUF_LOCK = 72
"""Linux 5.14: 0 lets the kernel choose the queue's length again, for those who are far away."""


class BulkSender:
    """Belongs to one application."""

    def __init__(self) -> None:
        self._free = AT_ONCE

    async def pour(
        self, response: web.StreamResponse, wire: asyncio.Transport | None, pieces: Sequence[Piece]
    ) -> None:
        """Send the content of a response that has been prepared; wire: what it is sent over."""
        if wire is not None and _plain(wire) and sum(map(len, pieces)) >= LARGE:
            wire.set_write_buffer_limits(0)  # The first piece, and what was written before, is waited for.
            await response.write(pieces[0])
            pieces = await self._at_once(wire, pieces[1:])
            wire.set_write_buffer_limits()
        for piece in pieces:
            await response.write(piece)

    async def _at_once(self, wire: asyncio.Transport, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Send what the reader takes at once; what is left, which may be all of it."""
        if not self._free or wire.is_closing() or wire.get_write_buffer_size():
            return pieces
        self._free -= 1
        ours = wire.get_extra_info("socket").dup()
        # A reader who goes ends this request, but not the thread, which keeps its place until it is back.
        return _after(await asyncio.shield(self._sent(ours, pieces[:MOST_PIECES])), pieces)

    async def _sent(self, ours: socket.socket, pieces: Sequence[Piece]) -> int:
        try:
            return await asyncio.to_thread(_send, ours, pieces)
        finally:
            self._free += 1


def _plain(wire: asyncio.Transport) -> bool:
    """Whether its socket sends what is written, and not something encrypted."""
    return wire.get_extra_info("sslcontext") is None


def _send(ours: socket.socket, pieces: Sequence[Piece]) -> int:
    """Bytes sent. Not for the event loop.

    The event loop's socket blocks too meanwhile, but it only reads, and only when there is something to be read.
    """
    with ours, _blocking(ours), _short_queue(ours):
        try:
            return ours.sendmsg(pieces)
        except OSError:
            return 0  # The event loop will meet the same, and knows what to do.


@contextlib.contextmanager
def _blocking(ours: socket.socket) -> Iterator[None]:
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", WAIT_S, 0))
    ours.setblocking(True)
    try:
        yield
    finally:
        ours.setblocking(False)


@contextlib.contextmanager
def _short_queue(ours: socket.socket) -> Iterator[None]:
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # A kernel that can't leaves it short, which long ways make slow.
            ours.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)


def _after(sent: int, pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces without so many bytes at their beginning."""
    for place, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *pieces[place + 1 :]]
        sent -= len(piece)
    return ()
