"""An application on a free loopback port, behind all that the daemon's has in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.net.http.listener import bound
from qoemon.net.http.server import MOST_CONNECTIONS, Serving, serve
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import WebConfig

if TYPE_CHECKING:
    from aiohttp import web


async def serve_app(
    app: web.Application,
    host: str = "127.0.0.1",
    port: int = 0,
    config: WebConfig | None = None,
    stats: HttpStats | None = None,
    most: int = MOST_CONNECTIONS,
) -> tuple[Serving, int]:
    """What serves it, for its cleanup(), and the port."""
    stats = stats or HttpStats()
    sockets = await bound(host, port)
    serving = await serve(app, sockets, config or WebConfig(None, stats), stats, most)
    return serving, sockets[0].getsockname()[1]
