"""Two daemons' parts of a pair, with a real broker and real HTTP between them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from qoemon.outputs.notify.http_client import Address
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.pair.pair import Pair, PairOptions
from qoemon.outputs.pair.routes import add_pair
from qoemon.outputs.pair.standing import PATH
from tests.support.http import serve_app
from tests.support.parts import broker_at, unused_port
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from qoemon.core.alerting.alerts import AlertKey
    from tests.support.parts import Mosquitto

pytestmark = pytest.mark.mosquitto

LEASE_S = 4.0


@dataclass
class Half:
    """One daemon of a pair, without what a daemon has besides."""

    pair: Pair
    ready: bool = True
    adopted: list[Mapping[AlertKey, int]] = field(default_factory=list)

    async def adopt(self, firing: Mapping[AlertKey, int]) -> None:
        self.adopted.append(firing)


@contextlib.asynccontextmanager
async def halves(broker: int, **of_b: Any) -> AsyncIterator[tuple[Half, Half]]:
    """Both, running. of_b: options of the second that differ; client_id is that of its connection for reports."""
    ports = unused_port(), unused_port()
    made = []
    async with contextlib.AsyncExitStack() as parts:
        tasks = await parts.enter_async_context(asyncio.TaskGroup())
        for name, own, other, changes in (("a", *ports, {}), ("b", *reversed(ports), of_b)):
            client_id = changes.get("client_id", f"qoemon-{name}")
            settings = {"name": name, "topic": "qoe/v1/pair", "lease_s": LEASE_S, "login": None, "tick_s": 10}
            settings |= {"peer": Address(f"http://127.0.0.1:{other}{PATH}")}
            settings |= {key: value for key, value in changes.items() if key != "client_id"}
            pair = Pair(PairOptions(**settings), broker_at(broker, client_id=client_id), run=f"run-{name}")
            half = Half(pair)
            made.append(half)
            app = web.Application()
            add_pair(app, pair)
            serving, _ = await serve_app(app, port=own)
            parts.push_async_callback(serving.cleanup)
            running = pair.run(Notifier([], pair), half.adopt, lambda half=half: half.ready)
            parts.callback(tasks.create_task(running, name=name).cancel)
        yield made[0], made[1]


async def one_of(a: Half, b: Half) -> tuple[Half, Half]:
    """Wait until one of them leads; that one first."""
    await until(lambda: a.pair.leads is not b.pair.leads and a.adopted + b.adopted)
    return (a, b) if a.pair.leads else (b, a)


async def test_a_daemon_that_is_not_ready_hands_over_to_one_that_is(mosquitto: Mosquitto) -> None:
    async with halves(mosquitto.port) as (a, b):
        leader, spare = await one_of(a, b)
        leader.ready = False
        await until(lambda: spare.pair.leads)
        assert not leader.pair.leads


async def test_a_daemon_that_stops_gives_the_lease_back(mosquitto: Mosquitto) -> None:
    async with halves(mosquitto.port) as (a, b):
        leader, spare = await one_of(a, b)
        await leader.pair.release()
        assert not leader.pair.leads
        await until(lambda: spare.pair.leads)
        assert "stands by" in spare.pair.remark()


@pytest.mark.parametrize(
    ("of_b", "words"),
    [
        ({"name": "a"}, "both daemons have pair.name a"),
        ({"client_id": "qoemon-a"}, "both daemons have mqtt.client_id qoemon-a"),
        ({"topic": "another"}, "pair.topic is another here and qoe/v1/pair in the other daemon"),
        ({"lease_s": 8.0}, "pair.lease is 8 s here and 4 s in the other daemon"),
    ],
)
async def test_configurations_that_do_not_fit_are_reported(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture, of_b: dict[str, Any], words: str
) -> None:
    async with halves(mosquitto.port, **of_b):
        await until(lambda: words in caplog.text, lambda: caplog.text)
    assert {record.levelno for record in caplog.records if words in record.message} == {logging.ERROR}


async def test_a_daemon_without_an_answer_says_why(mosquitto: Mosquitto) -> None:
    nobody = Address(f"http://127.0.0.1:{unused_port()}{PATH}")
    async with halves(mosquitto.port, peer=nobody) as (_, b):
        await until(lambda: "connection refused" in b.pair.remark(), b.pair.remark)
