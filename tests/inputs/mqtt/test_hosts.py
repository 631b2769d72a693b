"""Several addresses of the broker: tried in turn, and named where they are used."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.net.mqtt.client import Address, Broker
from tests.inputs.mqtt.test_consumer import payloads, publish, receive, running
from tests.support.parts import Daemon, Mosquitto, broker_at, emptied, unused_port
from tests.support.patience import async_until as until
from tests.support.patience import until as wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Mosquitto, Mosquitto]]:
    """Two brokers that do not know each other."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with Mosquitto(tmp_path / "first") as first, Mosquitto(tmp_path / "second") as second:
        yield first, second


def at(*ports: int) -> Broker:
    first, *others = ports
    return broker_at(first, others=tuple(Address("localhost", port) for port in others))


async def arrives(ingest: MqttConsumer, inbox: Inbox, part: Mosquitto, payload: bytes) -> None:
    """It has subscribed there, and receives what is published there.

    Before it may come what the broker sends again: it may have ended before it has read our acknowledgement.
    """
    await until(
        lambda: ingest.stats.subscribed and ingest.broker.port == part.port,
        lambda: f"{ingest.broker}, {ingest.stats}",
    )
    await publish(broker_at(part.port), [payload])
    messages: list[Message] = []
    while payload not in payloads(messages):
        messages += await receive(inbox, 1)
    ingest.ack(messages)


@pytest.mark.mosquitto
async def test_the_next_broker_is_used_when_one_is_lost_and_the_first_again_after_the_last(
    pair: tuple[Mosquitto, Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qoemon")
    first, second = pair
    inbox = Inbox(1000, 100_000)
    async with running(MqttConsumer(at(first.port, second.port), inbox)) as ingest:
        await arrives(ingest, inbox, first, b"1")
        first.kill()
        await arrives(ingest, inbox, second, b"2")
        first.start()
        second.kill()
        await arrives(ingest, inbox, first, b"3")
    log = [record.getMessage() for record in caplog.records]
    names = [f"localhost:{part.port}" for part in pair]
    used = [line.split(" as ")[0] for line in log if line.startswith("connected to")]
    assert used == [f"connected to {names[index]}" for index in (0, 1, 0)]
    (lost, *_) = (line for line in log if line.startswith(f"lost the connection to {names[0]} "))
    assert lost.endswith(f" s, at {names[1]}")


@pytest.mark.mosquitto
async def test_what_waits_at_a_broker_comes_when_it_is_used_again(
    pair: tuple[Mosquitto, Mosquitto], caplog: pytest.LogCaptureFixture
) -> None:
    """The session there is kept; that the other has none is a warning, once."""
    first, second = pair
    inbox = Inbox(1000, 100_000)
    async with running(MqttConsumer(at(first.port, second.port), inbox)) as ingest:
        await arrives(ingest, inbox, first, b"1")
        await publish(broker_at(first.port), [b"not acknowledged"])
        assert payloads(await receive(inbox, 1)) == [b"not acknowledged"]
        first.restart()  # Stores its sessions.
        await arrives(ingest, inbox, second, b"2")
        assert ingest.stats.sessions_lost_total == 1
        second.restart()
        assert b"not acknowledged" in payloads(await receive(inbox, 1))
        first.restart()
        await arrives(ingest, inbox, second, b"3")
        assert ingest.stats.sessions_lost_total == 1
    (warning,) = (line for line in caplog.messages if "our session" in line)
    assert f"localhost:{second.port} does not have our session of localhost:{first.port}" in warning


async def test_each_address_is_tried_in_turn_and_a_lasting_failure_is_logged_once_for_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ports = [unused_port() for _ in range(3)]
    tried: list[int] = []

    class Trying(MqttConsumer):
        def _begin(self, client: object) -> object:  # type: ignore[override]
            tried.append(self.broker.port)
            return super()._begin(client)  # type: ignore[arg-type]

    async with running(Trying(at(*ports), Inbox(10, 1000))):
        await until(lambda: len(tried) >= 7, lambda: tried)
    assert tried[:7] == [*ports, *ports, ports[0]]
    failures = [line for line in caplog.messages if "connection refused" in line]
    assert [line.split(": ")[0] for line in failures] == [f"cannot connect to localhost:{port}" for port in ports]


@pytest.mark.mosquitto
async def test_an_inbox_that_is_full_changes_no_broker(pair: tuple[Mosquitto, Mosquitto]) -> None:
    """The connection is ended by us, to receive again at the same broker."""
    first, second = pair
    inbox, taken = Inbox(10, 100_000), list[bytes]()
    async with running(MqttConsumer(at(first.port, second.port), inbox)) as ingest:
        await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)
        await publish(broker_at(first.port), [b"%d" % number for number in range(35)])

        def all_taken() -> bool:
            messages = emptied(inbox)
            ingest.ack(messages)
            taken.extend(payloads(messages))
            return len(taken) >= 35

        await until(all_taken, lambda: f"{taken}, {ingest.stats}")
        assert ingest.broker.port == first.port
        assert ingest.stats.connects_total > 1


@pytest.mark.mosquitto
def test_the_daemon_goes_to_the_second_broker_and_back(
    pair: tuple[Mosquitto, Mosquitto], start_daemon: Callable[..., Daemon]
) -> None:
    first, second = pair
    mqtt = {
        "hosts": ["localhost", f"127.0.0.1:{second.port}"],
        "port": first.port,
        "reconnect": {"min": "100ms", "max": "1s"},
    }
    daemon = start_daemon({"mqtt": mqtt, "sessions": {"tick": "1s"}}).ready()

    def reports(part: Mosquitto, seq: int) -> None:
        """A report to this broker once the daemon has subscribed there reaches the session."""
        report = b'{"session": "a", "seq": %d, "stall_count": 0, "stall_s": 0, "play_s": %d}' % (seq, seq)
        asyncio.run(publish(broker_at(part.port), [report]))
        wait_until(lambda: daemon.value("qoemon_messages_total") == seq, daemon.log.read_text)

    def connected(part: Mosquitto, host: str, times: int = 1) -> None:
        words = f"connected to {host}:{part.port} as"
        wait_until(lambda: daemon.log.read_text().count(words) == times, daemon.log.read_text)
        subscribed = "subscribed to qoe/"
        done = lambda: daemon.log.read_text().rpartition(words)[2].count(subscribed)  # noqa: E731
        wait_until(done, daemon.log.read_text)

    connected(first, "localhost")
    reports(first, 1)
    first.kill()
    connected(second, "127.0.0.1")
    reports(second, 2)
    first.start()
    second.kill()
    connected(first, "localhost", times=2)
    reports(first, 3)
