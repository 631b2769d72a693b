"""Runs the demo of the players: the daemon with a collector, and a page whose players report to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from qoemon.common import duration
from qoemon.common.signals import cancelled_by_signals
from qoemon.config.config import Config
from qoemon.daemon.daemon import Daemon, ListenError, running
from qoemon.outputs.page.routes import STATIC as PAGE
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.tools.players.origin import STATIC, Origin
from qoemon.tools.players.packages import PLAYERS, script
from qoemon.tools.players.stream import stream
from qoemon.tools.ports import unused_port

SHOWN = ("hls.js", "dash.js")
"""Of PLAYERS, those on the page."""

FILES = {"/": STATIC / "demo.html", "/style.css": PAGE / "style.css", "/icon.svg": PAGE / "icon.svg"}

AHEAD_S = 4
"""Media that the players load ahead: a stall begins soon after the segments are held back."""

_HEARTBEAT_S = 2
_WINDOW = "10s"
_PATH = "/cmcd/v1/video"


# It never fires for one viewer: the threshold is within the confidence interval, and the page says so.
_ALERT = {
    "name": "PoorViewing",
    "threshold": 0.15,
    "recovery": 0.1,
    "for": "1s",
    "min_sessions": 1,
    "severity": "page",
    "annotations": {"summary": "{pow:.0%} of users in the condition of {player} would rate poor or worse"},
}


async def demo_players(console: Console, *, for_s: float | None, page_port: int) -> None:
    """Run until for_s has passed or a signal arrives.

    page_port  0 for a free one
    raises     MissingError if a player or the stream cannot be had; ListenError if a port cannot be used
    """
    with cancelled_by_signals():
        console.print(
            "Preparing the players (npm registry) and the test stream (ffmpeg); quick after the first time"
        )
        folder, scripts = await asyncio.to_thread(_prepared)
        async with running(settings := config(unused_port())) as daemon:
            origin = Origin(folder, FILES | scripts, partial(_settings, daemon, settings), page_port)
            async with _served(origin, page_port) as page:
                console.print(_opening(page, daemon, settings), soft_wrap=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(for_s):
                        await asyncio.Future()


def config(collector_port: int) -> Config:
    """A configuration in which one viewer suffices, with short intervals."""
    return Config.model_validate(
        {
            "mqtt": None,
            "collector": {
                "port": collector_port,
                "paths": [{"template": f"{_PATH}/{{player}}", "service": "video"}],
                "heartbeat": f"{_HEARTBEAT_S}s",
                "reorder": "1s",
            },
            "services": {"video": {"mapping": "video-stall", "theta": 0.3, "slo": 0.9}},
            "sessions": {"tick": "1s", "rating_interval": _WINDOW, "timeout": "60s", "min_active": "2s"},
            "windows": [_WINDOW, "1m"],
            "regimes": {"min_sessions": 1},
            "alerts": [_ALERT],
            "http": {"port": 0},
        }
    )


def _prepared() -> tuple[Path, dict[str, Path]]:
    """The folder of the test stream, and the players' scripts by path."""
    return stream(), {f"/players/{name}": script(PLAYERS[name]) for name in SHOWN}


def _settings(daemon: Daemon, config: Config) -> dict[str, Any]:
    """What the page reads: addresses, settings of the players, and the newest rating of each."""
    return {
        "daemon": f"{daemon.url}/",
        "collector": collector_url(config),
        "players": SHOWN,
        "ahead": AHEAD_S,
        "interval": _HEARTBEAT_S,
        "window": duration.text(config.sessions.rating_interval_s),
        "ratings": ratings(daemon),
    }


def collector_url(config: Config) -> str:
    """The URL to which players report, without the label."""
    assert config.collector is not None, "set above"  # noqa: S101 - for mypy
    return f"http://127.0.0.1:{config.collector.port}{_PATH}"


def ratings(daemon: Daemon) -> dict[str, dict[str, float]]:
    """PoW and MOS of each player in the shortest window; without those that have no rating yet."""
    newest = daemon.latest.value
    if newest is None:
        return {}
    document = snapshot_document(newest.snapshot, newest.detections)
    return {
        group["labels"]["player"]: {"pow": estimate["pow"], "mos": estimate["mos"]}
        for service in document["services"]
        for group in service["groups"]
        if (estimate := group["windows"].get(_WINDOW)) is not None
    }


@contextlib.asynccontextmanager
async def _served(origin: Origin, port: int) -> AsyncIterator[str]:
    async with contextlib.AsyncExitStack() as ends:
        try:
            page = await ends.enter_async_context(origin.serving())
        except OSError as error:
            raise ListenError(f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}") from None
        yield page


def _opening(page: str, daemon: Daemon, config: Config) -> Group:
    return Group(
        Text(f"players   {page}/  (open it in a browser)", style="bold"),
        Text(f"page      {daemon.url}/"),
        Text(f"reports   {collector_url(config)}/PLAYER"),
        Text("Hold segments back on the page of the players, and see PoW rise on both pages."),
        Text("Press Ctrl-C to stop.\n"),
    )
