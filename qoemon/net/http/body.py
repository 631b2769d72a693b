"""What is served about a tick, as bytes in pieces, and the same compressed where anybody wants that.

Of ten thousand groups it is a hundred megabytes. In one piece they would be copied to be joined, and again by the
event loop, which does nothing else meanwhile; in pieces they are made once and sent as fast as the reader reads.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Iterator

PIECE = 256 * 1024
"""Smaller pieces are put together: each costs a call of the operating system."""

LATELY_S = 300.0
"""Whoever asked within this time will ask again: what he wants is compressed before he does."""

LEVEL = 1
"""Of gzip. Level 6 takes thrice the time for a seventh less."""

_GZIP = 16 + zlib.MAX_WBITS


class CompressionDemand:
    """When somebody wanted it compressed last. Noted by the event loop, looked at by the evaluating thread."""

    def __init__(self) -> None:
        self._asked_s: float | None = None

    def note(self) -> None:
        """Somebody asks now."""
        self._asked_s = time.monotonic()

    @property
    def lately(self) -> bool:
        """Whether somebody has asked."""
        asked_s = self._asked_s
        return asked_s is not None and time.monotonic() - asked_s < LATELY_S


class Body:
    """The content of an answer. Made in the evaluating thread, which compresses it if that was asked for lately."""

    def __init__(self, pieces: Iterable[bytes], demand: CompressionDemand) -> None:
        self.pieces = tuple(_gathered(pieces))
        self._demand, self._lock = demand, threading.Lock()
        self._packed: tuple[bytes, ...] | None = None
        if demand.lately:
            self.packed()

    @property
    def whole(self) -> bytes:
        """All of it in one piece."""
        return b"".join(self.pieces)

    def want(self) -> None:
        """Somebody wants it compressed, and the next ticks too."""
        self._demand.note()

    @property
    def ready(self) -> tuple[bytes, ...] | None:
        """The pieces for gzip, if they have been made."""
        return self._packed

    def packed(self) -> tuple[bytes, ...]:
        """The pieces for gzip, made if they have not been: not for the event loop."""
        with self._lock:
            if self._packed is None:
                self._packed = tuple(_gathered(_packed(self.pieces)))
            return self._packed


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(LEVEL, wbits=_GZIP)
    yield from map(packer.compress, pieces)
    yield packer.flush()


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same in pieces of a size worth sending, the last as it comes."""
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
