"""Accepts connections, within the limits, and starts TLS on them.

asyncio's own server has one TLS context for its life, and no connection before the handshake is complete. Here each
connection gets the current context, and counts from the moment when it is accepted.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Sequence

from qoemon.net.http.connections import CLOSE_S, REQUEST_S, Connection, ConnectionLimits
from qoemon.net.http.listener_stats import Ended
from qoemon.net.http.web_config import WebConfig

LOG = logging.getLogger("qoemon.net.http")

BACKLOG = 512
AT_ONCE = 64
"""Connections accepted in one turn of the event loop."""
PAUSE_S = 1.0
"""Pause when no file descriptor is available."""

NewConnection = Callable[[], Connection]
"""Makes the protocol of an accepted connection."""

_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Listener:
    """Accepts on some sockets until it is closed.

    new  makes the protocol of a connection
    """

    def __init__(
        self, sockets: Sequence[socket.socket], limits: ConnectionLimits, new: NewConnection, config: WebConfig
    ) -> None:
        self._sockets, self._limits, self._new, self._config = tuple(sockets), limits, new, config
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
                accepted, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                LOG.error("cannot accept connections: %s; next attempt in %g s", error.strerror, PAUSE_S)
                self._loop.remove_reader(listening)
                self._loop.call_later(PAUSE_S, self._listen, listening)
                return
            self._admit(accepted)

    def _admit(self, accepted: socket.socket) -> None:
        if not self._limits.evict_idle():
            accepted.close()
            return
        accepted.setblocking(False)
        connection = self._new()
        started = self._start(connection, accepted)
        self._limits.add(connection, self._loop.create_task(started, name="qoemon.net.http.start"))

    async def _start(self, connection: Connection, accepted: socket.socket) -> None:
        """Start the connection, after a TLS handshake if TLS is configured."""
        tls = self._config.now().tls
        times = {} if tls is None else {"ssl_handshake_timeout": REQUEST_S, "ssl_shutdown_timeout": CLOSE_S}
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, **times)
        except OSError as error:
            LOG.debug("TLS handshake with a client failed: %s", error)
            self._limits.state.ended[Ended.TLS] += 1
            self._limits.remove(connection)


def listen_fault(error: OSError, key: str) -> str:
    """Why bound() failed, and what to do. key: the port's in the configuration."""
    fault = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        fault += f": another program has this port, such as a second qoemon; stop it, or set another {key}"
    return fault


async def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on each address of the host; OSError if there is none."""
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
                missing = error  # A name may have an address that this machine does not have.
        if not sockets:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _bound(family: int, address: tuple[object, ...], others: Sequence[socket.socket]) -> socket.socket:
    host, port, *rest = address
    port = port or (
        others[0].getsockname()[1] if others else 0
    )  # The same port, also if the first one was chosen by the system.
    try:
        listening = socket.create_server((host, port, *rest), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0)) from None
    listening.setblocking(False)
    return listening


def beyond_loopback(sockets: Sequence[socket.socket]) -> list[str]:
    """The addresses among those that other machines can reach."""
    hosts = [str(listening.getsockname()[0]).partition("%")[0] for listening in sockets]
    return [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
