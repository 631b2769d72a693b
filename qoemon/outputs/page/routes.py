"""HTTP routes of the page and its API. Responses are computed in a thread, from immutable data, without locks."""

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
from qoemon.outputs.page.links import Links
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import Query, QueryError, names_service, parse_group
from qoemon.outputs.page.sums import with_sums
from qoemon.outputs.published import PublishedTick

MOST_STREAMS = 100
"""Open event streams, one per page; each costs a connection and a task."""

HEARTBEAT_S = 15.0
"""Interval of keep-alive comments on a stream, so that no proxy closes it as idle."""

RETRY_MS = 2000
"""Delay before a browser reconnects a broken stream."""

_WRITE_S = 30.0
"""Timeout of a write: a browser that reads nothing for so long is disconnected."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every response: whatever a label contains, a browser runs and loads only files of this package.

blob: are images that the page itself made: plotly draws a chart as one, to save it as a picture.
"""

STATIC = Path(__file__).parent / "static"

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Fixed here, since the system's list may differ: a browser rejects a module of another type."""

NO_PLOTLY = "charts need plotly: in the environment of the daemon, pip install 'qoemon[ui]'\n"


class Page:
    """The handlers.

    latest  the newest tick
    ready   reasons why the numbers are not reliable
    links   to other tools, on each alert and group
    pair    which daemon of a pair this is; None without another one
    """

    def __init__(
        self, latest: Latest, ready: Callable[[], list[str]], links: Links, pair: Callable[[], str] | None = None
    ) -> None:
        self._latest, self._ready, self._links, self._pair = latest, ready, links, pair
        self._streams: set[asyncio.Task[None]] = set()
        self._curves, self._plotly = Curves(), _Plotly()
        self._files = {file.name: file for file in STATIC.iterdir() if file.suffix in _TYPES}

    def add_to(self, app: web.Application) -> None:
        """Add the routes. Streams are closed at shutdown, which would otherwise wait for them."""
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
        """The page, without data."""
        return _file(self._files["index.html"])

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Scripts and style sheets."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _file(file)

    async def plotly(self, request: web.Request) -> web.StreamResponse:
        """The chart library from its own package; 404 with what to install if that is missing."""
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
        """The table's rows and the summary, see overview(), and `pair`; 400 with the reason for an invalid query.

        With the group of the query as `detail`, so that all figures of the page are of one tick; null without one,
        or if it is unknown.
        """
        newest = self._newest_or_503()
        with _bad_request():
            query = Query.parse(request.query)
            problems, pair = self._ready(), None if self._pair is None else self._pair()
            return await _json(lambda: self._overview(newest, request, query, problems) | {"pair": pair})

    async def group(self, request: web.Request) -> web.Response:
        """All data of one group, or of one sum of groups, see detail(); 404 if it is unknown."""
        newest = self._newest_or_503()
        with _bad_request():
            query = Query.parse(request.query)
            return await _json(lambda: self._detail(with_sums(newest, query.by), request, query))

    def _overview(
        self, newest: PublishedTick, request: web.Request, query: Query, problems: list[str]
    ) -> dict[str, object]:
        named = names_service(request.query, newest.snapshot)
        shown = with_sums(newest, query.by)
        selected = self._detail(shown, request, query) if named else None
        return overview(newest, query, problems, self._links, shown) | {"detail": selected}

    def _detail(self, newest: PublishedTick, request: web.Request, query: Query) -> dict[str, object] | None:
        service, labels = parse_group(request.query, newest.snapshot)
        return detail(newest, service, labels, query, self._curves, self._links)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the newest tick at once, then each tick. They carry times only, no data."""
        if len(self._streams) >= MOST_STREAMS:
            text = f"{MOST_STREAMS} pages are open, which is the limit: close some\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "10"})
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # A buffering proxy would delay live data.
            }
        )
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"  # noqa: S101 - there is no other way to get here
        self._streams.add(task)
        try:
            await response.prepare(request)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._send_ticks(response)
        finally:
            self._streams.discard(task)
        return response

    async def _send_ticks(self, response: web.StreamResponse) -> None:
        """Send events until the browser disconnects or the daemon stops."""
        await _write(response, f"retry: {RETRY_MS}\n\n")
        sent: PublishedTick | None = None
        while True:
            newest = self._latest.value
            if newest is not None and newest is not sent:
                await _write(response, _event(newest))
                sent = newest
            else:
                await _write(response, ": keep-alive\n\n")
            await self._next_tick(sent)

    async def _next_tick(self, sent: PublishedTick | None) -> None:
        """Wait for a tick newer than this, at most for a heartbeat."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                await self._latest.newer_than(sent)

    async def _end_streams(self, _: web.Application) -> None:
        streams = tuple(self._streams)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    def _newest_or_503(self) -> PublishedTick:
        newest = self._latest.value
        if newest is None:
            raise web.HTTPServiceUnavailable(text="no tick has passed yet: try again in a few seconds\n")
        return newest


class _Plotly:
    """The bundle in the installed plotly package, located without importing it, which would take a second."""

    @cached_property
    def path(self) -> Path | None:
        """The bundle's path; None without the extra."""
        spec = importlib.util.find_spec("plotly")
        for directory in (spec and spec.submodule_search_locations) or ():
            path = Path(directory) / "package_data" / "plotly.min.js"
            if path.is_file():
                return path
        return None

    @cached_property
    def packed(self) -> tuple[bytes, str]:
        """The bundle, compressed to a third, and its ETag."""
        assert self.path is not None, "only called if plotly is installed"  # noqa: S101
        packed = gzip.compress(self.path.read_bytes(), 6, mtime=0)
        return packed, hashlib.sha256(packed).hexdigest()[:32]


async def _with_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


@contextlib.contextmanager
def _bad_request() -> Iterator[None]:
    """Turn a QueryError into status 400."""
    try:
        yield
    except QueryError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None


async def _json(make: Callable[[], dict[str, object] | None]) -> web.Response:
    """Call `make` in a thread and respond with its result as JSON; 404 if that is None."""
    body = await asyncio.to_thread(lambda: None if (made := make()) is None else msgspec.json.encode(made))
    if body is None:
        raise web.HTTPNotFound(text="unknown group: it has sent no report since the daemon started\n")
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


def _file(path: Path) -> web.FileResponse:
    """A file that browsers may cache but must revalidate."""
    headers = {"Cache-Control": "no-cache", "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8"}
    return web.FileResponse(path, headers=headers)


def _event(newest: PublishedTick) -> str:
    # With the daemon's time: the browser's clock may differ, and the age of the data must not depend on it.
    data = {"time_s": newest.snapshot.time_s, "tick_s": newest.past.tick_s, "now_s": time.time()}
    return f"id: {newest.snapshot.time_s}\nevent: tick\ndata: {msgspec.json.encode(data).decode()}\n\n"


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(_WRITE_S):
        await response.write(text.encode())
