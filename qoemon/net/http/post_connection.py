"""A connection on which clients post, on llhttp without aiohttp: an answer may come long after its request.

Most requests of a player have the same head as its last one, byte for byte. What the parser has found in it is
remembered: a head that comes again as a whole, with its whole body, is not parsed again.

The handler decides twice on each request: when its head is complete, so that an unwanted body is not kept, and when
its body is. Then it answers at once, or later by the number of the request. Answers are sent in the order of their
requests. No task waits for anything: a request costs some callbacks.

A client may send requests without waiting for answers. With MOST_PENDING of them unanswered, the rest of what was
read is put aside and nothing more is read. A request is refused where it cannot be followed any further, and then
the connection ends: the end is announced, and what still comes is thrown away for a moment, since the client would
not see the answer if the connection were reset under what it sends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

import httptools

from qoemon.net.http import connections
from qoemon.net.http.answers import CONTINUE, Answer, Answers, Fields
from qoemon.net.http.connections import MOST_LINE, Connection, ConnectionLimits
from qoemon.net.http.listener_stats import Ended

LOG = logging.getLogger("qoemon.net.http")

MOST_HEAD = 16 * 1024
"""Bytes of a request without its body."""
MOST_PENDING = 16
"""Requests without an answer, beyond which nothing more is read from a connection."""
STEP = 4096
"""Bytes that are parsed at a time, and hence by how much the limits may be exceeded."""
FRAMING = 8
"""Bytes of a chunked body for each byte of content: the least chunk has six."""
MOST_REMEMBERED = 2048
"""Bytes of a head that is remembered."""
LINGER_S = 2.0
LINGER_BYTES = 2**20
"""What is still read after the last answer."""

MALFORMED = Answer(400, "malformed request")
LONG_URL = Answer(414, f"more than {MOST_LINE} bytes of URL")
LONG_HEAD = Answer(431, f"more than {MOST_HEAD} bytes of headers")
LARGE = Answer(413, "the body is too large")
EXPECTATION = Answer(417, "expected 100-continue, or no header Expect")
CODING = Answer(501, "expected no transfer coding but chunked")
FAILED = Answer(500, "internal error, see the log of qoemon")


class Request:
    """A request, as much of it as has arrived.

    target   as in the request line, percent-encoded
    headers  by name in lower case; of repeated ones the last
    fields   headers of its answer, whatever that will be; set by the handler
    number   by which it is answered later, from 1; set by the handler, 0 if it is answered at once
    """

    __slots__ = (
        "answer",
        "chunks",
        "close",
        "fields",
        "head",
        "headers",
        "method",
        "number",
        "since_s",
        "size",
        "target",
        "waits",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.fields: Fields = ()
        self.number = 0
        self.chunks: list[bytes] = []
        self.size = 0
        """Bytes of the body."""
        self.head = False
        """Whether its head is complete."""
        self.answer: Answer | None = None
        self.close = False
        self.waits = False
        """Whether the client waits with the body until all earlier requests are answered."""
        self.since_s: float | None = None
        """Since when its head, or its body, is awaited; None if that has just begun."""

    def again(self, body: bytes) -> Request:
        """A request with the same head and a body of the same length."""
        request = Request()
        request.method, request.target, request.headers = self.method, self.target, self.headers
        request.chunks, request.size, request.head = [body], self.size, True
        return request

    @property
    def body(self) -> bytes:
        """The body, once it is complete."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class Handler(Protocol):
    """What decides on requests."""

    most_body: int
    """Bytes in a body."""

    def begin(self, request: Request) -> Answer | None:
        """The answer of a request with this head, if its body does not matter; None to read it.

        It is answered when the body has been read and thrown away.
        """

    def fields(self, request: Request) -> Fields:
        """Headers of the answer to a request that is given up before its head is complete."""

    def take(self, connection: PostConnection, request: Request) -> Answer | None:
        """The answer of a request that is complete; None if it comes later. May set request.close."""

    def sent(self, request: Request, answer: Answer) -> None:
        """Record an answer."""

    def held_back(self) -> None:
        """Record that a client sends more requests than are answered."""

    def lost(self, connection: PostConnection) -> None:
        """Record that a connection has ended."""


