"""What the HTTP port stands: slow and idle clients, those that do not read, requests that are none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from qoemon.net.http import connections
from qoemon.net.http import listener as listen
from qoemon.net.http.listener_stats import Ended
from qoemon.net.http.stats import HttpStats, Refused
from tests.support.http import serve_app
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BIG = b"x" * (8 * 2**20)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts nobody for being slow; a test of a limit sets that one."""
    for name in ("REQUEST_S", "ANSWER_S", "KEEPALIVE_S", "CLOSE_S"):
        monkeypatch.setattr(connections, name, NEVER_S)


@contextlib.asynccontextmanager
async def serving(most: int = 512) -> AsyncIterator[tuple[int, HttpStats]]:
    """A server with a small page, a large one, one that breaks and one that never ends; its port and counts."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def big(_: web.Request) -> web.Response:
        return web.Response(body=BIG)

    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("a secret of the inside")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b": still here\n\n")
                await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.add_routes(
        [web.get("/", page), web.get("/big", big), web.get("/broken", broken), web.get("/stream", stream)]
    )
    state = HttpStats()
    server, port = await serve_app(app, "127.0.0.1", 0, stats=state, most=most)
    try:
        yield port, state
    finally:
        await server.cleanup()


@contextlib.asynccontextmanager
async def many_files(needed: int) -> AsyncIterator[None]:
    """Both ends of each connection are in this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits[1] >= needed, f"at most {limits[1]} files may be opened here, expected {needed}: ulimit -Hn"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], needed), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def wires(port: int, count: int = 1, sent: bytes = b"") -> AsyncIterator[list[Wire]]:
    """So many connections, on each of which this was sent."""
    opened: list[Wire] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.append((reader, writer))
            writer.write(sent)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


async def answer(port: int, sent: bytes) -> str:
    """All that comes back."""
    async with wires(port, 1, sent) as [(reader, _)], asyncio.timeout(WAIT_S):
        with contextlib.suppress(ConnectionResetError):
            return (await reader.read()).decode()
        return ""


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged, but for the event loop's own complaints about a slow machine."""
    return [record for record in caplog.records if record.name != "asyncio"]


async def scrape(port: int, times: int, pause_s: float = 0.0) -> list[int]:
    """The statuses of so many scrapes, each on a connection of its own."""
    statuses = []
    timeout = aiohttp.ClientTimeout(total=WAIT_S)
    for _ in range(times):
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(f"http://127.0.0.1:{port}/") as got:
            statuses.append(got.status)
        await asyncio.sleep(pause_s)
    return statuses


async def test_scrapes_go_on_among_2000_idle_connections_which_are_bounded_in_number_and_memory() -> None:
    async with many_files(4096), serving() as (port, state):
        before = resident_bytes()
        async with wires(port, 2000):
            assert await scrape(port, 20) == [200] * 20
            assert state.connections <= 512
            assert state.ended[Ended.EVICTED] >= 2000 - 512
            # Both ends, 2,000 of ours included.
            assert resident_bytes() - before < 200 * 2**20


