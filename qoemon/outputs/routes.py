"""The routes of the HTTP server: the newest tick, from memory, and the health of the daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiohttp import web

from qoemon.net.http.body import Body
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import METRICS_TYPE
from qoemon.outputs.page.routes import Page
from qoemon.outputs.published import PublishedTick

LOG = logging.getLogger("qoemon.outputs")


Problems = Callable[[], list[str]]
"""Returns problems as text; none if there are none."""


def application(latest: Latest, alive: Problems, ready: Problems, remarks: Problems = list) -> web.Application:
    """The web application with all routes, including those of the page.

    alive    problems of the process, for /healthz
    ready    why its metrics are not reliable yet, for /readyz
    remarks  what a reader of reliable metrics should know, for /readyz
    """

    async def metrics(request: web.Request) -> web.StreamResponse:
        return await _send(request, _newest(latest).metrics, METRICS_TYPE)

    async def snapshot(request: web.Request) -> web.StreamResponse:
        return await _send(request, _newest(latest).json, "application/json")

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(ready(), remarks())

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/api/v1/snapshot", snapshot),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
        ]
    )
    Page(latest, ready).add_to(app)
    return app


def _newest(latest: Latest) -> PublishedTick:
    if latest.value is None:
        raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in some seconds\n")
    return latest.value


async def _send(request: web.Request, body: Body, content_type: str) -> web.StreamResponse:
    """Send the content, compressed if the request accepts gzip. In pieces: a single one would be copied."""
    pieces, headers = body.pieces, {"Content-Type": content_type, "Vary": "Accept-Encoding"}
    if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
        body.want()
        pieces = await asyncio.to_thread(body.packed) if body.ready is None else body.ready
        headers["Content-Encoding"] = "gzip"
    response = web.StreamResponse(headers=headers)
    response.content_length = sum(map(len, pieces))
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in pieces:
            await response.write(piece)
    await response.write_eof()
    return response


def _accepts_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header accepts gzip (RFC 9110, 12.5.3)."""
    for coding in accepted.lower().split(","):
        name, _, weight = (part.strip() for part in coding.partition(";"))
        if name in {"gzip", "x-gzip"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _verdict(problems: list[str], remarks: Sequence[str] = ()) -> web.Response:
    if problems:
        return web.Response(status=503, text="".join(f"{problem}\n" for problem in problems))
    return web.Response(text="; ".join(["ready", *remarks]) + "\n" if remarks else "ok\n")
