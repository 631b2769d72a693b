"""A daemon behind a bad network comes to the same numbers as one beside the broker: each report counts once.

The reports are such that it does not matter when they arrive: response times, and sessions of a single report.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiomqtt
import msgspec
import pytest

from qoemon.config.config import Config
from qoemon.core.counting.counts import Event
from qoemon.daemon.daemon import Daemon, running
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from tests.support.parts import Mosquitto, broker_at, unused_port
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until
from tests.support.proxy import Proxy

pytestmark = pytest.mark.mosquitto

GROUPS = ("eu/a", "us/b")
PER_MESSAGE = 5


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", NEVER_S)


def config_at(port: int, name: str, keepalive_s: int) -> Config:
    settings = {
        "mqtt": {
            "host": "127.0.0.1",
            "port": port,
            "client_id": name,
            "keepalive": f"{keepalive_s}s",
            "reconnect": {"min": "50ms", "max": "100ms"},
        },
        # No session may time out while its reports are on their way a second time.
        "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "300s", "min_active": "2s"},
        "windows": ["5s"],
        "http": {"port": 0},
    }
    return Config.model_validate(settings)


class Place(NamedTuple):
    """A daemon behind the proxy, one that sees the broker itself, and a way to publish there."""

    proxy: Proxy
    disturbed: Daemon
    undisturbed: Daemon
    publisher: Publisher


class Publisher:
    """Publishes messages of PER_MESSAGE reports at QoS 1, straight at the broker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client, self._rng = client, random.Random(1)
        self.reports = 0

    async def publish(self, messages: int, pause_s: float = 0.0) -> None:
        for _ in range(messages):
            service, group = self._rng.choice(("video", "web")), self._rng.choice(GROUPS)
            told = [self._report(service) for _ in range(PER_MESSAGE)]
            await self._client.publish(f"qoe/v1/{service}/{group}", msgspec.json.encode(told), qos=1)
            await asyncio.sleep(pause_s)

    def _report(self, service: str) -> dict[str, Any]:
        self.reports += 1
        # A few sessions read, each page a report; each viewer reports once.
        who = f"viewer-{self.reports}" if service == "video" else f"reader-{self.reports % 7}"
        told: dict[str, Any] = {"session": f"{service}-{who}", "seq": self.reports}
        if service == "web":
            return told | {"response_s": round(self._rng.expovariate(0.3), 3)}
        # A session of three seconds is rated once, wherever rating intervals begin, and each part of it is alike.
        stalls = self._rng.randrange(2)
        return told | {"stall_count": stalls, "stall_s": 3.0 * stalls, "play_s": 3.0 * (1 - stalls)}


@contextlib.asynccontextmanager
async def place(mosquitto: Mosquitto, keepalive_s: int = 3600, **network: Any) -> AsyncIterator[Place]:
    """Both daemons are subscribed; in the end nothing of them is left."""
    before = asyncio.all_tasks()
    async with (
        Proxy(mosquitto.port, **network).running() as proxy,
        aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=WAIT_S) as client,
        running(config_at(proxy.port, "disturbed", keepalive_s)) as disturbed,
        running(config_at(mosquitto.port, "undisturbed", keepalive_s)) as undisturbed,
    ):
        for daemon in (disturbed, undisturbed):
            work = daemon.engine
            await until(lambda work=work: work.stats.mqtt.subscribed, lambda work=work: work.stats)  # type: ignore[misc]
        yield Place(proxy, disturbed, undisturbed, Publisher(client))
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def counted(daemon: Daemon) -> dict[str, Any]:
    """Its cumulative counters: qoemon_reports_total, and by service and group the ratings and the histograms."""
    assert daemon.latest.value is not None
    snapshot = daemon.latest.value.snapshot
    told: dict[str, Any] = {"reports": snapshot.events.get(Event.REPORT, 0)}
    for service in snapshot.services:
        tally = service.counts
        for number, labels in enumerate(tally.groups):
            ratings = [round(float(share), 6) for share in tally.expected_ratings[number]]
            marginals = [axis[number].tolist() for axis in tally.marginals]
            told["/".join((tally.service, *labels))] = (ratings, marginals)
    return told


