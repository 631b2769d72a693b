"""The demo of the players: what it needs, what it serves, and what one sees when segments are held back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from qoemon import cli
from tests.support.parts import ROOT, get
from tests.support.patience import WAIT_S
from tests.support.viewing import chromium, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Page


class Demo:
    """A demo that runs; the addresses of its page and of its daemon."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        found: dict[str, str] = {}
        self.process, self.opening = process, ""
        for line in process.stdout:
            self.opening += line
            found |= dict(re.findall(r"^(players|page)\s+(http://\S+)", line))
            if "Ctrl-C" in line:
                break
        self.page, self.daemon = found["players"], found["page"]

    @property
    def port(self) -> int:
        """Of its page."""
        return int(self.page.rstrip("/").rpartition(":")[2])


@contextlib.contextmanager
def demo(*arguments: str) -> Iterator[Demo]:
    """As a user starts it; killed if the test did not end it."""
    prepare()
    command = [sys.executable, "-m", "qoemon", "demo-players", *arguments]
    environment = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield Demo(process)
        finally:
            process.kill()


@pytest.mark.players
def test_it_serves_the_players_and_the_stream_and_ends_by_itself() -> None:
    with demo("--for", "3s") as running:
        assert get(running.port, "/").status == 200
        assert "CMCD" in get(running.port, "/players/hls.js").body
        assert "chunk-stream0-00001.m4s" in get(running.port, "/media/hls.js/media_0.m3u8").body
        for path in ("/media/hls.js/..%2f..%2fetc%2fpasswd", "/static/%2e%2e%2fdemo.py", "/media/hls.js/nothing"):
            assert get(running.port, path).status == 404
        assert running.process.wait(WAIT_S) == 0


@pytest.mark.players
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_interrupted_also_while_segments_are_held_back(number: signal.Signals) -> None:
    with demo() as running:
        with (
            contextlib.closing(HTTPConnection("127.0.0.1", running.port, timeout=WAIT_S)) as switch,
            contextlib.closing(HTTPConnection("127.0.0.1", running.port, timeout=1)) as held,
        ):
            switch.request("POST", "/hold/hls.js")
            assert switch.getresponse().status == 204
            held.request("GET", "/media/hls.js/chunk-stream0-00001.m4s")
            with pytest.raises(TimeoutError):
                held.getresponse()
        running.process.send_signal(number)
        assert running.process.wait(WAIT_S) in {0, 130}
        assert running.process.stdout is not None
        assert "Traceback" not in running.process.stdout.read()


@pytest.mark.players
@pytest.mark.chromium
def test_a_viewer_whose_segments_are_held_back_sees_the_own_viewing_rated_worse(tmp_path: Path) -> None:
    async def watch(page: Page, address: str) -> None:
        page.set_default_timeout(1000 * WAIT_S)
        await page.goto(address)
        for name in ("hlsjs", "dashjs"):
            await page.wait_for_function(f"document.querySelector('#{name} .pow').textContent === '0 %'")
        await page.locator("#hlsjs .hold").click()
        await page.wait_for_function("parseInt(document.querySelector('#hlsjs .pow').textContent) > 50")
        assert "stalled" in await page.locator("#hlsjs .state").inner_text()
        assert await page.locator("#dashjs .pow").inner_text() == "0 %"
        await page.locator("#hlsjs .hold").click()
        await page.wait_for_function("document.querySelector('#hlsjs .state').textContent === '● playing'")
        assert await page.locator("#hlsjs .stalls").inner_text() == "1"
        await page.wait_for_function("document.querySelector('#hlsjs .pow').textContent === '0 %'")

    async def watched(address: str) -> None:
        async with chromium(tmp_path) as browser:
            page = await browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            await watch(page, address)
            assert errors == []

    with demo() as running:
        asyncio.run(watched(running.page))


def test_without_ffmpeg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(cli.app, ["demo-players", "--for", "1s"])
    assert done.exit_code == 1
    assert "ffmpeg is not installed, which makes the test stream: apt-get install ffmpeg" in done.stderr
