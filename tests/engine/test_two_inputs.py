"""An engine with a broker and a collector: one inbox, and each message is acknowledged where it came from."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from paho.mqtt.publish import single

from qoemon.config.config import Config
from qoemon.engine.local import LocalEngine
from tests.support.patience import async_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.parts import Mosquitto

NOW_S = 2_000_000_000
"""A tick after everything."""


@contextlib.asynccontextmanager
async def engine(mqtt: dict[str, Any] | None, **limits: int) -> AsyncIterator[LocalEngine]:
    """An engine that receives, and processes only what the test asks for."""
    config = Config.model_validate({"mqtt": mqtt, "collector": {"port": 0}, "limits": limits})
    made = LocalEngine(config, None)
    await made.listen()
    parts = [asyncio.create_task(part) for part in made.parts().values()]
    try:
        await async_until(lambda: made.stats.connected)
        yield made
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        made.close()


def broker(mosquitto: Mosquitto) -> dict[str, Any]:
    reconnect = {"min": "50ms", "max": "100ms"}
    return {"host": "127.0.0.1", "port": mosquitto.port, "client_id": "two", "reconnect": reconnect}


def report(session: str) -> dict[str, Any]:
    return {"session": session, "seq": 1, "play_s": 10.0}


async def post(made: LocalEngine, session: str) -> int:
    collector = made.shard.sources.collector
    assert collector is not None
    url = f"http://127.0.0.1:{collector.port}/cmcd/v1/video/eu/a"
    async with aiohttp.ClientSession() as client, client.post(url, json=report(session)) as answer:
        return answer.status


async def publish(mosquitto: Mosquitto, session: str) -> None:
    payload = json.dumps(report(session))
    await asyncio.to_thread(single, "qoe/v1/video/eu/a", payload, qos=1, hostname="127.0.0.1", port=mosquitto.port)


@pytest.mark.mosquitto
async def test_what_fills_the_inbox_over_http_holds_back_the_broker_only_until_it_is_processed(
    mosquitto: Mosquitto,
) -> None:
    async with engine(broker(mosquitto), inbox_messages=1) as made:
        async with asyncio.TaskGroup() as posting:
            posted = posting.create_task(post(made, "over http"))
            await async_until(lambda: made.stats.inbox_messages)
            await publish(mosquitto, "over mqtt")
            await async_until(lambda: made.stats.withheld)
            assert not posted.done()
            await made.process_pending()
        assert posted.result() == 204
        await async_until(lambda: made.stats.inbox_messages)  # The broker has delivered it again.
        await made.process_pending()
        tick = await made.tick(NOW_S)
        assert tick is not None
        assert tick.snapshot.events["reports"] == 2
        assert made.stats.mqtt is not None
        assert made.stats.mqtt.acks_total == 1


@pytest.mark.mosquitto
async def test_what_fills_the_inbox_over_mqtt_is_429_until_it_is_processed(mosquitto: Mosquitto) -> None:
    async with engine(broker(mosquitto), inbox_messages=1) as made:
        await publish(mosquitto, "over mqtt")
        await async_until(lambda: made.stats.inbox_messages)
        assert await post(made, "over http") == 429
        await made.process_pending()
        async with asyncio.TaskGroup() as posting:
            posted = posting.create_task(post(made, "over http"))
            await async_until(lambda: made.stats.inbox_messages)
            await made.process_pending()
        assert posted.result() == 204


async def test_without_a_broker_the_engine_counts_as_connected_and_has_no_figures_of_one() -> None:
    async with engine(None) as made:
        assert made.stats.connected
        assert made.stats.mqtt is None
        assert not [family.name for family in made.metrics(NOW_S) if "mqtt" in family.name]