async def agree(here: Place) -> None:
    """Both have counted all that was published, once, and judged it in closed intervals."""
    reports = here.publisher.reports

    def done() -> bool:
        told = [counted(daemon) for daemon in (here.disturbed, here.undisturbed) if daemon.latest.value]
        return len(told) == 2 and told[0] == told[1] and judged(told[0]) == told[0]["reports"] == reports

    def failure() -> str:
        one, other = counted(here.disturbed), counted(here.undisturbed)
        differ = [(name, one.get(name), told) for name, told in other.items() if one.get(name) != told]
        totals = [(told["reports"], judged(told)) for told in (one, other)]
        return f"{reports} reports were published; counted, judged: {totals}; these differ: {differ}"

    await until(done, failure)


def judged(told: dict[str, Any]) -> int:
    """How many users' ratings the counters hold: here each report is one."""
    return round(sum(sum(ratings) for ratings, _ in (each for name, each in told.items() if name != "reports")))


async def test_cuts_inside_messages_lose_nothing_and_count_nothing_twice(mosquitto: Mosquitto) -> None:
    """Cut after any number of bytes: in a head, a topic, a payload, between two."""
    rng = random.Random(2)
    async with place(mosquitto) as here:
        for _ in range(12):
            here.proxy.cut_after(rng.randrange(1, 1500))
            made = here.proxy.made
            await here.publisher.publish(8)
            await until(lambda made=made: here.proxy.made > made, lambda: here.disturbed.engine.stats.mqtt)  # type: ignore[misc]
            assert not here.proxy.cutting
        await agree(here)
        ingest = here.disturbed.engine.stats.mqtt
        assert ingest.disconnects_total + ingest.connect_failures_total >= 12
        assert here.undisturbed.engine.stats.mqtt.disconnects_total == 0


async def test_connections_dropped_in_a_stream_lose_nothing_and_count_nothing_twice(mosquitto: Mosquitto) -> None:
    rng = random.Random(3)
    async with place(mosquitto) as here:
        work = here.disturbed.engine
        for _ in range(10):
            publishing = asyncio.create_task(here.publisher.publish(30, pause_s=0.01))
            await asyncio.sleep(rng.uniform(0.1, 0.3))
            await until(lambda: work.stats.mqtt.connected, lambda: work.stats)
            here.proxy.drop()
            await publishing
        await agree(here)
        assert work.stats.mqtt.connects_total > 10


async def test_a_half_open_connection_is_found_by_the_keepalive_and_replaced(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody hangs up: nothing arrives any more. A ping goes after the keepalive, and waits for one more."""
    async with place(mosquitto, keepalive_s=2) as here:
        await here.publisher.publish(10)
        here.proxy.fall_silent()
        await here.publisher.publish(20)
        work = here.disturbed.engine
        await until(lambda: work.stats.mqtt.disconnects_total, lambda: work.stats)
        await agree(here)
    assert "no sign of life within the keepalive time" in caplog.text


async def test_bytes_that_come_one_by_one_are_the_same_messages(mosquitto: Mosquitto) -> None:
    async with place(mosquitto, byte_by_byte=True) as here:
        await here.publisher.publish(40)
        await agree(here)
        assert here.disturbed.engine.stats.mqtt.connects_total == 1


async def test_a_second_each_way_changes_nothing(mosquitto: Mosquitto) -> None:
    """As long as a round trip is shorter than the keepalive."""
    async with place(mosquitto, delay_s=1.0) as here:
        await here.publisher.publish(200, pause_s=0.02)
        await agree(here)
        assert here.disturbed.engine.stats.mqtt.connects_total == 1


async def test_a_session_that_expired_at_the_broker_is_told_and_begun_anew(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qoemon")
    async with Proxy(mosquitto.port).running() as proxy:
        broker = broker_at(proxy.port, host="127.0.0.1", session_expiry_s=1)
        ingest = MqttConsumer(broker, Inbox(100, 10**6))
        task = asyncio.create_task(ingest.run())
        await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)
        proxy.server_port = unused_port()
        proxy.drop()
        await until(lambda: "Expiring client qoemon-test" in mosquitto.log.read_text(), mosquitto.log.read_text)
        proxy.server_port = mosquitto.port
        await until(lambda: ingest.stats.connects_total == 2 and ingest.stats.subscribed, lambda: ingest.stats)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "has forgotten our session" in caplog.text
