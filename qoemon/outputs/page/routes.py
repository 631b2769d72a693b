"""The page and its API. What is computed is computed off the event loop, from frozen things, and nobody locks."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import msgspec
from aiohttp import ETag, web

from qoemon.outputs.latest import Latest
from qoemon.outputs.page.curves import Curves
from qoemon.outputs.page.detail import detail
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import Query, QueryError, group_asked
from qoemon.outputs.published import PublishedTick

MOST_STREAMS = 100
"""Open pages that are told of ticks; each costs a connection and a task."""

HEARTBEAT_S = 15.0
"""A stream says that often that it is alive, so that nobody in between takes it for dead."""

RETRY_MS = 2000
"""After that time a browser whose stream broke asks again."""

_WRITE_S = 30.0
"""A browser that takes nothing for so long is gone."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer: whatever a label holds, a browser runs and loads only what this package brings."""

STATIC = Path(__file__).parent / "static"

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Not left to the system's list: a browser refuses a module of another type."""

NO_PLOTLY = "the charts need plotly: pip install 'qoemon[ui]'\n"


class Page:
    """The handlers.

    latest  the newest tick
    ready   problems of the figures, in words
    """

    def __init__(self, latest: Latest, ready: Callable[[], list[str]]) -> None:
        self._latest, self._ready = latest, ready
        self._streams: set[asyncio.Task[None]] = set()
        self._curves, self._plotly = Curves(), _Plotly()
        self._files = {file.name: file for file in STATIC.iterdir() if file.suffix in _TYPES}

    def add_to(self, app: web.Application) -> None:
        """Add the routes; streams end when the application shuts down, or it would wait for them."""
        app.add_routes(
            [
                web.get("/", self.index),
                web.get("/static/plotly.min.js", self.plotly),
                web.get("/static/{name}", self.static),
                web.get("/api/v1/stream", self.stream),
                web.get("/api/v1/groups", self.groups),
                web.get("/api/v1/group", self.group),
            ]
        )
        app.on_response_prepare.append(_with_headers)
        app.on_shutdown.append(self._end_streams)

    async def index(self, _: web.Request) -> web.StreamResponse:
        """The page itself; it holds no data."""
        return _file(self._files["index.html"])

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Scripts and style."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _file(file)

    async def plotly(self, request: web.Request) -> web.StreamResponse:
        """The chart library from its own package; 404 with what to install where that is missing."""
        if self._plotly.path is None:
            raise web.HTTPNotFound(text=NO_PLOTLY)
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return _file(self._plotly.path)
        packed, tag = await asyncio.to_thread(lambda: self._plotly.packed)
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if any(known.value == tag for known in request.if_none_match or ()):
            answer = web.Response(status=304, headers=headers)
        else:
            headers |= {"Content-Encoding": "gzip"}
            answer = web.Response(body=packed, content_type=_TYPES[".js"], headers=headers)
        answer.etag = ETag(value=tag)
        return answer

    async def groups(self, request: web.Request) -> web.Response:
        """The table's rows and the summary, see overview(); 400 with a reason for a wrong question."""
        newest = self._there()
        with _told_as_bad_request():
            query = Query.parse(request.query)
            problems = self._ready()
            return await _json(lambda: overview(newest, query, problems))

    async def group(self, request: web.Request) -> web.Response:
        """One group in full, see detail(); 404 if it is not known."""
        newest = self._there()
        with _told_as_bad_request():
            query = Query.parse(request.query)
            service, labels = group_asked(request.query, newest.snapshot)
            return await _json(lambda: detail(newest, service, labels, query, self._curves))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: one a tick, the newest at once. It holds only what tells the page to ask."""
        if len(self._streams) >= MOST_STREAMS:
            text = f"{MOST_STREAMS} pages are open already, which is the limit: close some\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "10"})
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # A proxy that collects would make live data late.
            }
        )
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"  # noqa: S101 - there is no other way to get here
        self._streams.add(task)
        try:
            await response.prepare(request)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._tell(response)
        finally:
            self._streams.discard(task)
        return response

    async def _tell(self, response: web.StreamResponse) -> None:
        """Until the browser goes away, or the daemon."""
        await _write(response, f"retry: {RETRY_MS}\n\n")
        told: PublishedTick | None = None
        while True:
            newest = self._latest.value
            if newest is not None and newest is not told:
                await _write(response, _event(newest))
                told = newest
            else:
                await _write(response, ": still here\n\n")
            await self._next_tick(told)

    async def _next_tick(self, told: PublishedTick | None) -> None:
        """Wait until there is another tick than this, but not longer than a heartbeat."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                await self._latest.newer_than(told)

    async def _end_streams(self, _: web.Application) -> None:
        streams = tuple(self._streams)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    def _there(self) -> PublishedTick:
        newest = self._latest.value
        if newest is None:
            raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in some seconds\n")
        return newest


class _Plotly:
    """The bundle in the installed plotly package, which is found but not imported: that would cost a second."""

    @cached_property
    def path(self) -> Path | None:
        """Where it is; None without the extra."""
        spec = importlib.util.find_spec("plotly")
        for place in (spec and spec.submodule_search_locations) or ():
            path = Path(place) / "package_data" / "plotly.min.js"
            if path.is_file():
                return path
        return None

    @cached_property
    def packed(self) -> tuple[bytes, str]:
        """The bundle, compressed to a third, and its tag."""
        assert self.path is not None, "asked for where it is installed"  # noqa: S101
        packed = gzip.compress(self.path.read_bytes(), 6, mtime=0)
        return packed, hashlib.sha256(packed).hexdigest()[:32]


async def _with_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


@contextlib.contextmanager
def _told_as_bad_request() -> Iterator[None]:
    try:
        yield
    except QueryError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None


async def _json(make: Callable[[], dict[str, object] | None]) -> web.Response:
    """What is made, in a thread, as JSON; 404 if it is None."""
    body = await asyncio.to_thread(lambda: None if (made := make()) is None else msgspec.json.encode(made))
    if body is None:
        raise web.HTTPNotFound(text="no such group has been seen since the daemon was started\n")
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


def _file(path: Path) -> web.FileResponse:
    """A file that browsers may keep, but have to ask about."""
    headers = {"Cache-Control": "no-cache", "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8"}
    return web.FileResponse(path, headers=headers)


def _event(newest: PublishedTick) -> str:
    # The daemon's clock goes along: the age of data is not a matter of the browser's clock.
    told = {"time_s": newest.snapshot.time_s, "tick_s": newest.past.tick_s, "now_s": time.time()}
    return f"id: {newest.snapshot.time_s}\nevent: tick\ndata: {msgspec.json.encode(told).decode()}\n\n"


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(_WRITE_S):
        await response.write(text.encode())
