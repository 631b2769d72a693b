"""The command `qoemon top`."""

from __future__ import annotations

from typing import Annotated

import typer

from qoemon.tools.command import exit_on_errors
from qoemon.tools.options import URL_DEFAULT, seconds
from qoemon.tools.top.options import SortBy


def top(
    url: Annotated[str, typer.Argument(help="URL of the daemon or of its snapshot.")] = URL_DEFAULT,
    sort: Annotated[SortBy, typer.Option(help="Sort key, worst first.")] = "pow",
    service: Annotated[str | None, typer.Option(help="Show only this service.", show_default="all")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="LABEL=VALUE",
            help="Show only groups with this label value; repeatable.",
            show_default="all groups",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS",
            help='Show sums over all labels but these, such as "region,cdn"; "": whole services.',
            show_default="each group",
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION", parser=seconds, help="Window to show, e.g. 5m.", show_default="the shortest"
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one table and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the groups as JSON and exit.")] = False,
) -> None:
    """Show a daemon's groups live in the terminal, worst first."""
    # ruff: noqa: PLC0415 - not for --help
    import asyncio
    import sys

    from rich.console import Console

    from qoemon.tools.fetch import AnswerError, QueryError
    from qoemon.tools.top.query import Query, labels_of, wanted
    from qoemon.tools.top.top import top as run_top

    with exit_on_errors(usage=(QueryError,), failed=(AnswerError,)):
        labels = wanted(filters or [])
        query = Query(window_s=window, sort=sort, service=service, labels=labels, by=labels_of(by))
        # Not what rich takes for a terminal: FORCE_COLOR makes that of a pipe, too. A closed stream is None.
        attended = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
        shown = run_top(Console(highlight=False), url, query, once=once, as_json=as_json, attended=attended)
        asyncio.run(shown)
