"""What the daemon serves, and when it says that it is well: over real sockets, with a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.publish import single

from qoemon.config.config import Config
from qoemon.core.alerting.state import GroupState, State
from qoemon.daemon.daemon import Daemon, ListenError, running
from tests.support.parts import Nats
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from pathlib import Path


TOPIC = "qoe/v1/video/eu/a"


class Answer(NamedTuple):
    status: int
    content_type: str
    body: str


async def get(daemon: Daemon, path: str) -> Answer:
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.url}{path}") as answer:
        return Answer(answer.status, answer.headers["Content-Type"], await answer.text())


def config_at(port: int, http: dict[str, Any] | None = None) -> Config:
    settings = {
        "mqtt": {
            "host": "127.0.0.1",
            "port": port,
            "version": "3.1.1",
            "reconnect": {"min": "50ms", "max": "100ms"},
        },
        "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "5s", "min_active": "1s"},
        "windows": ["5s"],
        "http": {"port": 0, **(http or {})},
    }
    return Config.model_validate(settings)


async def test_ready_only_while_subscribed_and_ticked_and_not_draining(tmp_path: Path) -> None:
    broker = Nats(tmp_path)
    async with running(config_at(broker.port)) as daemon:
        early = [await get(daemon, path) for path in ("/readyz", "/metrics", "/api/v1/snapshot", "/healthz")]
        if daemon.latest.value is None:  # Unless a tick came in between.
            assert [answer.status for answer in early] == [503, 503, 503, 200]
            assert "no tick has passed yet" in early[0].body
            assert "no tick has passed yet" in early[1].body
        await until(lambda: daemon.latest.value)
        await until(lambda: daemon.engine.stats.mqtt.last_error)
        without_broker = await get(daemon, "/readyz")
        assert without_broker.status == 503
        assert f"cannot connect to 127.0.0.1:{broker.port}" in without_broker.body
        assert (await get(daemon, "/metrics")).status == 200
        assert (await get(daemon, "/healthz")) == Answer(200, "text/plain; charset=utf-8", "ok\n")
        with broker:
            await until(lambda: daemon.engine.stats.mqtt.subscribed)
            assert await get(daemon, "/readyz") == Answer(200, "text/plain; charset=utf-8", "ok\n")
            watcher = Watcher(f"{daemon.url}/readyz")
            draining = asyncio.create_task(watcher.run())
            await until(lambda: watcher.answers)
    await draining
    assert any(answer.status == 503 and "shutting down" in answer.body for answer in watcher.answers)


async def test_ready_names_a_service_that_fell_silent_and_since_when(tmp_path: Path) -> None:
    with Nats(tmp_path) as broker:
        async with running(config_at(broker.port)) as daemon:
            await until(lambda: daemon.engine.stats.mqtt.subscribed and daemon.latest.value)
            where = {"hostname": "127.0.0.1", "port": broker.port, "protocol": MQTTProtocolVersion.MQTTv311}
            await asyncio.to_thread(lambda: single(TOPIC, '{"session": "v", "play_s": 2}', **where))
            await until(lambda: daemon.latest.value and daemon.latest.value.snapshot.sessions)
            await until(lambda: state_of(daemon, "video").since_s is not None)
            answer = await get(daemon, "/readyz")
            words = r"ready; no reports from service video for \d+s, since [-\d]{10} [:\d]{8} UTC\n"
            assert answer.status == 200
            assert re.fullmatch(words, answer.body)


def state_of(daemon: Daemon, service: str) -> GroupState:
    assert daemon.latest.value is not None
    found = daemon.latest.value.detections.states[service].whole
    return found if found.state is State.NO_DATA else GroupState(found.state)


class Watcher:
    """Asks again and again until nobody answers any more, over one connection.

    A connection that is made while a server closes may be left without an answer, so it makes no second one.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.answers: list[Answer] = []

    async def run(self) -> None:
        once = aiohttp.TCPConnector(limit=1)
        patience = aiohttp.ClientTimeout(total=WAIT_S)
        async with aiohttp.ClientSession(connector=once, timeout=patience) as client:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                while True:
                    async with client.get(self._url) as answer:
                        text = await answer.text()
                    self.answers.append(Answer(answer.status, answer.headers["Content-Type"], text))


async def test_each_page_has_its_content_type_and_others_are_not_found(unused_port: int) -> None:
    async with running(config_at(unused_port)) as daemon:
        await until(lambda: daemon.latest.value)
        metrics = await get(daemon, "/metrics")
        assert metrics.content_type.startswith("text/plain; version=")
        assert "qoemon_build_info" in metrics.body
        snapshot = await get(daemon, "/api/v1/snapshot")
        assert snapshot.content_type.startswith("application/json")
        index = await get(daemon, "/")
        assert all(path in index.body for path in ("/metrics", "/api/v1/snapshot", "/healthz", "/readyz"))
        assert (await get(daemon, "/nothing")).status == 404


async def test_answers_of_users_are_served_by_service(unused_port: int) -> None:
    async with running(config_at(unused_port)) as daemon:
        await until(lambda: daemon.latest.value)
        answer = await get(daemon, "/api/v1/feedback?service=web")
        assert answer.content_type.startswith("application/json")
        found = json.loads(answer.body)
        assert (found["service"], found["axes"], found["days"]) == ("web", ["response_s"], [])
        unknown = await get(daemon, "/api/v1/feedback?service=tv")
        assert unknown.status == 400
        assert unknown.body == "there is no service 'tv', expected service= one of video, web\n"
        missing = await get(daemon, "/api/v1/feedback")
        assert missing.status == 400
        assert missing.body.startswith("service is missing, expected service= one of ")


async def test_sums_are_computed_at_the_request(unused_port: int) -> None:
    async with running(config_at(unused_port)) as daemon:
        await until(lambda: daemon.latest.value)
        for by, labels in (("", []), ("cdn", ["cdn"]), ("cdn,%20region", ["region", "cdn"])):
            answer = await get(daemon, f"/api/v1/snapshot?by={by}")
            assert answer.content_type.startswith("application/json")
            assert json.loads(answer.body)["labels"] == labels
        unknown = await get(daemon, "/api/v1/snapshot?by=cdn,planet")
        assert unknown.status == 400
        assert unknown.body == (
            "unknown label planet: by is 'cdn,planet', expected labels out of region, cdn, separated by commas, "
            "or nothing for sums over all groups\n"
        )


async def test_unwell_once_ticks_stop_coming(unused_port: int) -> None:
    async with running(config_at(unused_port)) as daemon:
        await until(lambda: daemon.latest.value)
        daemon.tick_loop.stop()
        await until(lambda: "qoemon.daemon" not in {task.get_name() for task in asyncio.all_tasks()})
        vars(daemon.tick_loop)["_polled_s"] -= 60  # As if the last tick had been a minute ago.
        for path in ("/healthz", "/readyz"):
            answer = await get(daemon, path)
            assert answer.status == 503
            assert "expected one every 1 s" in answer.body


async def test_a_port_in_use_is_told_in_words_and_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}.*in use"):
            async with running(config_at(1, {"port": port})):
                pytest.fail("it runs without its port")
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"qoemon.source", "qoemon.tick_loop"})


async def test_an_ipv6_host_is_served_and_written_in_brackets(unused_port: int) -> None:
    async with running(config_at(unused_port, {"host": "::1"})) as daemon:
        assert re.fullmatch(r"http://\[::1\]:\d+", daemon.url)
        assert (await get(daemon, "/healthz")).status == 200
