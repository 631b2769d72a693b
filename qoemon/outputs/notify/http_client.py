"""POST of JSON to an http or https URL; what went wrong in words for who can mend it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from qoemon.common.text import printable
from qoemon.outputs.notify.notifier import DeliveryError

ANSWER_S = 5.0
"""How long a receiver may take, from the attempt to connect to the end of its answer."""

TOO_SLOW, TOO_MANY = 408, 429
"""Of the answers that blame us, those that do not mean never."""


@dataclass(frozen=True)
class Address:
    """Where to post. headers: such as the credentials that `basic` gives."""

    url: str = field(repr=False)
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def basic(username: str, password: str) -> dict[str, str]:
    """The header of HTTP basic authentication."""
    return {"Authorization": f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"}


class Poster:
    """Posts to one address over a connection that is kept while all is well."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post JSON; returns once the receiver has accepted it.

        raises   DeliveryError; final if the receiver says that it is our fault
        """
        try:
            await self._post(body, headers or {})
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: no possible host.
            await self.close()  # The next attempt starts anew, with what the CA file says then.
            raise DeliveryError(describe_error(error)) from error

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        if self._session is None:
            self._session = await self._new_session()
        all_headers = {"Content-Type": "application/json", **self._address.headers, **headers}
        # A redirect would take the credentials, or turn the POST into a GET.
        posting = self._session.post(self._address.url, data=body, headers=all_headers, allow_redirects=False)
        async with posting as answer:
            if 200 <= answer.status < 300:
                return
            said = (await answer.content.read(200)).decode(errors="replace")
            final = 400 <= answer.status < 500 and answer.status not in (TOO_SLOW, TOO_MANY)
            raise DeliveryError(refusal(answer.status, answer.reason or "", said), final)

    async def _new_session(self) -> aiohttp.ClientSession:
        try:  # Elsewhere, since it reads files.
            context = await asyncio.to_thread(ssl.create_default_context, cafile=self._address.ca_file)
        except OSError as error:
            raise DeliveryError(f"its ca_file cannot be used: {error.strerror or error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=1),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )


def refusal(status: int, reason: str, said: str) -> str:
    """An answer that is not yes, in one line."""
    words = printable(" ".join(said.split()))
    advice = {
        401: "check its credentials",
        403: "check its credentials",
        404: "check the path of its url",
        405: "check the path of its url",
    }.get(status, "give the url that it redirects to" if 300 <= status < 400 else "")
    return "; ".join(filter(None, (f"it answers {status} {printable(reason)}".rstrip(), words, advice)))


def describe_error(error: BaseException) -> str:
    """Why no answer came, without the URL: that may hold a secret."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"TLS: its certificate is not acceptable: {error.certificate_error}; check its url and ca_file"
        case aiohttp.ClientConnectorSSLError():
            return "TLS: no common language: check that its port speaks TLS, or change the url to http"
        case aiohttp.ClientConnectorError():
            return _explain_system(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "it hung up instead of answering"
        case aiohttp.InvalidURL() | UnicodeError():
            return "its url is not a possible one"
        case _:
            return _explain_system(error)


_SYSTEM: dict[type[BaseException], str] = {
    socket.gaierror: "no address is known for its host name: check its url, and the name server",
    ConnectionRefusedError: "connection refused: check its url, and that it runs",
    ConnectionResetError: "it cut the connection: check whether its port speaks TLS",
    TimeoutError: f"no answer within {ANSWER_S:g} s",
}


def _explain_system(error: BaseException) -> str:
    known = (text for kind, text in _SYSTEM.items() if isinstance(error, kind))
    return next(known, getattr(error, "strerror", None) or type(error).__name__)
