"""How many connections there are at most, and how long each may take: nobody can hold the others up.

A connection has REQUEST_S for each request, from its first byte to the end of its headers, and for the first one
from the beginning. What it is sent must be read within ANSWER_S. A stream may last, as long as it is read. When all
places are taken, the connection that has been idle for longest gives way to the new one, rather than the new one to
those who do nothing. Cuts are hard ones: a polite end would wait for the very client that does not read.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionResetError, web

from qoemon.net.http.stats import Ended, HttpStats, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("qoemon.net.http")

REQUEST_S = 10.0
ANSWER_S = 60.0
KEEPALIVE_S = 75.0
"""Between two requests: longer than a usual scrape interval, so that Prometheus keeps its connection."""
CLOSE_S = 10.0
"""What is still to be sent when a connection ends may take so long."""
SWEEP_S = 1.0

MOST_LINE = 4096
MOST_FIELD = 8190
MOST_REQUEST = 64 * 1024
"""Bytes: a request line, a header, all of a request."""


class HttpConnection(web.RequestHandler):
    """One connection as aiohttp handles it, which knows since when it waits for what."""

    def __init__(self, guard: ConnectionLimits, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,  # type: ignore[arg-type]
            debug=False,  # Whatever the event loop's is: it would send stack traces to clients.
            max_line_size=MOST_LINE,
            max_field_size=MOST_FIELD,
            lingering_time=1.0,
        )
        self._guard = guard
        self._wire: asyncio.Transport | None = None
        self.began_s = guard.now_s()
        """Since when it does what it does."""
        self.answering = False
        self.answers = 0
        self._asked_s: float | None = self.began_s
        """Since when a request is due; None while it may take its time."""
        self._unread = 0
        self._stuck_s: float | None = None
        self._closing_s: float | None = None

    @property
    def can_go(self) -> bool:
        """Whether it may be ended for another's sake."""
        return not self.answering or self._stuck_s is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, after the TLS handshake if there is one."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._wire = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, for whatever reason."""
        self._guard.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, if it is no more than a request may have."""
        if self._asked_s is None:
            self._asked_s = self._guard.now_s()
        self._unread += len(data)
        if self._unread > MOST_REQUEST:
            self._guard.end(self, Ended.LARGE)
        else:
            super().data_received(data)

    def pause_writing(self) -> None:
        """It does not read as fast as we write."""
        super().pause_writing()
        self._stuck_s = self._guard.now_s()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._stuck_s = None

    def begin_answer(self) -> None:
        """A whole request is there."""
        self.answering, self._asked_s, self._unread = True, None, 0

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of an answer."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.answering, self.began_s = False, self._guard.now_s()
            self.answers += 1

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP, and to our own mistakes: without what was sent, and without a trace."""
        self.begin_answer()
        text = f"{status}: it went wrong inside, the log says how\n"
        if status < 500:
            self._guard.state.refused[Refused.MALFORMED] += 1
            text = f"{status}: not a request that can be understood, or a line or header that is too long\n"
        elif not isinstance(exc, ClientConnectionResetError):  # That client has gone while it was sent an answer.
            LOG.error("could not answer %s %s", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun already")
        answer = web.Response(status=status, text=text, headers=HEADERS)
        answer.force_close()
        return answer

    def overdue(self, now_s: float) -> bool:
        """Whether its time is up."""
        wire = self._wire
        if wire is not None and wire.is_closing():
            self._closing_s = self._closing_s or now_s
            return now_s - self._closing_s > CLOSE_S
        if self._stuck_s is not None and now_s - self._stuck_s > ANSWER_S:
            return True
        return not self.answering and self._asked_s is not None and now_s - self._asked_s > REQUEST_S

    def abort(self) -> None:
        """End it at once."""
        if self._wire is not None:
            self._wire.abort()


HEADERS = {"Server": "qoemon", "X-Content-Type-Options": "nosniff"}
"""Of every answer; no version, that is nobody's business."""


class ConnectionLimits:
    """All connections there are.

    most   of them at a time
    state  where they are counted
    """

    def __init__(self, most: int, state: HttpStats) -> None:
        self._most, self.state = min(most, _affordable()), state
        self._connections: dict[HttpConnection, asyncio.Task[None] | None] = {}
        self._loop = asyncio.get_running_loop()
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def now_s(self) -> float:
        """The time that all of this goes by."""
        return self._loop.time()

    def evict_idle(self) -> bool:
        """Have a place for one more; whether there is one."""
        if len(self._connections) < self._most:
            return True
        given_up = min(self._dispensable(), key=lambda one: (one.answers > 0, one.began_s), default=None)
        if given_up is None:
            self.state.ended[Ended.FULL] += 1
            return False
        self.end(given_up, Ended.EVICTED)
        return True

    def add(self, connection: HttpConnection, handshake: asyncio.Task[None] | None) -> None:
        """Count a connection that begins with that handshake."""
        self._connections[connection] = handshake
        self.state.connections = len(self._connections)

    def forget(self, connection: HttpConnection) -> None:
        """It is gone."""
        self._connections.pop(connection, None)
        self.state.connections = len(self._connections)

    def end(self, connection: HttpConnection, reason: Ended) -> None:
        """Cut it."""
        self.state.ended[reason] += 1
        handshake = self._connections.get(connection)
        if handshake is not None:
            handshake.cancel()
        self.forget(connection)
        connection.abort()

    def close(self) -> None:
        """End what has not begun, and watch no longer."""
        self._sweeping.cancel()
        for handshake in self._connections.values():
            if handshake is not None:
                handshake.cancel()

    def _sweep(self) -> None:
        now_s = self.now_s()
        for connection in [one for one in self._connections if one.overdue(now_s)]:
            self.end(connection, Ended.SLOW)
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def _dispensable(self) -> Iterator[HttpConnection]:
        return (connection for connection in self._connections if connection.can_go)


def _affordable() -> int:
    """Half of the files that this process may open: the other half is for the broker, alerts and ourselves."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if files == resource.RLIM_INFINITY else max(files // 2, 1)
