"""Viewers in a real Chromium: real players on the test stream, what they report, and what really happened."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pytest

from qoemon.tools.cache import MissingError
from qoemon.tools.players.origin import Origin
from qoemon.tools.players.packages import PLAYERS, script
from qoemon.tools.players.stream import stream
from tests.support.parts import ROOT, missing, program
from tests.support.patience import WAIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from playwright.async_api import Browser, Page

AHEAD_S = 4
"""Media that players load ahead."""

HEARTBEAT_S = 2

SIDE_BY_SIDE = 5
"""Viewers at a time. More of them keep two cores so busy that media which plays does not move."""

HERE = ROOT / "tests/players"


class Truth(NamedTuple):
    """What a viewer lived through, by the events of the element. See tests/players/truth.js."""

    play_s: float
    playing_s: float
    stalls: list[float]
    stalled: bool
    events: list[Any]


@dataclass(frozen=True)
class Viewing:
    """A page with one player; the origin holds back what it holds back by name."""

    name: str
    page: Page
    origin: Origin

    async def played(self, seconds: float) -> None:
        """Wait until so much media has been played since the start."""
        await self.page.wait_for_function(f"window.truth && truth().play_s >= {seconds}", polling=50)

    async def stalled(self, seconds: float) -> None:
        """Hold the segments back until the viewer has waited for so long."""
        self.origin.hold(self.name)
        await self.page.wait_for_function(f"truth().stalled && truth().stalls.at(-1) >= {seconds}", polling=50)

    async def resumed(self) -> None:
        """Let the segments through, and wait until the media moves."""
        self.origin.release(self.name)
        await self.page.wait_for_function("!truth().stalled && !video.seeking && video.readyState > 2", polling=50)

    async def sought(self, position_s: float, held_s: float) -> None:
        """Go to a position that is not loaded, whose segments are late."""
        self.origin.hold(self.name)
        await self.page.evaluate(f"void (video.currentTime = {position_s})")
        await asyncio.sleep(held_s)  # What happens in this time is the test: nothing.
        await self.resumed()

    async def truth(self) -> Truth:
        told = await self.page.evaluate("truth()")
        return Truth(**told)


class Viewer(NamedTuple):
    """A viewer to be.

    kind      of PLAYERS
    reporter  "cmcd": the player itself reports; "player.js": that of the documentation does
    story     what happens to the viewer; then the page is closed
    """

    kind: str
    reporter: str
    story: Callable[[Viewing], Awaitable[None]]


async def lived(browser: Browser, collector: str, viewers: Mapping[str, Viewer]) -> dict[str, Truth]:
    """Let all viewers watch, some side by side; what each of them lived through, by name.

    collector  URL to which players report; the name of the viewer is added
    viewers    by name, which is that of the session
    """
    places = asyncio.Semaphore(SIDE_BY_SIDE)
    async with _origin() as (origin, address):

        async def placed(name: str, viewer: Viewer) -> Truth:
            async with places:
                return await watch(name, viewer)

        async def watch(name: str, viewer: Viewer) -> Truth:
            query = {
                "kind": viewer.kind,
                "reporter": viewer.reporter,
                "media": f"media/{name}",
                "url": f"{collector}/{name}",
                "session": name,
                "ahead": AHEAD_S,
                "interval": HEARTBEAT_S,
            }
            page = await browser.new_page()
            page.set_default_timeout(1000 * WAIT_S)
            marked: list[str] = []
            page.on("request", lambda request: marked.append(request.url) if "CMCD=" in request.url else None)
            await page.goto(f"{address}/view.html?{urlencode(query)}")
            viewing = Viewing(name, page, origin)
            await viewer.story(viewing)
            truth = await viewing.truth()
            assert not marked, f"{name} asks for {marked[0]}: a CDN would cache nothing"
            await page.close()
            origin.release(name)
            return truth

        told = await asyncio.gather(*(placed(name, viewer) for name, viewer in viewers.items()))
        return dict(zip(viewers, told, strict=True))


@contextlib.asynccontextmanager
async def _origin() -> AsyncIterator[tuple[Origin, str]]:
    pages = {"/view.html": HERE / "view.html", "/truth.js": HERE / "truth.js"}
    pages["/player.js"] = ROOT / "docs/examples/player.js"
    players = {f"/players/{kind}": script(package) for kind, package in PLAYERS.items()}
    origin = Origin(stream(), pages | players, dict)
    async with origin.serving() as address:
        yield origin, address


def prepare() -> None:
    """Have the stream and the players; without ffmpeg or the registry as without a program: see parts.program."""
    program("ffmpeg", "Debian package ffmpeg")
    try:
        stream()
        for package in PLAYERS.values():
            script(package)
    except MissingError as error:
        missing(str(error))


@contextlib.asynccontextmanager
async def chromium(home: Path) -> AsyncIterator[Browser]:
    """A headless Chromium that plays without a click."""
    path = program("chromium", "Debian package chromium")
    api = pytest.importorskip("playwright.async_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    arguments += ["--autoplay-policy=no-user-gesture-required"]
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=arguments, env={**os.environ, "HOME": str(home)}
        )
        try:
            yield browser
        finally:
            await browser.close()
