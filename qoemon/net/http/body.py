"""The content of an answer, as bytes in pieces, and compressed if clients request that.

With ten thousand groups it has a hundred megabytes. One piece would be copied to be joined, and again by the event
loop, which can do nothing else meanwhile. Pieces are made once and sent as fast as the client reads.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Iterator

PIECE = 256 * 1024
"""Bytes. Smaller pieces are joined: each costs a system call."""

LATELY_S = 300.0
"""After a request for gzip, content is compressed in advance for this time."""

LEVEL = 1
"""Of gzip. Level 6 takes three times as long for a seventh less."""

_GZIP = 16 + zlib.MAX_WBITS


class CompressionDemand:
    """When a client last requested gzip. Set in the event loop, read in the publisher's thread."""

    def __init__(self) -> None:
        self._requested_s: float | None = None

    def note(self) -> None:
        """Record a request."""
        self._requested_s = time.monotonic()

    @property
    def lately(self) -> bool:
        """Whether there was a request within the last LATELY_S."""
        requested_s = self._requested_s
        return requested_s is not None and time.monotonic() - requested_s < LATELY_S


class Body:
    """The content of an answer. Made in the publisher's thread, which compresses it if gzip is in demand."""

    def __init__(self, pieces: Iterable[bytes], demand: CompressionDemand) -> None:
        self.pieces = tuple(_gathered(pieces))
        self._demand, self._lock = demand, threading.Lock()
        self._packed: tuple[bytes, ...] | None = None
        if demand.lately:
            self.packed()

    @property
    def whole(self) -> bytes:
        """All of the content in one piece."""
        return b"".join(self.pieces)

    def want(self) -> None:
        """Record a request for gzip, for the content of the next ticks."""
        self._demand.note()

    @property
    def ready(self) -> tuple[bytes, ...] | None:
        """The compressed pieces; None if they have not been made."""
        return self._packed

    def packed(self) -> tuple[bytes, ...]:
        """The compressed pieces, made if necessary. Takes long: do not call it in the event loop."""
        with self._lock:
            if self._packed is None:
                self._packed = tuple(_gathered(_packed(self.pieces)))
            return self._packed


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(LEVEL, wbits=_GZIP)
    yield from map(packer.compress, pieces)
    yield packer.flush()


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at least PIECE bytes, except the last."""
    some: list[bytes] = []
    size = 0
    for piece in pieces:
        some.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(some)
            some, size = [], 0
    if some:
        yield b"".join(some)