async def test_scrapes_go_on_among_slow_requests_which_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(most=64) as (port, state):
        dripping_wires = wires(port, 60, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        async with dripping_wires as slow, asyncio.TaskGroup() as tasks:
            dripping = tasks.create_task(drip([writer for _, writer in slow]))
            assert await scrape(port, 20, pause_s=0.1) == [200] * 20
            monkeypatch.setattr(connections, "REQUEST_S", 1.0)
            await until(lambda: state.ended[Ended.SLOW] == 60)
            dripping.cancel()
        await until(lambda: state.connections == 0)


async def drip(writers: list[asyncio.StreamWriter]) -> None:
    """A byte of a header now and then, for ever."""
    while True:
        for writer in writers:
            writer.write(b"x")
        await asyncio.sleep(0.1)


async def test_a_connection_that_sends_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    async with serving() as (port, state), wires(port) as [(reader, _)], asyncio.timeout(WAIT_S):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert state.ended[Ended.SLOW] == 1


async def test_a_client_that_reads_no_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_S", 0.5)
    async with serving() as (port, state), wires(port, 1, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"):
        await until(lambda: state.ended[Ended.SLOW] == 1)
        assert state.connections == 0


async def test_one_that_reads_no_answer_gives_way_when_all_places_are_taken() -> None:
    async with serving(most=4) as (port, state), wires(port, 4, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"):
        await until(lambda: state.connections == 4)
        async with asyncio.timeout(WAIT_S):
            while not state.ended[Ended.EVICTED]:  # As soon as their buffers are full.
                with contextlib.suppress(aiohttp.ClientError):
                    assert await scrape(port, 1) == [200]


async def test_a_stream_lasts_longer_than_any_request_may(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = count_sweeps(monkeypatch)
    async with serving(most=1) as (port, state), aiohttp.ClientSession() as client:
        got = await client.get(f"http://127.0.0.1:{port}/stream")
        for name in ("REQUEST_S", "ANSWER_S", "CLOSE_S"):
            monkeypatch.setattr(connections, name, 0.3)
        sweeps.clear()
        while len(sweeps) < 3:
            assert await got.content.readline()
        # It is in use, so nobody is let in for it.
        assert await answer(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == ""
        assert state.ended == {Ended.FULL: 1}
        got.close()


def count_sweeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of all looks at the connections, as they come."""
    sweeps: list[float] = []
    sweep = connections.ConnectionLimits._sweep

    def counting(limits: connections.ConnectionLimits) -> None:
        sweeps.append(limits.now_s())
        sweep(limits)

    monkeypatch.setattr(connections.ConnectionLimits, "_sweep", counting)
    return sweeps


async def test_a_kept_connection_serves_many_requests() -> None:
    async with serving() as (port, state):
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as client:
            for _ in range(50):
                async with client.get(f"http://127.0.0.1:{port}/") as got:
                    assert got.status == 200
                    assert state.connections == 1


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405, Refused.METHOD),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, Refused.METHOD),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 413, Refused.BODY),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            413,
            Refused.BODY,
        ),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400, Refused.MALFORMED),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 400, Refused.MALFORMED),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03<script>\r\n\r\n", 400, Refused.MALFORMED),
    ],
    ids=["post", "delete", "body", "chunked", "long line", "long header", "not http"],
)
async def test_what_is_no_question_is_refused_in_words_and_ends_the_connection(
    sent: bytes, status: int, reason: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (port, state):
        got = await answer(port, sent)
        assert got.startswith((f"HTTP/1.1 {status} ", f"HTTP/1.0 {status} ")), got
        assert got.rstrip().splitlines()[-1].startswith(f"{status}: ")
        assert "connection: close" in got.lower() or got.startswith("HTTP/1.0")
        assert "script" not in got
        assert state.refused == {reason: 1}
    assert not logged(caplog), "nobody fills the log from outside"


async def test_many_headers_are_too_many() -> None:
    async with serving() as (port, state):
        sent = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 4000) for n in range(100))
        assert "200 OK" not in await answer(port, sent)
        assert state.ended[Ended.LARGE] + state.refused[Refused.MALFORMED] == 1


async def test_what_goes_wrong_inside_is_told_to_the_log_and_not_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as (port, _):
        got = await answer(port, b"GET /broken HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")
    assert got.startswith("HTTP/1.1 500 ")
    assert "secret" not in got
    assert "Traceback" not in got
    [record] = logged(caplog)
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "could not answer GET /broken")
    assert record.exc_info is not None


@pytest.mark.parametrize("path", ["/", "/nothing", "/broken"])
async def test_every_answer_hides_the_version_and_the_type_is_not_guessed(path: str) -> None:
    async with serving() as (port, _):
        client = aiohttp.ClientSession()
        async with client, client.get(f"http://127.0.0.1:{port}{path}") as got:
            assert got.headers["Server"] == "qoemon"
            assert got.headers["X-Content-Type-Options"] == "nosniff"
            assert got.content_type == "text/plain"


async def test_nothing_is_left_after_all_that() -> None:
    async with serving() as (port, state), wires(port, 20, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"):
        await until(lambda: state.connections == 20)
    await until(lambda: state.connections == 0 and len(asyncio.all_tasks()) == 1)


async def test_without_file_descriptors_it_waits_says_so_and_then_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listen, "PAUSE_S", 0.1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop = asyncio.get_running_loop()
    async with serving() as (port, _):
        with socket.socket() as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_unused_file(), limits[1]))
            try:
                await loop.sock_connect(client, ("127.0.0.1", port))
                await until(lambda: "cannot accept connections: Too many open files" in caplog.text)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200 ")


def lowest_unused_file() -> int:
    """The number that the next file will have."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
