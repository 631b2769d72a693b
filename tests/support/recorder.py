"""Takes what players post and writes it as a recording."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_ALLOW = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "7200",
}


@contextlib.asynccontextmanager
async def recorder(file: Path) -> AsyncIterator[str]:
    """A collector on loopback that only records; yields its address."""
    with gzip.open(file, "wt") as out:

        def put(line: dict[str, object]) -> None:
            out.write(json.dumps(line) + "\n")

        async def take(request: web.Request) -> web.Response:
            body = (await request.read()).decode()
            put({"t": time.time(), "path": request.path, "type": request.content_type, "payload": body})
            return web.Response(status=204, headers=_ALLOW)

        async def preflight(_: web.Request) -> web.Response:
            return web.Response(status=204, headers=_ALLOW)

        put({"qoemon": "recording", "version": 1, "started_s": time.time(), "source": "test"})
        app = web.Application()
        app.add_routes([web.post("/{path:.*}", take), web.options("/{path:.*}", preflight)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
            put({"t": time.time()})
