"""Listens for players that speak CMCD, and for reports over HTTP; puts bodies into the inbox, as bytes.

A request is answered by `Collector.ack`, after its records are counted and committed: 204 is the same promise as an
acknowledgement of MQTT. It does not depend on what the body contains. Records that are rejected are counted by the
core, and after a 4xx some players would send them again permanently. If the inbox is full, the answer is 429.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import re
import socket
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import unquote_to_bytes

from qoemon.config.sections.types import read_secret
from qoemon.config.sections.web import CollectorWebFile
from qoemon.core.wire.message import CONTENT_TYPES, Kind
from qoemon.inputs.http.cross_origin import CrossOrigin
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.stats import CollectorStats
from qoemon.net.http.answers import Answer, Answers, Fields
from qoemon.net.http.connections import HEADERS, ConnectionLimits
from qoemon.net.http.listener import Listener, beyond_loopback, bound, listen_fault
from qoemon.net.http.post_connection import PostConnection, Request
from qoemon.net.http.web_config import WebConfig
from qoemon.net.paced_loop import Pacer, pacer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qoemon.inputs.http.options import CollectorOptions

LOG = logging.getLogger("qoemon.inputs.http")

STORED = Answer(204)
PERMITTED = Answer(204)
"""To a preflight."""
MALFORMED = Answer(400, "malformed URL")
TOKEN = Answer(
    401,
    "a token is required, as Authorization: Bearer TOKEN or as ?token=TOKEN",
    (("WWW-Authenticate", 'Bearer realm="qoemon"'),),
)
ORIGIN = Answer(403, "pages of this origin may not post, see collector.origins")
NO_PATH = Answer(404, "no such path, see collector.paths")
METHOD = Answer(405, "expected POST", (("Allow", "POST, OPTIONS"),))
OFF = Answer(410, "this path is switched off")
ENCODING = Answer(415, "expected a body without Content-Encoding", (("Accept-Encoding", "identity"),))
TYPE = Answer(
    415,
    "expected as Content-Type application/cmcd, text/cmcd, text/plain, application/json or application/msgpack",
)
FULL = Answer(429, "the inbox is full, try again later", (("Retry-After", "5"),))
LEAVING = Answer(503, "qoemon is stopping, try again later", (("Retry-After", "5"),))

KINDS: Mapping[bytes, Kind] = {name.encode(): kind for name, kind in CONTENT_TYPES.items()}
"""By type. A body of text/plain may be JSON too: navigator.sendBeacon cannot say so without a preflight."""

REMEMBERED = 4096
"""URLs."""

_TARGET = re.compile(rb"(?:https?://[^/?#]+)?(/[^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]")


class _Target(NamedTuple):
    """A URL: its path as requested, and what is wrong with it, if anything."""

    path: str
    fault: Answer | None
    token: bytes | None


class Collector:
    """Receives requests over HTTP.

    The reader of the inbox passes each batch to `ack` once it is committed. Runs on one event loop.

    inbox  where bodies are stored
    clock  seconds since the epoch
    """

    def __init__(self, options: CollectorOptions, inbox: Inbox, clock: Callable[[], float] = time.time) -> None:
        self.stats = CollectorStats()
        self.most_body = options.body_bytes
        self._options, self._inbox, self._clock = options, inbox, clock
        self._token = None if options.token is None else options.token.encode()
        self._cross_origin = CrossOrigin(options.origins)
        self._sockets: list[socket.socket] = []
        self._web: WebConfig | None = None
        self._targets: dict[bytes, _Target] = {}
        self._connections: dict[int, PostConnection] = {}
        """Those with requests in flight, by number."""
        self._numbers, self._connection_numbers = itertools.count(1), itertools.count(1)
        self._leaving = False
        self._pacer = Pacer()

    async def listen(self) -> None:
        """Bind the port, and read the files that the options name.

        raises   OSError if the port or the token file cannot be used, ConfigError for the web configuration file
        """
        options = self._options
        if options.token_file is not None:
            try:
                self._token = read_secret(options.token_file).encode()
            except ValueError as error:
                raise OSError(f"cannot read collector.token_file {options.token_file}: {error}") from None
        self._web = WebConfig(options.web_config_file, self.stats, kind=CollectorWebFile)
        try:
            self._sockets = await bound(options.host, options.port)
        except OSError as error:
            fault = listen_fault(error, "collector.port")
            raise OSError(f"cannot listen on {options.host} port {options.port} (collector): {fault}") from None
        web = self._web.now()
        LOG.info("collecting on %s port %d (%s)", options.host, self.port, web.scheme)
        if open_to := ", ".join(beyond_loopback(self._sockets)):
            if self._token is None and web.open:
                LOG.warning(
                    "no token: every client that reaches %s can report; set collector.token, or limit access in "
                    "front of it",
                    open_to,
                )
            elif self._token is not None and web.tls is None:
                LOG.warning(
                    "tokens are sent to %s unencrypted: add tls_server_config to collector.web_config_file", open_to
                )

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._sockets[0].getsockname()[1])

    async def run(self) -> NoReturn:
        """Receive until cancelled, after listen()."""
        web = self._web
        assert web is not None, "listen() was called"  # noqa: S101 - for the type checker
        self._pacer = pacer_of(asyncio.get_running_loop())
        limits = ConnectionLimits(self._options.connections, self.stats)
        answers = Answers(lambda: HEADERS | dict(web.now().headers))

        def new() -> PostConnection:
            return PostConnection(next(self._connection_numbers), limits, self, answers)

        listener = Listener(self._sockets, limits, new, web)
        try:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        finally:
            listener.close()
            limits.close()
            limits.abort()

    def ack(self, messages: Sequence[Message]) -> None:
        """Answer those among the messages that came over HTTP: they are committed."""
        stats, connections = self.stats, self._connections
        for message in messages:
            if message.kind is Kind.MQTT:
                continue
            connection = connections.get(message.connection)
            if connection is None or not connection.answer(message.mid, STORED):
                stats.unanswered_total += 1

    def leave(self) -> None:
        """Store no more requests, but answer those that are stored."""
        self._leaving = True

    def close(self) -> None:
        """Release the port, also if run() has not begun."""
        for listening in self._sockets:
            listening.close()

    # As a handler of connections.

    def begin(self, request: Request) -> Answer | None:
        """As Handler.begin."""
        origin = request.headers.get(b"origin")
        request.fields = self.fields(request)
        if request.method != b"POST":
            if request.method != b"OPTIONS":
                return METHOD
            private = b"access-control-request-private-network" in request.headers
            request.fields = self._cross_origin.preflight(origin, private=private)
            return PERMITTED
        if not self._cross_origin.permits(origin):
            return ORIGIN
        return self._target_fault(request) or _body_fault(request)

    def fields(self, request: Request) -> Fields:
        """As Handler.fields."""
        return self._cross_origin.fields(request.headers.get(b"origin"))

    def take(self, connection: PostConnection, request: Request) -> Answer | None:
        """As Handler.take."""
        if self._leaving:
            request.close = True
            return LEAVING
        body = request.body
        content_type = request.headers[b"content-type"]
        kind = _kind(content_type)
        assert kind is not None, "begin() has seen it"  # noqa: S101 - for the type checker
        if kind is Kind.CMCD and content_type[:10].lower() == b"text/plain" and _JSON.match(body):
            kind = Kind.HTTP
        number, arrival_s = next(self._numbers), self._clock()
        path = self._target(request.target).path
        if not self._inbox.put(Message(path, body, arrival_s, 1, number, connection.number, kind)):
            return FULL
        request.number = number
        stats = self.stats
        stats.bytes_total += len(body)
        stats.last_request_s = arrival_s
        stats.in_flight += 1
        self._connections[connection.number] = connection
        self._pacer.wanted = True  # Its answer waits for the next commit, so the requests that follow may wait too.
        return None

    def sent(self, request: Request, answer: Answer) -> None:
        """As Handler.sent."""
        if answer is PERMITTED:
            self.stats.preflights_total += 1
            return
        self.stats.answers[answer.status] += 1
        self.stats.in_flight -= request.number > 0

    def held_back(self) -> None:
        """As Handler.held_back."""
        self.stats.held_back_total += 1

    def lost(self, connection: PostConnection) -> None:
        """As Handler.lost."""
        if self._connections.pop(connection.number, None) is not None:
            self.stats.in_flight -= connection.in_flight

    def _target_fault(self, request: Request) -> Answer | None:
        """The refusal of a request for its path or its token, if any."""
        target = self._target(request.target)
        if target.fault is None and self._token is not None and not self._authorized(request, target):
            return TOKEN
        return target.fault

    def _target(self, url: bytes) -> _Target:
        target = self._targets.get(url)
        if target is None:
            target = self._parsed(url)
            if target.fault is None:  # URLs of strangers are not remembered.
                if len(self._targets) >= REMEMBERED:
                    self._targets.clear()
                self._targets[url] = target
        return target

    def _parsed(self, url: bytes) -> _Target:
        match = _TARGET.fullmatch(url)
        if match is None or not match[1].isascii():
            return _Target("", MALFORMED, None)
        path = match[1].decode()
        if any(template.match(path) is not None for template in self._options.paths):
            return _Target(path, None, _token(match[2] or b""))
        off = any(template.match(path) is not None for template in self._options.off)
        return _Target(path, OFF if off else NO_PATH, None)

    def _authorized(self, request: Request, target: _Target) -> bool:
        scheme, _, given = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            given = target.token or b""
        return hmac.compare_digest(given.strip(), self._token or b"")


def _body_fault(request: Request) -> Answer | None:
    """The refusal of a request for what its body is, if any."""
    if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return ENCODING
    return None if _kind(request.headers.get(b"content-type", b"")) is not None else TYPE


def _kind(content_type: bytes) -> Kind | None:
    """The kind of bodies of this type; None if it is unknown."""
    return KINDS.get(content_type) or KINDS.get(content_type.partition(b";")[0].strip().lower())


def _token(query: bytes) -> bytes | None:
    """The token in a query, if there is one."""
    values = (part.partition(b"=") for part in query.split(b"&"))
    return next(
        (unquote_to_bytes(value.replace(b"+", b" ")) for name, _, value in values if name == b"token"), None
    )
