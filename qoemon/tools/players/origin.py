"""Serves pages, players and the test stream, and holds segments back for those views that are to stall."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from qoemon.tools.players.stream import is_segment

STATIC = Path(__file__).parent / "static"


class Origin:
    """An HTTP server on loopback.

    stream    the folder of the test stream, served to each view under /media/VIEW/
    files     further files by path: pages, and players
    settings  gives what the pages read from /settings.json
    port      0 for a free one
    """

    def __init__(
        self, stream: Path, files: Mapping[str, Path], settings: Callable[[], Mapping[str, Any]], port: int = 0
    ) -> None:
        self._stream, self._files, self._settings, self._port = stream, dict(files), settings, port
        # Of each view: set while its segments flow.
        self._flows: defaultdict[str, asyncio.Event] = defaultdict(_set)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve while the block runs; yields the address. OSError if the port cannot be used."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/media/{view}/{name}", self._media),
                web.post("/hold/{view}", self._switch),
                web.post("/release/{view}", self._switch),
                *(web.get(path, self._file) for path in self._files),
                web.get("/static/{name}", self._static),
                web.get("/settings.json", self._told),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            for view in self._flows:
                self.release(view)
            await runner.cleanup()

    def hold(self, view: str) -> None:
        """Answer no request of this view for a segment from now on, until it is released."""
        self._flows[view].clear()

    def release(self, view: str) -> None:
        """Answer all requests of this view."""
        self._flows[view].set()

    async def _media(self, request: web.Request) -> web.StreamResponse:
        file = _inside(self._stream, request.match_info["name"])
        if is_segment(file.name):
            await self._flows[request.match_info["view"]].wait()
        return _answer(file)

    async def _switch(self, request: web.Request) -> web.StreamResponse:
        act = self.hold if request.path.startswith("/hold/") else self.release
        act(request.match_info["view"])
        return web.Response(status=204)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return _answer(self._files[request.path])

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return _answer(_inside(STATIC, request.match_info["name"]))

    async def _told(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self._settings())


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def _answer(file: Path) -> web.StreamResponse:
    # A cached segment would not wait.
    return web.FileResponse(file, headers={"Cache-Control": "no-store"})


def _inside(folder: Path, name: str) -> Path:
    """The file of this name in the folder itself; HTTPNotFound if there is none. The name is decoded: any text."""
    if "/" in name or not (folder / name).is_file():
        raise web.HTTPNotFound
    return folder / name
