"""Checks user and method of each request. No page is exempt, as in Prometheus."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable

from aiohttp import web

from qoemon.net.http.connections import HEADERS, HttpConnection
from qoemon.net.http.passwords import BusyError, Passwords
from qoemon.net.http.stats import HttpStats, Refused
from qoemon.net.http.web_config import WebConfig

METHODS = ("GET", "HEAD")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Authenticator:
    """Checks the requests of one application.

    config  users and headers
    state   where refusals are counted
    """

    def __init__(self, config: WebConfig, state: HttpStats) -> None:
        self._config, self._state, self._passwords = config, state, Passwords()

    def guard(self, app: web.Application) -> None:
        """Check every request of the application before it is handled."""

        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._checked(request, handler)

        app.middlewares.insert(0, checked)
        app.on_response_prepare.append(self._with_headers)

    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)  # noqa: S101 - for the type checker
        connection.begin_answer()
        await self._check_user(request)
        if request.method not in METHODS:
            self._state.refused[Refused.METHOD] += 1
            raise _closing(web.HTTPMethodNotAllowed(request.method, METHODS, text="405: only GET and HEAD\n"))
        if request.body_exists:
            self._state.refused[Refused.BODY] += 1
            raise _closing(
                web.HTTPRequestEntityTooLarge(0, 0, text="413: requests with content are not accepted\n")
            )
        return await handler(request)

    async def _check_user(self, request: web.Request) -> None:
        users = self._config.now().users
        if not users:
            return
        given = credentials(request.headers.get("Authorization", ""))
        try:
            if given is not None and await self._passwords.accepts(users, *given):
                return
        except BusyError:
            self._state.refused[Refused.BUSY] += 1
            text = "503: too many password checks are pending, try again in some seconds\n"
            raise _closing(web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "5"})) from None
        self._state.refused[Refused.AUTH] += 1
        challenge = {"WWW-Authenticate": 'Basic realm="qoemon", charset="UTF-8"'}
        raise web.HTTPUnauthorized(text="401: user and password required\n", headers=challenge)

    async def _with_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS | dict(self._config.now().headers))


def credentials(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header; None if it is not of the Basic scheme."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def _closing(refusal: web.HTTPException) -> web.HTTPException:
    """The same refusal, which also closes the connection."""
    refusal.force_close()
    return refusal
