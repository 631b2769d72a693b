"""The groups of a daemon, live in a terminal: what its snapshot says, worst first, on this machine or another.

It reads what anyone may read, `/api/v1/snapshot`, and has no part in the daemon. Whatever it shows may have come
from a client's topic, so all of it is text: nothing is markup, nothing is sent to the terminal as it came.
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
from qoemon.tools.top.fetch import ANSWER_S, AnswerError, address_of, fetch
from qoemon.tools.top.query import Query, QueryError
from qoemon.tools.top.screen import Screen
from qoemon.tools.top.snapshot import Answer

POLL_S = 1.0


async def top(console: Console, url: str, query: Query, *, once: bool = False, as_json: bool = False) -> None:
    """Show the groups until a signal comes; once, or as_json, show them once and return.

    raises  QueryError if url is none, or if once or as_json asks for what is not there;
            AnswerError if once or as_json gets no snapshot
    """
    address = address_of(url)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as client:
        if once or as_json:
            try:
                answer = await fetch(client, address)
            except AnswerError as error:
                where = f"no snapshot from {address.with_user(None)}"
                raise AnswerError(f"{where}: {error}; expected a running qoemon there") from None
            _show_once(console, address, query, answer, as_json=as_json)
            return
        with cancelled_by_signals():
            await _watch(console, client, address, query)


def _show_once(console: Console, address: URL, query: Query, answer: Answer, *, as_json: bool) -> None:
    problems = query.problems(answer.snapshot)
    if problems:
        raise QueryError("\n".join(problems))
    if as_json:
        # Every character beyond ASCII is escaped: safe on a terminal, too.
        console.file.write(json.dumps(_as_dict(query, answer), indent=2) + "\n")
        return
    screen = Screen(address, query)
    screen.take(answer)
    console.print(screen.drawn(console.width, None), soft_wrap=True)


def _as_dict(query: Query, answer: Answer) -> dict[str, Any]:
    return {
        "time_s": answer.snapshot.time_s,
        "window": query.window(answer.snapshot),
        "groups": [{"service": row.service, **row.raw} for row in query.rows(answer)],
    }


async def _watch(console: Console, client: aiohttp.ClientSession, address: URL, query: Query) -> None:
    """Draw on a terminal each second, since the age of the data is news as well; elsewhere print what is new."""
    screen = Screen(address, query)
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            if await _polled(screen, client, address):
                console.print(screen.drawn(console.width, None), soft_wrap=True)
            await asyncio.sleep(POLL_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            await _polled(screen, client, address)
            live.update(screen.drawn(console.width, console.height), refresh=True)
            await asyncio.sleep(POLL_S)


async def _polled(screen: Screen, client: aiohttp.ClientSession, address: URL) -> bool:
    """Ask once; whether there is something new: another tick, or the beginning of trouble."""
    try:
        return screen.take(await fetch(client, address))
    except AnswerError as error:
        return screen.miss(str(error))
