"""What each request has to pass: who asks, and that it only asks. No page is excepted, as none is in Prometheus."""

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
    """Belongs to one application.

    config  its users and headers
    state   where refusals are counted
    """

    def __init__(self, config: WebConfig, state: HttpStats) -> None:
        self._config, self._state, self._passwords = config, state, Passwords()

    def guard(self, app: web.Application) -> None:
        """Let all requests of the application pass here first."""

        @web.middleware
        async def passing(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass(request, handler)

        app.middlewares.insert(0, passing)
        app.on_response_prepare.append(self._with_headers)

    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)  # noqa: S101 - for the type checker
        connection.begin_answer()
        await self._check_user(request)
        if request.method not in METHODS:
            self._state.refused[Refused.METHOD] += 1
            raise _closing(web.HTTPMethodNotAllowed(request.method, METHODS, text="405: only GET and HEAD\n"))
        if request.body_exists:
            self._state.refused[Refused.BODY] += 1
            raise _closing(web.HTTPRequestEntityTooLarge(0, 0, text="413: a request has no content here\n"))
        return await handler(request)

    async def _check_user(self, request: web.Request) -> None:
        users = self._config.now().users
        if not users:
            return
        told = credentials(request.headers.get("Authorization", ""))
        try:
            if told is not None and await self._passwords.accepts(users, *told):
                return
        except BusyError:
            self._state.refused[Refused.BUSY] += 1
            text = "503: too many passwords wait for their check, try again in some seconds\n"
            raise _closing(web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "5"})) from None
        self._state.refused[Refused.AUTH] += 1
        challenge = {"WWW-Authenticate": 'Basic realm="qoemon", charset="UTF-8"'}
        raise web.HTTPUnauthorized(text="401: user and password, please\n", headers=challenge)

    async def _with_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS | dict(self._config.now().headers))


def credentials(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header; None if it has none of the basic kind."""
    scheme, _, told = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(told.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def _closing(refusal: web.HTTPException) -> web.HTTPException:
    """What else comes on this connection is not worth reading."""
    refusal.force_close()
    return refusal
