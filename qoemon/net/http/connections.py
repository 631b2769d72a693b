"""Limits the number of connections and the time that each may take, so that no client delays the others.

A request must be complete within REQUEST_S of its first byte, the first one within REQUEST_S of the connection. A
client must read what it is sent within ANSWER_S; a stream may last as long as it is read. At the limit, a new
connection replaces the one that has been idle for longest. Connections are aborted: an orderly end would wait for
the client that does not read.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionResetError, web

from qoemon.net.http.listener_stats import Ended, ListenerStats
from qoemon.net.http.stats import HttpStats, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("qoemon.net.http")

REQUEST_S = 10.0
ANSWER_S = 60.0
KEEPALIVE_S = 75.0
"""Between two requests. Longer than a usual scrape interval, so that Prometheus keeps its connection."""
CLOSE_S = 10.0
"""For the rest of an answer when a connection is closing."""
SWEEP_S = 1.0

MOST_LINE = 4096
MOST_FIELD = 8190
MOST_REQUEST = 64 * 1024
"""Bytes of a request line, a header, a whole request."""


class Connection(ABC, asyncio.Protocol):
    """What the limits must know of a connection, and can do with it."""

    answers: int
    """How many were sent."""
    idle_since_s: float
    """When it was made, or its last answer was complete."""

    @property
    @abstractmethod
    def evictable(self) -> bool:
        """Whether it may be ended to make room for another."""

    @abstractmethod
    def overdue(self, now_s: float) -> Ended | None:
        """The time limit that it has exceeded, if any."""

    @abstractmethod
    def abort(self) -> None:
        """End it at once."""


class HttpConnection(web.RequestHandler, Connection):
    """A connection of aiohttp that records since when it waits for what."""

    def __init__(self, limits: ConnectionLimits, server: web.Server, state: HttpStats) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,  # type: ignore[arg-type]
            debug=False,  # Otherwise that of the event loop: it would send stack traces to clients.
            max_line_size=MOST_LINE,
            max_field_size=MOST_FIELD,
            lingering_time=1.0,
        )
        self._limits, self._state = limits, state
        self._transport: asyncio.Transport | None = None
        self.idle_since_s = limits.now_s()
        self.answering = False
        self.answers = 0
        self._request_since_s: float | None = self.idle_since_s
        """When the request began that is due; None if none is due."""
        self._request_bytes = 0
        self._blocked_since_s: float | None = None
        """When the client stopped reading; None if it reads."""
        self._closing_since_s: float | None = None

    @property
    def evictable(self) -> bool:
        """As Connection.evictable."""
        return not self.answering or self._blocked_since_s is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start, after the TLS handshake if there is one."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, for any reason."""
        self._limits.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless the request exceeds MOST_REQUEST."""
        if self._request_since_s is None:
            self._request_since_s = self._limits.now_s()
        self._request_bytes += len(data)
        if self._request_bytes > MOST_REQUEST:
            self._limits.end(self, Ended.LARGE)
        else:
            super().data_received(data)

    def pause_writing(self) -> None:
        """Record that the client reads more slowly than it is sent data."""
        super().pause_writing()
        self._blocked_since_s = self._limits.now_s()

    def resume_writing(self) -> None:
        """Record that the client has read."""
        super().resume_writing()
        self._blocked_since_s = None

    def begin_answer(self) -> None:
        """Record that a request is complete."""
        self.answering, self._request_since_s, self._request_bytes = True, None, 0

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.answering, self.idle_since_s = False, self._limits.now_s()
            self.answers += 1

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a malformed request or an internal error, without the request and without a stack trace."""
        self.begin_answer()
        text = f"{status}: internal error, see the log of qoemon\n"
        if status < 500:
            self._state.refused[Refused.MALFORMED] += 1
            text = f"{status}: malformed request, or a line or header that is too long\n"
        elif not isinstance(exc, ClientConnectionResetError):  # The client has closed the connection.
            LOG.error("could not answer %s %s", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer was sent already")
        answer = web.Response(status=status, text=text, headers=HEADERS)
        answer.force_close()
        return answer

    def overdue(self, now_s: float) -> Ended | None:
        """As Connection.overdue."""
        return Ended.SLOW if self._slow(now_s) else None

    def _slow(self, now_s: float) -> bool:
        if self._transport is not None and self._transport.is_closing():
            self._closing_since_s = self._closing_since_s or now_s
            return now_s - self._closing_since_s > CLOSE_S
        if self._blocked_since_s is not None and now_s - self._blocked_since_s > ANSWER_S:
            return True
        since_s = self._request_since_s
        return not self.answering and since_s is not None and now_s - since_s > REQUEST_S

    def abort(self) -> None:
        """As Connection.abort."""
        if self._transport is not None:
            self._transport.abort()


HEADERS = {"Server": "qoemon", "X-Content-Type-Options": "nosniff"}
"""Of every answer. The version is not disclosed."""


class ConnectionLimits:
    """All connections, and the limits on them.

    most   connections at a time
    state  where they are counted
    """

    def __init__(self, most: int, state: ListenerStats) -> None:
        self._most, self.state = min(most, _affordable()), state
        self._connections: dict[Connection, asyncio.Task[None] | None] = {}
        self._loop = asyncio.get_running_loop()
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def now_s(self) -> float:
        """The clock of all time limits, s."""
        return self._loop.time()

    def evict_idle(self) -> bool:
        """Whether there is room for one more connection, after ending an idle one if necessary."""
        if len(self._connections) < self._most:
            return True
        idle = min(self._evictable(), key=lambda one: (one.answers > 0, one.idle_since_s), default=None)
        if idle is None:
            self.state.ended[Ended.FULL] += 1
            return False
        self.end(idle, Ended.EVICTED)
        return True

    def add(self, connection: Connection, handshake: asyncio.Task[None] | None) -> None:
        """Add a connection; handshake: the task that starts it."""
        self._connections[connection] = handshake
        self.state.connections = len(self._connections)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._connections.pop(connection, None)
        self.state.connections = len(self._connections)

    def end(self, connection: Connection, reason: Ended) -> None:
        """Abort a connection, and count the reason."""
        self.state.ended[reason] += 1
        handshake = self._connections.get(connection)
        if handshake is not None:
            handshake.cancel()
        self.remove(connection)
        connection.abort()

    def close(self) -> None:
        """Cancel all handshakes, and check time limits no longer."""
        self._sweeping.cancel()
        for handshake in self._connections.values():
            if handshake is not None:
                handshake.cancel()

    def abort(self) -> None:
        """Abort all connections."""
        for connection in tuple(self._connections):
            connection.abort()

    def _sweep(self) -> None:
        now_s = self.now_s()
        for connection in tuple(self._connections):
            if reason := connection.overdue(now_s):
                self.end(connection, reason)
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def _evictable(self) -> Iterator[Connection]:
        return (connection for connection in self._connections if connection.evictable)


def _affordable() -> int:
    """Half of the files that this process may open; the rest is for the broker, alerts and the state."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if files == resource.RLIM_INFINITY else max(files // 2, 1)
