"""The HTTP server: an application behind listener, limits and authentication."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from functools import partial

from aiohttp import web

from qoemon.net.http.auth import Authenticator
from qoemon.net.http.connections import ConnectionLimits, HttpConnection
from qoemon.net.http.listener import Listener, beyond_loopback
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import Web, WebConfig

LOG = logging.getLogger("qoemon.net.http")

MOST_CONNECTIONS = 512
"""By default."""


_LAST_ANSWERS_S = 5.0
"""Time for the answers to pending requests when the daemon stops."""


class Serving:
    """A running HTTP server."""

    def __init__(self, runner: web.AppRunner, listener: Listener, limits: ConnectionLimits) -> None:
        self._runner, self._listener, self._limits = runner, listener, limits

    async def cleanup(self) -> None:
        """Accept no more connections, answer the pending requests, and stop."""
        self._listener.close()
        self._limits.close()
        await self._runner.cleanup()


async def serve(
    app: web.Application,
    sockets: Sequence[socket.socket],
    config: WebConfig,
    stats: HttpStats,
    most: int = MOST_CONNECTIONS,
) -> Serving:
    """Serve an application on sockets that listen, which it closes in the end.

    config  TLS, users and headers
    stats   where connections and refusals are counted
    most    connections at a time
    """
    Authenticator(config, stats).guard(app)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_LAST_ANSWERS_S)
    await runner.setup()
    assert runner.server is not None, "it was set up"  # noqa: S101 - for the type checker
    guard = ConnectionLimits(most, stats)
    _warn_if_open(beyond_loopback(sockets), config.now())
    new = partial(HttpConnection, guard, runner.server, stats)
    return Serving(runner, Listener(sockets, guard, new, config), guard)


def _warn_if_open(addresses: list[str], web: Web) -> None:
    if not addresses:
        return
    where = ", ".join(addresses)
    if web.open:
        LOG.warning(
            "no access control: every client that reaches %s can read everything; require a password or a client "
            "certificate in http.web_config_file, or set http.host to 127.0.0.1",
            where,
        )
    elif web.tls is None:
        LOG.warning(
            "passwords are sent to %s unencrypted: add tls_server_config to http.web_config_file",
            where,
        )
