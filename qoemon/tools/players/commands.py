"""The command `qoemon demo-players`."""

from __future__ import annotations

from typing import Annotated

import typer

from qoemon.tools.command import exit_on_errors
from qoemon.tools.options import For


def demo_players(
    for_s: For = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port of the page; 0 selects a free one.")] = 0,
) -> None:
    """Play a test stream in hls.js and dash.js, and rate it.

    Runs the daemon, and serves a page whose players report to it by CMCD. At the first time, the players are
    fetched from the npm registry, and ffmpeg makes the stream; both are kept in ~/.cache/qoemon.
    """
    # ruff: noqa: PLC0415 - not for --help
    import asyncio

    from rich.console import Console

    from qoemon.common.logs import log_to_stderr
    from qoemon.daemon.daemon import ListenError
    from qoemon.state.directory import StateError
    from qoemon.tools.cache import MissingError
    from qoemon.tools.players.demo import demo_players as run_demo

    log_to_stderr("WARNING")
    with exit_on_errors(failed=(ListenError, MissingError, StateError)):
        asyncio.run(run_demo(Console(highlight=False), for_s=for_s, page_port=port))
