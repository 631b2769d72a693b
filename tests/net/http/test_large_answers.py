"""Large answers over real sockets: every reader gets the same bytes, and no reader waits for a slower one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.daemon.metrics import initial_metrics
from qoemon.net.http import connections
from qoemon.net.http.body import PIECE, Body, CompressionDemand
from qoemon.net.http.listener_stats import Ended
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import WebConfig
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.routes import application
from tests.outputs.metrics.test_text_format import PLAN
from tests.support.core import OneShard
from tests.support.http import serve_app
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

LARGE = tuple(bytes([number]) * PIECE for number in range(200))
"""Fifty megabytes: more than any socket holds."""
WHOLE = hashlib.sha256(b"".join(LARGE)).digest()
LENGTH = len(LARGE) * PIECE
ASKED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def serving(
    config: Callable[[HttpStats], WebConfig] = lambda state: WebConfig(None, state),
    pieces: Sequence[bytes] = LARGE,
) -> AsyncIterator[tuple[int, HttpStats]]:
    """A daemon's HTTP side with these metrics; its port and counts."""
    snapshot = OneShard(PLAN).snapshot(1_700_000_100)
    watched = Detector(PLAN, (), RegimeRules()).observe(snapshot)
    latest, state = Latest(), HttpStats()
    published = Exporter().render(snapshot, watched, initial_metrics())
    await latest.put(replace(published, metrics=Body(pieces, CompressionDemand())))
    app = application(latest, list, list)
    server, port = await serve_app(app, "127.0.0.1", 0, config(state), state)
    try:
        yield port, state
    finally:
        await server.cleanup()


@contextlib.asynccontextmanager
async def asking(port: int, count: int = 1) -> AsyncIterator[list[Wire]]:
    """So many that ask for the metrics, and read no more than they are told to."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        for _, writer in opened:
            writer.write(ASKED)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


async def fingerprint(reader: asyncio.StreamReader) -> bytes:
    """Of the content of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % LENGTH in head
    digest, left = hashlib.sha256(), LENGTH
    while left:
        some = await reader.read(min(left, PIECE))
        assert some, f"it ended {left} bytes early"
        digest.update(some)
        left -= len(some)
    return digest.digest()


async def test_one_connection_gets_a_large_answer_again_and_again_whole() -> None:
    async with serving() as (port, _), asking(port) as [(reader, writer)]:
        for _ in range(3):
            assert await fingerprint(reader) == WHOLE
            writer.write(ASKED)


async def test_a_head_has_the_length_and_no_content() -> None:
    identity = {"Accept-Encoding": "identity"}
    async with (
        serving() as (port, _),
        aiohttp.ClientSession(headers=identity) as client,
        client.head(f"http://127.0.0.1:{port}/metrics") as got,
    ):
        assert got.headers["Content-Length"] == str(LENGTH)
        assert await got.read() == b""


async def test_a_slow_reader_gets_all_of_it() -> None:
    async with serving() as (port, state), asking(port) as [(reader, _)]:
        await until(lambda: state.connections)
        await asyncio.sleep(0.5)
        assert await fingerprint(reader) == WHOLE


async def test_readers_that_stop_do_not_delay_others() -> None:
    async with serving() as (port, state), asking(port, 5) as stuck:
        await until(lambda: state.connections == len(stuck))
        await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in stuck))
        async with asking(port) as [(reader, _)], asyncio.timeout(WAIT_S):
            assert await fingerprint(reader) == WHOLE
        assert state.connections >= len(stuck), "they were cut"


async def test_a_client_that_reads_no_large_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_S", 0.5)
    async with serving() as (port, state), asking(port):
        await until(lambda: state.ended[Ended.SLOW] == 1)
        assert state.connections == 0


async def test_clients_that_leave_in_the_middle_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (port, state):
        for _ in range(5):
            async with asking(port) as [(reader, _)]:
                await reader.readexactly(3 * PIECE)
        await until(lambda: state.connections == 0)
        async with asking(port) as [(reader, _)]:
            assert await fingerprint(reader) == WHOLE
    assert [record for record in caplog.records if record.levelno > logging.INFO and record.name != "asyncio"] == []


async def test_over_tls_it_is_the_same(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: own.pem, key_file: own.pem}\n", encoding="utf-8")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(lambda state: WebConfig(file, state)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(ASKED)
        assert await fingerprint(reader) == WHOLE
        writer.transport.abort()
