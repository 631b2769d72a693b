"""The connection that carries the records of a lease."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from qoemon.outputs.pair.lease import Lease, Record
from qoemon.outputs.pair.mqtt import LeaseTopic
from tests.support.parts import broker_at
from tests.support.patience import WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from tests.support.parts import Mosquitto


@pytest.mark.mosquitto
async def test_it_ends_though_the_library_loses_its_cancellation(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wait_for of Python 3.11 does, by which aiomqtt waits, if the answer comes at the same moment."""
    publishing = asyncio.Event()

    async def publish(*_: object, **__: object) -> None:
        publishing.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(aiomqtt.Client, "publish", publish)
    broker, lease = broker_at(mosquitto.port, client_id="qoemon-a"), Lease("a", "run-a", 4.0)
    topic = LeaseTopic(broker, "qoemon-a-pair", "qoe/v1/pair", lease, lambda: None, time.monotonic)
    running = asyncio.create_task(topic.run())
    await until(lambda: topic.connected)
    topic.publish(Record("a", "run-a", 1, 1))
    await publishing.wait()
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=WAIT_S)
    running.cancel()
    assert ended
