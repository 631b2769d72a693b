"""Fetches what a running daemon serves, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from yarl import URL

from qoemon.common.text import SHORT, printable
from qoemon.net.http.received import received
from qoemon.tools.options import URL_DEFAULT

ANSWER_S = 5.0
"""Timeout of a request."""

_MOST_BYTES = 64 * 2**20
"""Limit of an answer: snapshots of thousands of groups are some MiB."""


class AnswerError(Exception):
    """The daemon does not answer as expected; the message says why."""


class QueryError(Exception):
    """The query cannot be answered; the message says what there is."""


class Fetched(NamedTuple):
    """The content of an answer, and its headers."""

    body: bytes
    headers: Mapping[str, str]


def address_of(url: str, path: str) -> URL:
    """Address of a path of the daemon, given that or the daemon's address; QueryError if url is neither."""
    try:
        address = URL(url)
    except ValueError:
        address = URL()
    if address.scheme not in {"http", "https"} or not address.host:
        raise QueryError(f"{url!r} is not the address of a daemon; expected one such as {URL_DEFAULT}")
    return address if address.path.endswith(path) else address / path.removeprefix("/")


async def get(client: aiohttp.ClientSession, address: URL) -> Fetched:
    """The answer of the daemon; AnswerError if there is none, QueryError if it rejects the query."""
    try:
        async with client.get(address) as answer:
            too_long = AnswerError(f"the answer has more than {_MOST_BYTES:,} bytes, which is no answer of qoemon")
            body = await received(answer, _MOST_BYTES, too_long)
            if answer.status != 200:
                text = body.decode(errors="replace").strip()
                if answer.status == 400:
                    raise QueryError(printable(text, 4 * SHORT))
                raise AnswerError(f"status {answer.status}, {printable(text, SHORT)}")
            return Fetched(body, answer.headers)
    except aiohttp.ClientConnectorError as error:
        raise AnswerError(_reason(error.os_error)) from None
    except TimeoutError:
        raise AnswerError(f"no answer within {ANSWER_S:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise AnswerError(printable(str(error), SHORT) or type(error).__name__) from None


def _reason(error: OSError) -> str:
    """Reason of a failed connection, as the system words it; asyncio's text only repeats the address."""
    number = error.errno or 0
    # Errors of the name resolution have negative numbers and their own texts.
    return (os.strerror(number) if number > 0 else error.strerror or str(error)).lower()
