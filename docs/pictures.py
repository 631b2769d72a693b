"""Take the screenshots of the documentation from running demos: `make pictures` (five minutes).

They show the live page in Chromium, light and dark, `qoemon top`, and what `qoemon demo-players` shows while a
player stalls. Figures and times differ from run to run, so no test compares them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import aiohttp
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI

from qoemon.tools.fetch import AnswerError, address_of
from qoemon.tools.top.fetch import PATH, fetch
from qoemon.tools.top.query import Query, Row
from qoemon.tools.top.screen import Screen
from qoemon.tools.top.snapshot import Alert

FOLDER = Path(__file__).parent / "pictures"

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = {theme: f"page-{theme}.png" for theme in THEMES}
TOP = "top.svg"
PLAYERS, THEIR_RATINGS = "players.png", "players-daemon.png"
PICTURES = (*PAGES.values(), TOP, PLAYERS, THEIR_RATINGS)
"""File names in FOLDER."""

_DEMO_S = 300
"""Long enough for the change detector to learn the usual level before the degradation begins."""

_WIDTH = 1280
"""Width of the page, pixels."""

_MOST_POOR = 0.7
"""Pictures are taken just after the outage, when less than this share would rate poor: users differ most then."""

_COLUMNS = 110
"""Width of the terminal, characters."""


def main() -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is needed for the live page and is not installed: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    with _demo("demo", "page") as url:
        (FOLDER / TOP).write_text(_terminal(asyncio.run(_watched(url))))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            for theme, name in PAGES.items():
                _save(_page(browser, url, theme), FOLDER / name)
            browser.close()
    _take_players(chromium)
    for name in PICTURES:
        sys.stdout.write(f"{FOLDER / name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB\n")


@contextlib.contextmanager
def _demo(command: str, page: str) -> Iterator[str]:
    """Run a demo; yields the address of the page that its opening calls so."""
    program = [sys.executable, "-u", "-m", "qoemon", command, "--for", f"{_DEMO_S}s"]
    with subprocess.Popen(program, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - for mypy
        try:
            matches = (re.search(rf"^{page}\s+(http://\S+)", line) for line in process.stdout)
            url = next(match[1] for match in matches if match)
            threading.Thread(target=process.stdout.read, daemon=True).start()  # A full pipe would stop it.
            yield url
        finally:
            process.send_signal(signal.SIGINT)


def _take_players(chromium: str) -> None:
    """Pictures of the demo of the players while one of them stalls: its page, and that of the daemon."""
    with _demo("demo-players", "players") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 600}, color_scheme="light")
        page.goto(url)
        # Some history first, in which both play.
        page.wait_for_function(
            "['hlsjs', 'dashjs'].every((id) => document.querySelector(`#${id} video`).currentTime > 25)"
        )
        page.locator("#hlsjs .hold").click()
        page.wait_for_function("parseInt(document.querySelector('#hlsjs .pow').textContent) >= 70")
        _save(page.screenshot(full_page=True), FOLDER / PLAYERS)
        daemon = page.locator("#daemon").get_attribute("href") or ""
        _save(_page(browser, daemon, "light"), FOLDER / THEIR_RATINGS)
        browser.close()


async def _watched(url: str) -> Screen:
    """Terminal view at the moment of the pictures, with all earlier ticks; TimeoutError if it never comes."""
    address = address_of(url, PATH)
    screen, query = Screen(address, Query()), Query()
    async with asyncio.timeout(_DEMO_S), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(AnswerError):  # Before the first tick there is no answer.
                answer = await fetch(client, address)
                screen.take(answer)
                if _is_worth_a_picture(query.rows(answer), answer.snapshot.alerts):
                    return screen
            await asyncio.sleep(1)


def _is_worth_a_picture(rows: list[Row], alerts: list[Alert]) -> bool:
    """Whether an alert fires, every group has data, and some users of a group in trouble still rate well."""
    bad = [row.estimate for row in rows if row.group.state and row.group.state.state in {"alert", "bad"}]
    mixed = any(each and each.pow is not None and each.pow < _MOST_POOR for each in bad)
    return mixed and all(row.estimate for row in rows) and any(alert.state == "firing" for alert in alerts)


def _page(browser: Browser, url: str, theme: Literal["light", "dark"]) -> bytes:
    """Screenshot from the top to the end of the first row of charts, PNG."""
    context = browser.new_context(viewport={"width": _WIDTH, "height": 2000}, color_scheme=theme)
    page = context.new_page()
    page.goto(url)
    page.locator("#charts .main-svg").nth(9).wait_for(state="attached")  # Five charts of two layers each.
    height = page.evaluate("document.querySelector('#charts figure').getBoundingClientRect().bottom")
    picture = page.screenshot(clip={"x": 0, "y": 0, "width": _WIDTH, "height": height})
    context.close()
    return picture


def _save(picture: bytes, path: Path) -> None:
    """Save with a palette: the page has few colours, and the file is a third as large."""
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def _terminal(screen: Screen) -> str:
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(screen.drawn(_COLUMNS, None))
    svg = console.export_svg(title="qoemon top", theme=MONOKAI, unique_id="top")
    # Rich would make the browser load a font from another host; any monospaced font will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
