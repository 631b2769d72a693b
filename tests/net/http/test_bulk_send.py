"""Large answers over real sockets: whoever reads gets the same bytes, and nobody waits for who does not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.monitor import Monitor
from qoemon.daemon.own import IDLE
from qoemon.net.http import bulk_send as pour
from qoemon.net.http import connections as guard
from qoemon.net.http.body import PIECE, Body, CompressionDemand
from qoemon.net.http.server import serve
from qoemon.net.http.stats import Ended, HttpStats
from qoemon.net.http.web_config import WebConfig
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.routes import application
from tests.outputs.metrics.test_text_format import PLAN
from tests.support.patience import NEVER_S, WAIT_S
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


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that each thread has sent, as they come back."""
    counts: list[int] = []
    send = pour._send

    def counting(*arguments: object) -> int:
        counts.append(send(*arguments))  # type: ignore[arg-type]
        return counts[-1]

    monkeypatch.setattr(pour, "_send", counting)
    return counts


@contextlib.asynccontextmanager
async def serving(
    config: Callable[[HttpStats], WebConfig] = lambda state: WebConfig(None, state),
    pieces: Sequence[bytes] = LARGE,
) -> AsyncIterator[tuple[int, HttpStats]]:
    """A daemon's HTTP side with these metrics; its port and counts."""
    snapshot = Monitor(PLAN).snapshot(1_700_000_100)
    watched = Detector(PLAN, (), RegimeRules()).observe(snapshot)
    board, state = Latest(), HttpStats()
    board.newest = replace(
        Exporter().publish(snapshot, watched, IDLE), exposition=Body(pieces, CompressionDemand())
    )
    app = application(board, list, list, asyncio.Condition())
    server, port = await serve(app, "127.0.0.1", 0, config(state), state)
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


async def test_one_connection_gets_a_large_answer_again_and_again_whole_and_from_a_thread(
    sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pour, "WAIT_S", NEVER_S)
    async with serving() as (port, _), asking(port) as [(reader, writer)]:
        for _ in range(3):
            assert await fingerprint(reader) == WHOLE
            writer.write(ASKED)
    assert sent[:3] == [LENGTH - PIECE] * 3


async def test_small_answers_and_heads_need_no_thread(sent: list[int]) -> None:
    small = LARGE[: pour.LARGE // PIECE - 1]
    async with aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as client:
        async with serving(pieces=small) as (port, _), client.get(f"http://127.0.0.1:{port}/metrics") as got:
            assert await got.read() == b"".join(small)
        async with serving() as (port, _), client.head(f"http://127.0.0.1:{port}/metrics") as got:
            assert got.headers["Content-Length"] == str(LENGTH)
            assert await got.read() == b""
    assert sent == []


async def test_what_a_slow_reader_has_not_taken_in_time_comes_by_the_event_loop(sent: list[int]) -> None:
    async with serving() as (port, _), asking(port) as [(reader, _)]:
        await until(lambda: sent)
        assert sent[0] < LENGTH - PIECE
        assert await fingerprint(reader) == WHOLE


def test_a_socket_is_left_as_the_event_loop_needs_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    with near, far:
        near.setblocking(False)
        assert 0 < pour._send(near.dup(), LARGE) < LENGTH
        with pytest.raises(BlockingIOError):
            near.sendall(b"".join(LARGE))
        try:
            chosen = near.getsockopt(socket.SOL_SOCKET, pour._SO_BUF_LOCK)
        except OSError:
            pytest.skip("needs Linux 5.14")
        assert chosen == 0, "its queue can grow no more"


async def test_those_that_do_not_read_hold_up_nobody(sent: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pour, "WAIT_S", NEVER_S)
    async with serving() as (port, state):
        async with asking(port, pour.AT_ONCE) as stuck:
            await until(lambda: state.connections == len(stuck))
            await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in stuck))
            async with asking(port) as [(reader, _)], asyncio.timeout(WAIT_S):
                assert await fingerprint(reader) == WHOLE
            assert sent == [], "places were left, or threads did not wait"
        await until(lambda: len(sent) == pour.AT_ONCE)
        async with asking(port) as [(reader, _)]:
            assert await fingerprint(reader) == WHOLE
    assert sent[pour.AT_ONCE :] == [LENGTH - PIECE], "the places were not free again"


async def test_a_client_that_reads_no_large_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ANSWER_S", 0.5)
    async with serving() as (port, state), asking(port):
        await until(lambda: state.ended[Ended.SLOW] == 1)
        assert state.connections == 0


async def test_clients_that_go_in_the_middle_are_not_worth_a_word(
    sent: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (port, state):
        for _ in range(5):
            async with asking(port) as [(reader, _)]:
                await reader.readexactly(3 * PIECE)
        await until(lambda: state.connections == 0)
        async with asking(port) as [(reader, _)]:
            assert await fingerprint(reader) == WHOLE
    assert sent
    assert [record for record in caplog.records if record.levelno > logging.INFO and record.name != "asyncio"] == []


async def test_over_tls_it_is_the_same_and_encrypted(tmp_path: Path, sent: list[int]) -> None:
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
    assert sent == []
