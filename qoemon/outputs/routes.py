"""The routes of the HTTP server: the newest tick, from memory, and the health of the daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from aiohttp import web

from qoemon.net.http.body import Body, CompressionDemand
from qoemon.outputs.feedback_answers import answers_json
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import METRICS_TYPE
from qoemon.outputs.page.links import NO_LINKS, Links
from qoemon.outputs.page.routes import Page
from qoemon.outputs.pair.header import PAIR
from qoemon.outputs.past.routes import PastRoutes
from qoemon.outputs.past.source import PastSource
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import rolled_up, snapshot_json

LOG = logging.getLogger("qoemon.outputs")


Problems = Callable[[], list[str]]
"""Returns problems as text; none if there are none."""


def application(
    latest: Latest,
    alive: Problems,
    ready: Problems,
    links: Links = NO_LINKS,
    past: PastSource | None = None,
    remarks: Problems = list,
    pair: Callable[[], str] | None = None,
) -> web.Application:
    """The web application with all routes, including those of the page.

    alive    problems of the process, for /healthz
    ready    why its metrics are not reliable yet, for /readyz
    links    of the page to other tools
    past     the history; without one, its routes are missing
    remarks  what a reader of reliable metrics should know, for /readyz
    pair     which daemon of a pair this is, for the page and `qoemon top`; None without another one
    """

    async def metrics(request: web.Request) -> web.StreamResponse:
        return await _send(request, _newest(latest).metrics, METRICS_TYPE)

    async def snapshot(request: web.Request) -> web.StreamResponse:
        newest = _newest(latest)
        if "by" not in request.query:
            more = {} if pair is None else {PAIR: pair().encode("ascii", "replace").decode()}
            return await _send(request, newest.json, "application/json", more)
        by = _labels(request.query["by"], newest.snapshot.labels)
        return web.Response(body=await asyncio.to_thread(_rolled_up, newest, by), content_type="application/json")

    async def feedback(request: web.Request) -> web.StreamResponse:
        newest = _newest(latest)
        name = _service(request, newest)
        return await _send(request, await asyncio.to_thread(_answers, newest, name), "application/json")

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/api/v1/snapshot", snapshot),
            web.get("/api/v1/feedback", feedback),
        ]
    )
    add_health(app, alive, ready, remarks)
    Page(latest, ready, links, pair).add_to(app)
    if past is not None:
        PastRoutes(latest, past).add_to(app)
    return app


def add_health(app: web.Application, alive: Problems, ready: Problems, remarks: Problems = list) -> None:
    """Add /healthz and /readyz, with the arguments of application()."""

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(ready(), remarks())

    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])


def _newest(latest: Latest) -> PublishedTick:
    if latest.value is None:
        raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in some seconds\n")
    return latest.value


def _labels(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of a comma-separated list, in the order of the known ones; status 400 if one is unknown."""
    wanted = {name for part in text.split(",") if (name := part.strip())}
    if unknown := sorted(wanted.difference(known)):
        expected = f"labels out of {', '.join(known)}" if known else "none, as groups have no labels"
        reason = f"by is {text!r}, expected {expected}, separated by commas, or nothing for sums over all groups"
        raise web.HTTPBadRequest(text=f"unknown label {', '.join(unknown)}: {reason}\n")
    return tuple(name for name in known if name in wanted)


def _service(request: web.Request, newest: PublishedTick) -> str:
    """The name of the requested service; status 400 if there is none."""
    known = [each.service.name for each in newest.snapshot.services]
    name = request.query.get("service")
    if name not in known:
        found = "service is missing" if name is None else f"there is no service {name!r}"
        raise web.HTTPBadRequest(text=f"{found}, expected service= one of {', '.join(known)}\n")
    return name


def _answers(newest: PublishedTick, service: str) -> Body:
    """The answers of the users of this service, as JSON. Runs in a thread."""
    return Body(answers_json(newest.snapshot, service), CompressionDemand())


def _rolled_up(newest: PublishedTick, by: tuple[str, ...]) -> bytes:
    """The snapshot with sums over all labels but these, as JSON. Runs in a thread."""
    return b"".join(snapshot_json(*rolled_up(newest.snapshot, newest.detections, by)))


async def _send(
    request: web.Request, body: Body, content_type: str, more: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    """Send the content, compressed if the request accepts gzip. In pieces: a single one would be copied.

    more  further headers
    """
    pieces, headers = body.pieces, {"Content-Type": content_type, "Vary": "Accept-Encoding", **more}
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
