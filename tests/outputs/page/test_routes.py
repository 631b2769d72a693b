"""The routes of the page over real sockets: files, API, streams, limits and policy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from qoemon.config.config import Config
from qoemon.daemon.daemon import Daemon, running
from qoemon.outputs.page import routes
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def served(port: int) -> AsyncIterator[tuple[Daemon, aiohttp.ClientSession]]:
    """A daemon without a broker after its first tick, and a client."""
    settings = {
        "mqtt": {"host": "127.0.0.1", "port": port},
        "sessions": {"tick": "1s", "rating_interval": "5s", "min_active": "1s"},
        "windows": ["5s"],
        "http": {"port": 0},
    }
    async with running(Config.model_validate(settings)) as daemon:
        await until(lambda: daemon.latest.value)
        async with aiohttp.ClientSession(daemon.url) as client:
            yield daemon, client


async def event(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    """The data of the next event; skips comments."""
    async with asyncio.timeout(WAIT_S):
        async for line in stream.content:
            if line.startswith(b"data: "):
                data: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                return data
    pytest.fail("the stream ended")


async def status(client: aiohttp.ClientSession) -> int:
    async with client.get("/api/v1/stream") as stream:
        return stream.status


async def test_every_response_has_the_policy_and_files_their_type(unused_port: int) -> None:
    async with served(unused_port) as (_, client):
        kinds = {
            "/": "text/html",
            "/static/page.js": "text/javascript",
            "/static/style.css": "text/css",
            "/static/icon.svg": "image/svg+xml",
            "/static/plotly.min.js": "text/javascript",
            "/api/v1/groups": "application/json",
            "/api/v1/snapshot": "application/json",
            "/metrics": "text/plain",
        }
        missing = {"/static/nothing.js": "text/plain", "/static/..%2froutes.py": "text/plain"}
        for path, kind in (kinds | missing).items():
            async with client.get(path) as answer:
                assert answer.status == (200 if path in kinds else 404)
                assert answer.content_type == kind
                policy = answer.headers["Content-Security-Policy"]
                assert "unsafe" not in policy
                assert "default-src 'none'" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_cached_file_is_not_sent_again(unused_port: int) -> None:
    async with served(unused_port) as (_, client):
        for path in ("/static/page.js", "/static/plotly.min.js"):
            async with client.get(path) as first:
                tag = first.headers["ETag"]
            async with client.get(path, headers={"If-None-Match": tag}) as again:
                assert (again.status, await again.read()) == (304, b"")


async def test_without_the_extra_plotly_is_not_found_and_the_response_says_what_to_install(
    unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr(routes._Plotly, "path", None)
    async with served(unused_port) as (_, client), client.get("/static/plotly.min.js") as answer:
        assert (answer.status, await answer.text()) == (404, routes.NO_PLOTLY)


async def test_an_invalid_query_is_a_bad_request_and_an_unknown_group_is_not_found(unused_port: int) -> None:
    async with served(unused_port) as (_, client):
        async with client.get("/api/v1/groups?sort=luck") as answer:
            assert answer.status == 400
            assert "expected one of excess" in await answer.text()
        async with client.get("/api/v1/group?service=radio") as answer:
            assert answer.status == 400
            assert "expected one of video, web" in await answer.text()
        async with client.get("/api/v1/group?service=video&label.region=eu") as answer:
            assert answer.status == 404
        async with client.get("/api/v1/groups") as answer:
            groups = await answer.json()
            assert any("cannot connect" in problem for problem in groups["problems"])


async def test_a_stream_sends_each_tick_once_the_newest_at_once_and_ends_with_the_daemon(
    unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qoemon.net.http.server._LAST_ANSWERS_S", NEVER_S
    )  # An open stream does not delay the shutdown.
    async with aiohttp.ClientSession() as client, contextlib.AsyncExitStack() as streams:
        async with served(unused_port) as (daemon, _):
            url = f"{daemon.url}/api/v1/stream"
            stream = await streams.enter_async_context(client.get(url))
            assert stream.content_type == "text/event-stream"
            times_s = [(await event(stream))["time_s"] for _ in range(3)]
            assert times_s == sorted(set(times_s))
            async with client.get(url, headers={"Last-Event-ID": str(times_s[-1])}) as other:
                assert (await event(other))["time_s"] >= times_s[-1]
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(aiohttp.ClientError):  # The stream may end in the middle of a chunk.
                await stream.read()


async def test_an_idle_stream_sends_keep_alive_comments(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "HEARTBEAT_S", 0.05)
    async with served(unused_port) as (_, client), client.get("/api/v1/stream") as stream, asyncio.timeout(WAIT_S):
        async for line in stream.content:
            if line.startswith(b":"):
                break


async def test_the_number_of_streams_is_limited_and_a_closed_one_makes_room(
    unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MOST_STREAMS", 2)
    async with served(unused_port) as (_, client), client.get("/api/v1/stream") as first:
        async with client.get("/api/v1/stream") as second:
            await event(first)
            await event(second)
            async with client.get("/api/v1/stream") as third:
                assert third.status == 503
                assert "close some" in await third.text()
        async with asyncio.timeout(WAIT_S):
            while await status(client) != 200:
                await asyncio.sleep(0.05)
