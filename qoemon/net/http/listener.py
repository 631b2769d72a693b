"""Sockets that listen, and what happens to each connection that comes: let in or not, TLS or not.

asyncio's own server knows one TLS context for its life, and nothing of a connection before its handshake is done.
Here each connection gets the context that is in force when it comes, and has a place from its first moment.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Sequence

from aiohttp import web

from qoemon.net.http.connections import CLOSE_S, REQUEST_S, ConnectionLimits, HttpConnection
from qoemon.net.http.stats import Ended
from qoemon.net.http.web_config import WebConfig

LOG = logging.getLogger("qoemon.net.http")

BACKLOG = 512
AT_ONCE = 64
"""Connections accepted before anything else gets its turn."""
PAUSE_S = 1.0
"""Without a file descriptor to be had, there is nothing to do but wait."""

_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Listener:
    """Accepts on some sockets until it is closed."""

    def __init__(
        self, sockets: Sequence[socket.socket], guard: ConnectionLimits, server: web.Server, config: WebConfig
    ) -> None:
        self._sockets, self._guard, self._server, self._config = tuple(sockets), guard, server, config
        self._loop = asyncio.get_running_loop()
        self._closed = False
        for listening in self._sockets:
            self._listen(listening)

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()

    def _listen(self, listening: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                wire, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                LOG.error("cannot accept connections: %s; trying again in %g s", error.strerror, PAUSE_S)
                self._loop.remove_reader(listening)
                self._loop.call_later(PAUSE_S, self._listen, listening)
                return
            self._welcome(wire)

    def _welcome(self, wire: socket.socket) -> None:
        if not self._guard.evict_idle():
            wire.close()
            return
        wire.setblocking(False)
        connection = HttpConnection(self._guard, self._server)
        begun = self._begin(connection, wire)
        self._guard.add(connection, self._loop.create_task(begun, name="qoemon.net.http.begin"))

    async def _begin(self, connection: HttpConnection, wire: socket.socket) -> None:
        """Up to the first byte of HTTP, which may come after a TLS handshake."""
        tls = self._config.now().tls
        times = {} if tls is None else {"ssl_handshake_timeout": REQUEST_S, "ssl_shutdown_timeout": CLOSE_S}
        try:
            await self._loop.connect_accepted_socket(lambda: connection, wire, ssl=tls, **times)
        except OSError as error:
            LOG.debug("no TLS with a client: %s", error)
            self._guard.state.ended[Ended.TLS] += 1
            self._guard.forget(connection)


async def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on each address of the host; OSError if there is none to be had."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            try:
                sockets.append(_bound(family, address, sockets))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error  # A name may have an address that this machine has not.
        if not sockets:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _bound(family: int, address: tuple[object, ...], others: Sequence[socket.socket]) -> socket.socket:
    host, port, *rest = address
    port = port or (others[0].getsockname()[1] if others else 0)  # One port, also if it is a free one.
    try:
        listening = socket.create_server((host, port, *rest), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0)) from None
    listening.setblocking(False)
    return listening


def beyond_loopback(sockets: Sequence[socket.socket]) -> list[str]:
    """The addresses among those that other machines may reach."""
    hosts = [str(listening.getsockname()[0]).partition("%")[0] for listening in sockets]
    return [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
