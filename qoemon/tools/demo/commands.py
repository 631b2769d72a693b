"""The command `qoemon demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from qoemon.tools.command import exit_on_errors
from qoemon.tools.options import For, Seed


def demo(
    for_s: For = None,
    sessions: Annotated[int, typer.Option(min=4, help="Concurrent simulated sessions.")] = 800,
    seed: Seed = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port; 0 selects a free one.")] = 0,
) -> None:
    """Run a broker, simulated users and the daemon, all here."""
    # ruff: noqa: PLC0415 - not for --help
    import asyncio

    from rich.console import Console

    from qoemon.common.logs import log_to_stderr
    from qoemon.daemon.daemon import ListenError
    from qoemon.state.directory import StateError
    from qoemon.tools.cache import MissingError
    from qoemon.tools.demo.broker import BrokerError
    from qoemon.tools.demo.demo import demo as run_demo
    from qoemon.tools.simulate.load import LoadError

    log_to_stderr("WARNING")
    with exit_on_errors(failed=(BrokerError, ListenError, LoadError, MissingError, StateError)):
        console = Console(highlight=False)
        asyncio.run(run_demo(console, for_s=for_s, sessions=sessions, seed=seed, http_port=port))
