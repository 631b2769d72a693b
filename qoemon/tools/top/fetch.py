"""Fetches the snapshot of a daemon over HTTP."""

from __future__ import annotations

import os
import time
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec
from yarl import URL

from qoemon.common import duration
from qoemon.common.text import SHORT, printable
from qoemon.outputs.pair.header import PAIR
from qoemon.tools.top.options import URL_DEFAULT
from qoemon.tools.top.query import QueryError
from qoemon.tools.top.snapshot import Answer, Snapshot, windows_of

PATH = "/api/v1/snapshot"

ANSWER_S = 5.0
"""Timeout of a request."""

_MOST_BYTES = 64 * 2**20
"""Limit of an answer: snapshots of thousands of groups are some MiB."""


class AnswerError(Exception):
    """The daemon returns no snapshot; the message says why."""


def address_of(url: str) -> URL:
    """Address of the snapshot, given that or the daemon's address; QueryError if url is neither."""
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if address.scheme not in {"http", "https"} or not address.host:
        raise QueryError(f"{url!r} is not the address of a daemon; expected one such as {URL_DEFAULT}")
    return address if address.path.endswith(PATH) else address / PATH.removeprefix("/")


async def fetch(client: aiohttp.ClientSession, address: URL) -> Answer:
    """Fetch the newest snapshot; AnswerError if there is none, QueryError if the daemon rejects the query."""
    try:
        async with client.get(address) as answer:
            body = await _body(answer)
            if answer.status != 200:
                text = body.decode(errors="replace").strip()
                if answer.status == 400:
                    raise QueryError(printable(text, 4 * SHORT))
                raise AnswerError(f"status {answer.status}, {printable(text, SHORT)}")
            date, pair = answer.headers.get("Date", ""), answer.headers.get(PAIR, "")
    except aiohttp.ClientConnectorError as error:
        raise AnswerError(_reason(error.os_error)) from None
    except TimeoutError:
        raise AnswerError(f"no answer within {ANSWER_S:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise AnswerError(printable(str(error), SHORT) or type(error).__name__) from None
    return _decoded(body, date, pair)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise AnswerError(f"the answer has more than {_MOST_BYTES:,} bytes, which is no snapshot")
    return bytes(body)


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


def _reason(error: OSError) -> str:
    """Reason of a failed connection, as the system words it; asyncio's text only repeats the address."""
    number = error.errno or 0
    # Errors of the name resolution have negative numbers and their own texts.
    return (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
