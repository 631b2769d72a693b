"""Fetches the snapshot of a daemon over HTTP."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from qoemon.common import duration
from qoemon.common.text import SHORT, printable
from qoemon.outputs.pair.header import PAIR
from qoemon.tools.fetch import AnswerError, get
from qoemon.tools.top.snapshot import Answer, Snapshot, windows_of

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

PATH = "/api/v1/snapshot"


async def fetch(client: aiohttp.ClientSession, address: URL) -> Answer:
    """Fetch the newest snapshot; AnswerError if there is none, QueryError if the daemon rejects the query."""
    body, headers = await get(client, address)
    return _decoded(body, headers.get("Date", ""), headers.get(PAIR, ""))


def _decoded(body: bytes, date: str, pair: str) -> Answer:
    try:
        raw = msgspec.json.decode(body)
        snapshot = msgspec.convert(raw, Snapshot)
        for window in windows_of(snapshot):
            duration.seconds(window)
    except (msgspec.DecodeError, ValueError) as error:
        raise AnswerError(f"the answer is no snapshot of qoemon: {printable(str(error), SHORT)}") from None
    return Answer(snapshot, raw, _daemon_time_s(date), printable(pair, 4 * SHORT))


def _daemon_time_s(date: str) -> float:
    """The daemon's time, seconds since the epoch: its age of data must not depend on our clock."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return time.time()
