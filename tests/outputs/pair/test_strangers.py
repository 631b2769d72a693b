"""What others publish to the topic of the lease, or answer in the place of the other daemon, ends no daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, NoReturn

import aiomqtt
import msgspec
import pytest
from aiohttp import web

from qoemon.outputs.notify import http_client
from qoemon.outputs.notify.http_client import Address
from qoemon.outputs.pair.peer import Peer
from qoemon.outputs.pair.standing import PATH, Standing
from tests.outputs.pair.test_pair import halves, one_of
from tests.support.http import serve_app
from tests.support.parts import Mosquitto
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LEASE_TO_ANSWER_S = 8.0
"""An answer of the other daemon, which may wait for 2.5 s, is fresh for longer."""

DEEP = b'{"version": 1, "x": ' + b"[" * 100_000
LARGE = b'{"holder":"c","run":"c","number":1,"version":1,"term":' + b"9" * 4300 + b"}"

ANSWER = Standing(
    name="b",
    leading=False,
    online=True,
    ready=True,
    term=0,
    version="run-b.1",
    client_id="qoemon-b",
    lease_s=10.0,
    topic="qoe/v1/pair",
    clock_s=0.0,
    settled_s=0.0,
    stamp=0,
    delivered=None,
)


@pytest.mark.mosquitto
@pytest.mark.parametrize(
    "payload",
    [b"\x00garbage", b'{"version": 1, "holder": "\xff"}', DEEP, LARGE, b"[]", b'{"version": 1e400}'],
    ids=["no JSON", "no UTF-8", "deep", "large", "list", "infinite"],
)
async def test_what_is_no_record_is_ignored(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client:
        await client.publish("qoe/v1/pair", payload, 1, retain=True)
        async with halves(mosquitto.port) as (a, b):
            await one_of(a, b)
            for _ in range(20):
                await client.publish("qoe/v1/pair", payload, 1)
            await until(lambda: a.pair.leads is not b.pair.leads)
    assert caplog.text.count("ignored what is no record of a lease") == 2, "each says it once in a minute"


@pytest.fixture
def silent_topic(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that lets everybody subscribe to the topic of the lease, and lets nobody publish there."""
    rules = tmp_path / "rules"
    rules.write_text("topic read #\n")
    rules.chmod(0o600)
    with Mosquitto(tmp_path, options=[f"acl_file {rules}"]) as broker:
        yield broker


@pytest.mark.mosquitto
async def test_one_daemon_sends_if_the_broker_returns_no_records(silent_topic: Mosquitto) -> None:
    """Its access rules were changed, such as to those of a reader: that must not silence both."""
    async with halves(silent_topic.port, LEASE_TO_ANSWER_S) as (a, b):
        for half in (a, b):
            words = "check the broker's access rules"
            await until(lambda half=half, words=words: words in half.pair.remark(), half.pair.remark)
        leader, spare = await one_of(a, b)
        before = connections(silent_topic)
        # Claims go on, and each of them ends a connection.
        await until(
            lambda: not leader.pair.leads or spare.pair.leads or connections(silent_topic) > before + 1,
            leader.pair.remark,
        )
        assert leader.pair.leads
        assert not spare.pair.leads


def connections(broker: Mosquitto) -> int:
    return broker.log.read_text().count("New client connected")


@pytest.mark.mosquitto
async def test_what_the_other_daemon_says_of_itself_fits_into_a_header(mosquitto: Mosquitto) -> None:
    """The remark is one of each snapshot, and a line end in it would make that fail."""
    async with halves(mosquitto.port, name="b\r\nSet-Cookie: b") as (a, _):
        await until(lambda: "Set-Cookie" in a.pair.remark(), a.pair.remark)
        assert a.pair.remark().isprintable()


@contextlib.asynccontextmanager
async def asked(body: bytes) -> AsyncIterator[tuple[Peer, asyncio.Task[NoReturn]]]:
    """The other daemon, in whose place somebody gives this answer; asked until the block ends."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.add_routes([web.get(PATH, answer)])
    serving, port = await serve_app(app)
    loop = asyncio.get_running_loop()
    peer = Peer(Address(f"http://127.0.0.1:{port}{PATH}"), None, lambda: 0, lambda _: None, loop.time)
    asking = asyncio.create_task(peer.run())
    try:
        yield peer, asking
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await serving.cleanup()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Log in</html>",
        b'{"name": "\xff"}',
        DEEP,
        json.dumps({**msgspec.to_builtins(ANSWER), "stamp": 10**30}).encode(),
        json.dumps({**msgspec.to_builtins(ANSWER), "term": 10**30}).encode(),
    ],
    ids=["empty", "html", "no UTF-8", "deep", "stamp", "term"],
)
async def test_an_answer_that_cannot_be_read_is_none(body: bytes) -> None:
    async with asked(body) as (peer, asking):
        await until(lambda: asking.done() or peer.error, lambda: peer.error)
        assert not asking.done()
        assert peer.standing is None
        assert "check pair.peer.url" in peer.error


async def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    body = msgspec.json.encode(ANSWER)
    async with asked(body) as (peer, _):
        await until(lambda: peer.standing)
    monkeypatch.setattr(http_client, "MOST_BYTES", len(body) - 1)
    async with asked(body) as (peer, _):
        await until(lambda: peer.error)
        assert f"an answer of more than {len(body) - 1:,} bytes" in peer.error
