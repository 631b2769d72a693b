"""Shows the groups of a daemon live in a terminal, worst first, from its `/api/v1/snapshot`.

The daemon may run on this machine or another. All that is shown may come from a client's topic, so it is treated as
plain text: never as markup, and never written to the terminal unescaped.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from rich.console import Console
from rich.live import Live
from yarl import URL

from qoemon.common.signals import cancelled_by_signals
from qoemon.tools.fetch import ANSWER_S, AnswerError, QueryError, address_of
from qoemon.tools.top.fetch import PATH, fetch
from qoemon.tools.top.query import Query
from qoemon.tools.top.screen import Screen
from qoemon.tools.top.snapshot import Answer

POLL_S = 1.0


async def top(
    console: Console, url: str, query: Query, *, once: bool = False, as_json: bool = False, attended: bool = True
) -> None:
    """Show the groups until a signal arrives; with once or as_json, show them once and return.

    attended  whether a user at a terminal watches and can end it: a daemon that is away is polled until it is back
    raises    QueryError if url is invalid, if the daemon does not have the labels of query.by, or with once or
              as_json if the snapshot lacks what the query selects;
              AnswerError with once or as_json, or if not attended, if there is no snapshot
    """
    address = query.address(address_of(url, PATH))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as client:
        if once or as_json:
            try:
                answer = await fetch(client, address)
            except AnswerError as error:
                raise _no_snapshot(address, error) from None
            _show_once(console, address, query, answer, as_json=as_json)
            return
        with cancelled_by_signals():
            await _watch(console, client, address, query, attended=attended)


def _no_snapshot(address: URL, error: AnswerError) -> AnswerError:
    return AnswerError(f"no snapshot from {address.with_user(None)}: {error}; expected a running qoemon there")


def _show_once(console: Console, address: URL, query: Query, answer: Answer, *, as_json: bool) -> None:
    problems = query.problems(answer.snapshot)
    if problems:
        raise QueryError("\n".join(problems))
    if as_json:
        # Every character beyond ASCII is escaped, so this is safe on a terminal, too.
        console.file.write(json.dumps(_as_dict(query, answer), indent=2) + "\n")
        return
    screen = Screen(address, query)
    screen.take(answer)
    console.print(screen.drawn(console.width, None), soft_wrap=True)


def _as_dict(query: Query, answer: Answer) -> dict[str, Any]:
    return {
        "time_s": answer.snapshot.time_s,
        "window": query.window(answer.snapshot),
        "where_first": query.where_first(answer.snapshot),
        "groups": [{"service": row.service, **row.raw} for row in query.rows(answer)],
    }


async def _watch(
    console: Console, client: aiohttp.ClientSession, address: URL, query: Query, *, attended: bool
) -> None:
    """Redraw a terminal each second, since the age of the data changes; elsewhere print new data only."""
    screen = Screen(address, query)

    async def poll() -> bool:
        """Poll once; returns whether there is something new: another tick, or the first failure."""
        try:
            return screen.take(await fetch(client, address))
        except AnswerError as error:
            if not attended:
                raise _no_snapshot(address, error) from None
            return screen.fail(str(error))

    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            if await poll():
                console.print(screen.drawn(console.width, None), soft_wrap=True)
            await asyncio.sleep(POLL_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            await poll()
            live.update(screen.drawn(console.width, console.height), refresh=True)
            await asyncio.sleep(POLL_S)