class PostConnection(Connection):
    """A connection of a client.

    number   by which the handler knows it
    answers  as which its answers are sent
    """

    def __init__(self, number: int, limits: ConnectionLimits, handler: Handler, answers: Answers) -> None:
        self.number = number
        self.answers = 0
        self.idle_since_s = limits.now_s()
        self._limits, self._handler, self._rendered = limits, handler, answers
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        """The one that is being received."""
        self._pending: deque[Request] = deque()
        """Those that are not answered, in their order."""
        self._last: Request | None = None
        self._last_head, self._last_bytes = b"", 0
        """A request that was parsed, its head, and its length with the body; only if it may come again."""
        self._raw = 0
        """Bytes of the request that is being received, but for less than STEP."""
        self._aside = b""
        """What was read and not parsed yet."""
        self._paused = False
        self._blocked_since_s: float | None = None
        """When the client stopped reading; None if it reads."""
        self._deaf = False
        """Whether what it sends is thrown away: an answer is the last one."""
        self._thrown = 0
        self._half_closed = False
        self._closing_since_s: float | None = None
        self._lingering: asyncio.TimerHandle | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start, after the TLS handshake if there is one."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def connection_lost(self, exc: BaseException | None) -> None:
        """End, for any reason."""
        del exc
        if self._lingering is not None:
            self._lingering.cancel()
        self._limits.remove(self)
        self._transport = None
        self._deaf, self._request, self._aside, self._last = True, None, b"", None
        self._handler.lost(self)
        self._pending.clear()

    def data_received(self, data: bytes) -> None:
        """Parse the data, or put it aside."""
        if self._deaf:
            self._throw_away(len(data))
        elif self._aside:
            self._aside += data  # TLS may deliver what it had decrypted when reading was paused.
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """Whether the client, which sends no more, still gets answers."""
        self._half_closed = True
        transport = self._transport
        return bool(self._pending) and transport is not None and transport.can_write_eof()

    def pause_writing(self) -> None:
        """Read no more from a client that does not read its answers."""
        self._blocked_since_s = self._limits.now_s()
        self._pace()

    def resume_writing(self) -> None:
        """Continue, as the client has read."""
        self._blocked_since_s = None
        self._continue()

    # The side of the limits.

    @property
    def in_flight(self) -> int:
        """Requests with a number whose answer is not sent."""
        return sum(request.number > 0 for request in self._pending)

    @property
    def evictable(self) -> bool:
        """As Connection.evictable."""
        return not self._pending or self._blocked_since_s is not None

    def overdue(self, now_s: float) -> Ended | None:
        """As Connection.overdue."""
        if self._transport is not None and self._transport.is_closing():
            self._closing_since_s = self._closing_since_s or now_s
            return Ended.SLOW if now_s - self._closing_since_s > connections.CLOSE_S else None
        if self._blocked_since_s is not None:
            return Ended.SLOW if now_s - self._blocked_since_s > connections.ANSWER_S else None
        if self._pending or self._deaf:
            return None
        since_s = self.idle_since_s if self._request is None else self._request.since_s
        if since_s is None:
            return None
        if self._request is None and self.answers:
            return Ended.IDLE if now_s - since_s > connections.KEEPALIVE_S else None
        return Ended.SLOW if now_s - since_s > connections.REQUEST_S else None

    def abort(self) -> None:
        """As Connection.abort."""
        if self._transport is not None:
            self._transport.abort()

    # The handler's side.

    def answer(self, number: int, answer: Answer) -> bool:
        """Answer the request with this number; returns whether it waits for one."""
        if self._transport is None or self._transport.is_closing():
            return False
        for request in self._pending:
            if request.number == number and request.answer is None:
                request.answer = answer
                self._flush()
                self._continue()
                return True
        return False

    def close(self) -> None:
        """End it when everything is sent that is ready."""
        if self._transport is not None:
            self._transport.close()

    # The parser's side.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._request = None if self._deaf else Request()
        self._raw = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        if (request := self._request) is not None:
            request.target += url
            if len(request.target) > MOST_LINE:
                self._give_up(LONG_URL)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a chunked body are ignored."""
        request = self._request
        if request is not None and not request.head:
            request.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Decide by the head whether the body is wanted."""
        request, parser = self._request, self._parser
        if request is None:
            return
        request.head, request.since_s = True, None
        request.method = parser.get_method()
        lasting = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        request.close = not lasting or parser.should_upgrade()
        headers = request.headers
        request.answer = self._handler.begin(request)
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            self._give_up(CODING)
        elif int(headers.get(b"content-length", 0)) > self._handler.most_body:
            self._give_up(LARGE)
        elif (expected := headers.get(b"expect")) is not None:
            if expected.lower() != b"100-continue":
                self._give_up(EXPECTATION)
            elif request.answer is not None:
                self._give_up(request.answer)  # The client may send the body or not: there is no way to go on.
            elif self._pending or self._transport is None:
                request.waits = True
            else:
                self._transport.write(CONTINUE)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        request = self._request
        if request is None:
            return
        request.size += len(data)
        if request.size > self._handler.most_body:
            self._give_up(LARGE)
        elif request.answer is None:
            request.chunks.append(data)

    def on_message_complete(self) -> None:
        """Pass on a request."""
        request, self._request = self._request, None
        if request is None:
            return
        self._pending.append(request)
        if request.answer is None:
            request.answer = self._handler.take(self, request)
        if request.close:
            self._deaf = True

    # Reading and answering.

    def _read(self, data: bytes) -> None:
        size = len(data)
        if size == self._last_bytes and self._request is None and data.startswith(self._last_head):
            self._repeat(data)
        elif size <= STEP:
            whole = self._request is None
            self._parse(data)
            if whole:
                self._remember(data)
        else:
            view, at = memoryview(data), 0
            while at < size and not self._deaf and not self._busy:
                self._parse(view[at : at + STEP])
                self._flush()
                at += STEP
            self._aside = b"" if self._deaf else bytes(view[at:])
        request, pending = self._request, self._pending
        if request is not None and request.since_s is None:
            request.since_s = self._limits.now_s()
        if pending and pending[0].answer is not None:
            self._flush()
        if self._deaf or self._paused or self._aside or len(pending) >= MOST_PENDING:
            self._pace()
        if self._half_closed and not self._pending and not self._aside:
            self.close()

    def _remember(self, data: bytes) -> None:
        """Remember a request if the data is exactly one whose head means the same when it comes again."""
        request = self._pending[-1] if self._pending else None
        if request is None or self._request is not None or self._deaf or request.close or not request.number:
            return
        head_bytes = data.find(b"\r\n\r\n") + 4
        if head_bytes + request.size != len(data) or not 4 <= head_bytes <= MOST_REMEMBERED:
            return
        if b"expect" not in request.headers and int(request.headers.get(b"content-length", -1)) == request.size:
            self._last = request.again(b"")
            self._last_head, self._last_bytes = data[:head_bytes], len(data)

    def _repeat(self, data: bytes) -> None:
        """Take a request with the head of the last one."""
        assert self._last is not None  # noqa: S101 - for the type checker
        request = self._last.again(data[len(self._last_head) :])
        try:
            request.answer = self._handler.begin(request)
            self._pending.append(request)
            if request.answer is None:
                request.answer = self._handler.take(self, request)
            self._deaf = self._deaf or request.close
        except Exception:
            LOG.exception("could not handle a request")
            request.answer, request.close, self._deaf = FAILED, True, True

    def _parse(self, data: bytes | memoryview) -> None:
        before = self._request
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # Ignored, and answered as any other request; the connection ends.
            self._deaf = True
        except httptools.HttpParserCallbackError as error:
            LOG.error("could not handle a request", exc_info=error.__context__ or error)
            self._give_up(FAILED)
        except httptools.HttpParserError:
            self._give_up(MALFORMED)
        request = self._request
        if request is not None and request is before:
            self._raw += len(data)
            if not request.head and self._raw > MOST_HEAD:
                self._give_up(LONG_HEAD)
            elif self._raw > MOST_HEAD + FRAMING * self._handler.most_body:
                self._give_up(LARGE)

    def _give_up(self, answer: Answer) -> None:
        """Answer a request that is not complete, and read nothing that comes after it."""
        request = self._request or Request()
        self._request = None
        if self._deaf:
            return
        self._deaf = True
        request.answer, request.close = answer, True
        if not request.head:
            request.fields = self._handler.fields(request)
        self._pending.append(request)

    @property
    def _busy(self) -> bool:
        return len(self._pending) >= MOST_PENDING or self._blocked_since_s is not None

    def _pace(self) -> None:
        """Read from the client, or do not."""
        transport = self._transport
        busy = bool(self._pending) if self._deaf else self._busy or bool(self._aside)
        if transport is None or busy == self._paused or transport.is_closing():
            return
        self._paused = busy
        if busy:
            if not self._deaf:
                self._handler.held_back()
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _continue(self) -> None:
        """Parse what was put aside, as far as answers permit."""
        if self._aside and not self._busy and not self._deaf:
            aside, self._aside = self._aside, b""
            self._read(aside)
        elif self._paused:
            self._pace()

    def _flush(self) -> None:
        """Send the answers that are ready and whose turn it is."""
        pending, transport = self._pending, self._transport
        if not pending or pending[0].answer is None or transport is None:
            return
        sent, last = [], False
        while pending and (answer := pending[0].answer) is not None and not last:
            request = pending.popleft()
            last = request.close
            head = request.method == b"HEAD"
            sent.append(self._rendered.bytes_of(answer, request.fields, close=last, bodyless=head))
            self._handler.sent(request, answer)
        self.answers += len(sent)
        self.idle_since_s = self._limits.now_s()
        if (following := self._request) is not None:
            following.since_s = (
                self.idle_since_s
            )  # It may not have been read before, which is not its client's fault.
            if following.waits and not pending:
                following.waits = False
                sent.append(CONTINUE)
        transport.write(b"".join(sent))
        if last:
            self._end(transport)
        elif self._half_closed and not pending and not self._aside:
            transport.close()

    def _end(self, transport: asyncio.Transport) -> None:
        """End after the last answer."""
        if self._half_closed:
            transport.close()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._lingering = asyncio.get_running_loop().call_later(LINGER_S, self.close)

    def _throw_away(self, size: int) -> None:
        self._thrown += size
        if self._thrown > LINGER_BYTES:
            self.close()
