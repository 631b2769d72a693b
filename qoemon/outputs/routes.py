"""The HTTP side: what was published last, from memory, and whether the daemon is well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from qoemon.net.http.auth import Gate
from qoemon.net.http.body import Body
from qoemon.net.http.bulk_send import Pourer
from qoemon.net.http.connections import Guard
from qoemon.net.http.listener import Listener, beyond_loopback, bound
from qoemon.net.http.stats import HttpState
from qoemon.net.http.web_config import Web, WebConfig
from qoemon.outputs.metrics.exporter import Published
from qoemon.outputs.page.routes import Page

LOG = logging.getLogger("qoemon.outputs")

MOST_CONNECTIONS = 512
"""By default."""

_LAST_ANSWERS_S = 5.0
"""Whoever has asked when the daemon ends gets an answer within this time."""

Problems = Callable[[], list[str]]
"""Reasons why not, in words; none when all is well."""


class Board:
    """Where the newest Published hangs: written by the daemon, read by everyone."""

    def __init__(self) -> None:
        self.newest: Published | None = None


def application(board: Board, alive: Problems, ready: Problems, ticked: asyncio.Condition) -> web.Application:
    """The routes, those of the page included.

    alive   what is wrong with the process
    ready   why its numbers should not be relied on yet
    ticked  notified after each tick
    """
    pourer = Pourer()

    async def metrics(request: web.Request) -> web.StreamResponse:
        return await _send(pourer, request, _newest(board).exposition, CONTENT_TYPE_LATEST)

    async def snapshot(request: web.Request) -> web.StreamResponse:
        return await _send(pourer, request, _newest(board).view, "application/json")

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(ready())

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/api/v1/snapshot", snapshot),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
        ]
    )
    Page(lambda: board.newest, ready, ticked).add_to(app)
    return app


def _newest(board: Board) -> Published:
    if board.newest is None:
        raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in some seconds\n")
    return board.newest


async def _send(pourer: Pourer, request: web.Request, body: Body, content_type: str) -> web.StreamResponse:
    """The content, compressed if that is asked for, as fast as it is read."""
    pieces, headers = body.pieces, {"Content-Type": content_type, "Vary": "Accept-Encoding"}
    if _takes_gzip(request.headers.get("Accept-Encoding", "")):
        body.want()
        pieces = await asyncio.to_thread(body.packed) if body.ready is None else body.ready
        headers["Content-Encoding"] = "gzip"
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, pieces))
    await response.prepare(request)
    if request.method != "HEAD":
        await pourer.pour(response, request.transport, pieces)
    await response.write_eof()
    return response


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding names gzip, other than to refuse it (RFC 9110, 12.5.3)."""
    for coding in accepted.lower().split(","):
        name, _, weight = (part.strip() for part in coding.partition(";"))
        if name in {"gzip", "x-gzip"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _verdict(problems: list[str]) -> web.Response:
    if problems:
        return web.Response(status=503, text="".join(f"{problem}\n" for problem in problems))
    return web.Response(text="ok\n")


class Serving:
    """The HTTP side as long as it is up."""

    def __init__(self, runner: web.AppRunner, listener: Listener, guard: Guard) -> None:
        self._runner, self._listener, self._guard = runner, listener, guard

    async def cleanup(self) -> None:
        """Let nobody in any more, answer those who have asked, and end."""
        self._listener.close()
        self._guard.close()
        await self._runner.cleanup()


async def serve(
    app: web.Application,
    host: str,
    port: int,
    config: WebConfig | None = None,
    state: HttpState | None = None,
    most: int = MOST_CONNECTIONS,
) -> tuple[Serving, int]:
    """Start to listen; what is up, for its cleanup(), and the port that it got. OSError if that fails.

    config  TLS, users and headers; None is none of them
    state   where connections and refusals are counted
    most    connections at a time
    """
    state = state or HttpState()
    config = config or WebConfig(None, state)
    sockets = await bound(host, port)
    Gate(config, state).guard(app)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_LAST_ANSWERS_S)
    await runner.setup()
    assert runner.server is not None, "it was set up"  # noqa: S101 - for the type checker
    guard = Guard(most, state)
    _warn_if_open(beyond_loopback(sockets), config.now())
    return Serving(runner, Listener(sockets, guard, runner.server, config), guard), sockets[0].getsockname()[1]


def _warn_if_open(addresses: list[str], web: Web) -> None:
    if not addresses:
        return
    where = ", ".join(addresses)
    if web.open:
        LOG.warning(
            "whoever reaches %s may read all of it: ask for a password or a certificate by http.web_config_file, "
            "or set http.host to 127.0.0.1",
            where,
        )
    elif web.tls is None:
        LOG.warning(
            "passwords are sent to %s for all on the way to read: add tls_server_config to http.web_config_file",
            where,
        )
