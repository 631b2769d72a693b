"""The HTTP side: what was published last, from memory, and whether the daemon is well."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from qoemon.export import Published

Problems = Callable[[], list[str]]
"""Reasons why not, in words; none when all is well."""


class Board:
    """Where the newest Published hangs: written by the daemon, read by everyone."""

    def __init__(self) -> None:
        self.newest: Published | None = None


def application(board: Board, alive: Problems, ready: Problems) -> web.Application:
    """The routes. alive: what is wrong with the process; ready: why its numbers should not be relied on yet."""

    async def metrics(_: web.Request) -> web.Response:
        newest = _newest(board)
        return web.Response(body=newest.metrics, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def snapshot(_: web.Request) -> web.Response:
        return web.Response(body=_newest(board).json, content_type="application/json")

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(ready())

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=_INDEX)

    app = web.Application()
    app.add_routes(
        [
            web.get("/", index),
            web.get("/metrics", metrics),
            web.get("/api/v1/snapshot", snapshot),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
        ]
    )
    return app


_INDEX = """\
qoemon

/metrics           for Prometheus
/api/v1/snapshot   the same numbers as JSON
/healthz           whether the process is well
/readyz            whether it is subscribed and its numbers are fresh
"""


def _newest(board: Board) -> Published:
    if board.newest is None:
        raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in some seconds\n")
    return board.newest


def _verdict(problems: list[str]) -> web.Response:
    if problems:
        return web.Response(status=503, text="".join(f"{problem}\n" for problem in problems))
    return web.Response(text="ok\n")


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start to listen; the runner, for its cleanup(), and the port that it got. OSError if that fails."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
