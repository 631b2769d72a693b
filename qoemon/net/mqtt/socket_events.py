"""Reads and writes paho's socket when the event loop finds it ready, and lets paho send its pings.

aiomqtt has callbacks for that, which are not used. paho connects in another thread, so they pass the number of the
descriptor to `call_soon_threadsafe`. If the socket is closed before that runs, the loop watches a closed
descriptor, or another socket that has the same number by then.

Here the loop watches a duplicate of the descriptor. Only the loop closes the duplicate, after it has stopped
watching it, so no other socket can have its number meanwhile. What runs in the loop does what is wanted when it
runs, not what was wanted when it was scheduled.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client as Paho

from qoemon.net.mqtt.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

KEEPALIVE_CHECK_S = 1.0
"""How often paho checks whether a ping is due or was not answered."""


class SocketEvents:
    """paho's four socket callbacks. Created in the event loop, before the client connects.

    read    called when there is something to be read
    failed  called with what `read` or paho raises
    """

    def __init__(self, paho: Paho, read: Callable[[], object], failed: Callable[[Exception], None]) -> None:
        self._paho, self._read, self._failed = paho, read, failed
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._watched: _WatchedSocket | None = None
        self._continuing = False
        """Whether `_continue` is scheduled."""

    def opened(self, _paho: Paho, _userdata: Any, sock: Any) -> None:
        """Start to watch. Runs in the thread that connects."""
        watched = self._watched = _WatchedSocket(self._loop, sock, self._readable, self._writable, self._keep_alive)
        self._in_loop(watched.update)

    def closing(self, _paho: Paho, _userdata: Any, _sock: Any) -> None:
        """Stop watching. Runs in any thread, just before paho closes its socket."""
        watched, self._watched = self._watched, None
        if watched is not None:
            watched.open = False
            self._in_loop(watched.update)

    def register_write(self, _paho: Paho, _userdata: Any, _sock: Any) -> None:
        """Call paho when it can write. Runs in any thread."""
        self._want_write(True)

    def unregister_write(self, _paho: Paho, _userdata: Any, _sock: Any) -> None:
        """Stop doing so: all is written."""
        self._want_write(False)

    def _want_write(self, wanted: bool) -> None:
        watched = self._watched
        if watched is not None:
            watched.write_wanted = wanted
            self._in_loop(watched.update)

    def _in_loop(self, work: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread or self._loop.is_closed():
            work()
        else:
            self._loop.call_soon_threadsafe(work)

    def _readable(self) -> None:
        self._guarded(self._read)
        # What OpenSSL has decrypted already, or was in one frame, does not make the socket readable. It is not read
        # in one go: a frame may have many megabytes, and the event loop has other work.
        if self._pending() and not self._continuing:
            self._continuing = True
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._continuing = False
        if self._pending():
            self._readable()

    def _pending(self) -> int:
        sock = self._paho.socket()
        return sock.pending() if isinstance(sock, ssl.SSLSocket | WebSocket) else 0

    def _writable(self) -> None:
        self._guarded(self._paho.loop_write)

    def _keep_alive(self) -> None:
        self._guarded(self._paho.loop_misc)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever paho raises for a malformed packet
            self._failed(error)


class _WatchedSocket:
    """A duplicate of one socket's descriptor. `update` runs in the event loop only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket | WebSocket,
        readable: Callable[[], None],
        writable: Callable[[], None],
        keep_alive: Callable[[], None],
    ) -> None:
        self.open, self.write_wanted = True, False
        self._loop, self._readable, self._writable, self._keep_alive = loop, readable, writable, keep_alive
        self._duplicate = socket.socket(fileno=os.dup(sock.fileno()))
        self._reads = self._writes = False
        self._timer: asyncio.TimerHandle | None = None

    def update(self) -> None:
        """Watch for what is wanted now; close the duplicate if the socket is closed."""
        if not self._loop.is_closed():
            self._watch(reads=self.open, writes=self.open and self.write_wanted)
        if not self.open:
            self._duplicate.close()

    def _watch(self, *, reads: bool, writes: bool) -> None:
        if reads and not self._reads:
            self._loop.add_reader(self._duplicate, self._readable)
            self._timer = self._loop.call_later(KEEPALIVE_CHECK_S, self._check_keepalive)
        elif self._reads and not reads:
            self._loop.remove_reader(self._duplicate)
            if self._timer is not None:
                self._timer.cancel()
        if writes and not self._writes:
            self._loop.add_writer(self._duplicate, self._writable)
        elif self._writes and not writes:
            self._loop.remove_writer(self._duplicate)
        self._reads, self._writes = reads, writes

    def _check_keepalive(self) -> None:
        self._timer = self._loop.call_later(KEEPALIVE_CHECK_S, self._check_keepalive)
        self._keep_alive()
