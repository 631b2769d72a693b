"""The snapshot of a daemon, fetched over HTTP; what goes wrong is told in words."""

from __future__ import annotations

import os
import time
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec
from yarl import URL

from qoemon.common import duration
from qoemon.common.text import plain
from qoemon.tools.top.options import URL_DEFAULT
from qoemon.tools.top.query import QueryError
from qoemon.tools.top.snapshot import Answer, Snapshot, windows_of

PATH = "/api/v1/snapshot"

ANSWER_S = 5.0
"""Within this an answer has come, or none will."""

_MOST_BYTES = 64 * 2**20
"""A snapshot of thousands of groups has some; what goes on and on is none."""


class AnswerError(Exception):
    """The daemon gives no snapshot; says why."""


def address_of(url: str) -> URL:
    """Where the snapshot is, given that or only the daemon. Raises QueryError if url is no address."""
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if address.scheme not in {"http", "https"} or not address.host:
        raise QueryError(f"{url!r} is no address of a daemon; expected one such as {URL_DEFAULT}")
    return address if address.path.endswith(PATH) else address / PATH.removeprefix("/")


async def fetch(client: aiohttp.ClientSession, address: URL) -> Answer:
    """The newest snapshot; AnswerError if there is none."""
    try:
        async with client.get(address) as answer:
            body = await _body(answer)
            if answer.status != 200:
                raise AnswerError(f"status {answer.status}, {plain(body.decode(errors='replace').strip())}")
            date = answer.headers.get("Date", "")
    except aiohttp.ClientConnectorError as error:
        raise AnswerError(_words(error.os_error)) from None
    except TimeoutError:
        raise AnswerError(f"nothing came within {ANSWER_S:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise AnswerError(plain(str(error)) or type(error).__name__) from None
    return _decoded(body, date)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise AnswerError(f"it answers more than {_MOST_BYTES:,} bytes, which is no snapshot")
    return bytes(body)


def _decoded(body: bytes, date: str) -> Answer:
    try:
        raw = msgspec.json.decode(body)
        snapshot = msgspec.convert(raw, Snapshot)
        for window in windows_of(snapshot):
            duration.seconds(window)
    except (msgspec.DecodeError, ValueError) as error:
        raise AnswerError(f"what it answers is no snapshot of qoemon: {plain(str(error))}") from None
    return Answer(snapshot, raw, _clock(date))


def _clock(date: str) -> float:
    """The time of whom we asked, seconds since the epoch: the age of data is not a matter of our own clock."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return time.time()


def _words(error: OSError) -> str:
    """Why there is no connection; asyncio hides the words of the system behind the address."""
    number = error.errno or 0
    # Failures to look a name up have negative numbers, and words of their own.
    return (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
