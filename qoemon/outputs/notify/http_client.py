"""Sends JSON to an http or https URL and reads it from there, and describes failures with what to check."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from qoemon.common.text import printable
from qoemon.net.http.received import received
from qoemon.outputs.notify.notifier import DeliveryError

ANSWER_S = 5.0
"""Timeout of a request, from connecting to the end of the response."""

MOST_BYTES = 2**27
"""Most bytes of an answer that is read: several times what the other daemon of a pair says with full queues."""

REQUEST_TIMEOUT, TOO_MANY_REQUESTS = 408, 429
"""The client errors (4xx) that are worth a retry."""

UNAUTHORIZED, FORBIDDEN = 401, 403
"""Those that may end when a file with a secret is replaced."""


@dataclass(frozen=True)
class Address:
    """Where to send it."""

    url: str = field(repr=False)
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""


class JsonClient:
    """Sends requests to one address; the connection is reused until a request fails.

    rotates  whether the credentials can change: a rejection of them is then worth a retry
    """

    def __init__(self, address: Address, *, rotates: bool) -> None:
        self._address = address
        self._retriable = {REQUEST_TIMEOUT, TOO_MANY_REQUESTS} | ({UNAUTHORIZED, FORBIDDEN} if rotates else set())
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post JSON; returns once the receiver has accepted it.

        raises   DeliveryError; final if the status rules out a retry
        """
        await self._request("POST", {"Content-Type": "application/json", **(headers or {})}, data=body)

    async def get(self, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> bytes:
        """The answer to a GET with this query; DeliveryError as for post()."""
        return await self._request("GET", headers or {}, params=query)

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _request(self, method: str, headers: Mapping[str, str], **more: Any) -> bytes:
        try:
            return await self._answer(method, headers, more)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: invalid host name.
            await self.close()  # The next attempt reads the CA file again.
            raise DeliveryError(describe_error(error)) from error

    async def _answer(self, method: str, headers: Mapping[str, str], more: Mapping[str, Any]) -> bytes:
        if self._session is None:
            self._session = await self._new_session()
        # A redirect would take the credentials along, or turn a POST into a GET.
        request = self._session.request(method, self._address.url, headers=headers, allow_redirects=False, **more)
        async with request as response:
            if 200 <= response.status < 300:
                if method != "GET":
                    return b""
                too_long = DeliveryError(f"an answer of more than {MOST_BYTES:,} bytes; check the url")
                return await received(response, MOST_BYTES, too_long)
            text = (await response.content.read(200)).decode(errors="replace")
            final = 400 <= response.status < 500 and response.status not in self._retriable
            raise DeliveryError(describe_status(response.status, response.reason or "", text), final)

    async def _new_session(self) -> aiohttp.ClientSession:
        try:  # In a thread, since it reads files.
            context = await asyncio.to_thread(ssl.create_default_context, cafile=self._address.ca_file)
        except OSError as error:
            raise DeliveryError(f"ca_file cannot be used: {error.strerror or error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=1),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )


def describe_status(status: int, reason: str, body: str) -> str:
    """A response other than 2xx in one line: status, beginning of the body, what to check."""
    words = printable(" ".join(body.split()))
    advice = {
        401: "check the credentials",
        403: "check the credentials",
        404: "check the path of the url",
        405: "check the path of the url",
    }.get(status, "set the url to the target of the redirect" if 300 <= status < 400 else "")
    return "; ".join(filter(None, (f"HTTP status {status} {printable(reason)}".rstrip(), words, advice)))


def describe_error(error: BaseException) -> str:
    """Why there was no response. Never contains the URL, which may hold a secret."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: certificate not accepted: {error.certificate_error}; check the url and ca_file"
        case aiohttp.ClientConnectorSSLError():
            return "TLS: handshake failed: check that the port speaks TLS, or change the url to http"
        case aiohttp.ClientConnectorError():
            return _describe_system_error(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "connection closed without a response"
        case aiohttp.InvalidURL() | UnicodeError():
            return "invalid url"
        case _:
            return _describe_system_error(error)


_SYSTEM_ERRORS: dict[type[BaseException], str] = {
    socket.gaierror: "host name not found: check the url and the name server",
    ConnectionRefusedError: "connection refused: check the url, and that the receiver runs",
    ConnectionResetError: "connection reset: check whether the port speaks TLS",
    TimeoutError: f"no response within {ANSWER_S:g} s",
}


def _describe_system_error(error: BaseException) -> str:
    known = (text for kind, text in _SYSTEM_ERRORS.items() if isinstance(error, kind))
    return next(known, getattr(error, "strerror", None) or type(error).__name__)
