"""Ingest against real brokers: what is acknowledged, what comes again, what it says when it cannot receive.

Only what these brokers never do is played by a scripted one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from qoemon.common.backoff import Repeats, backoff_s
from qoemon.inputs.inbox import Inbox, Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.net.mqtt.client import Broker, new_client
from qoemon.net.mqtt.errors import describe_error
from qoemon.net.mqtt.tls import Tls
from tests.support.parts import Certificates, Mosquitto, Nats, broker_at, certificates, emptied
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

BROKERS = [
    pytest.param("mosquitto", "5", id="mosquitto-5", marks=pytest.mark.mosquitto),
    pytest.param("mosquitto", "3.1.1", id="mosquitto-3.1.1", marks=pytest.mark.mosquitto),
    pytest.param("nats", "3.1.1", id="nats-3.1.1"),
]


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker that runs, with the version of MQTT to use there; parametrised by BROKERS."""
    part, version = request.param
    return broker_at(request.getfixturevalue(part).port, version=version)


on_each_broker = pytest.mark.parametrize(
    "broker", [pytest.param(p.values, id=p.id, marks=p.marks) for p in BROKERS], indirect=True
)


@contextlib.asynccontextmanager
async def running(ingest: MqttConsumer) -> AsyncIterator[MqttConsumer]:
    task = asyncio.create_task(ingest.run())
    try:
        yield ingest
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def subscribed(broker: Broker, inbox: Inbox | None = None) -> AsyncIterator[tuple[MqttConsumer, Inbox]]:
    """An Ingest that has subscribed, and its inbox."""
    inbox = inbox or Inbox(100_000, 100_000_000)
    async with running(MqttConsumer(broker, inbox)) as ingest:
        await until(lambda: ingest.stats.subscribed, lambda: f"no subscription: {ingest.stats}")
        yield ingest, inbox


@contextlib.asynccontextmanager
async def publisher(broker: Broker) -> AsyncIterator[aiomqtt.Client]:
    version = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}[broker.version]
    async with aiomqtt.Client(
        "127.0.0.1",
        broker.port,
        protocol=version,
        username=broker.username,
        password=broker.password,
        timeout=WAIT_S,
    ) as client:
        yield client


async def publish(broker: Broker, payloads: Iterable[bytes], qos: int = 1, **options: Any) -> None:
    """Publish, in this order, and return once the broker has them all."""
    async with publisher(broker) as client:
        for payload in payloads:
            await client.publish("qoe/v1/video/eu/a", payload, qos, **options)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


def payloads(messages: Iterable[Message]) -> list[bytes]:
    return [message.payload for message in messages]


async def receive(inbox: Inbox, count: int) -> list[Message]:
    """The next messages, at least this many."""
    taken: list[Message] = []

    def enough() -> bool:
        taken.extend(emptied(inbox))
        return len(taken) >= count

    await until(enough, lambda: f"received {len(taken)} of {count} messages: {payloads(taken)[:20]}")
    return taken


@on_each_broker
@pytest.mark.parametrize("qos", [0, 1])
async def test_messages_arrive_in_order_with_topic_payload_and_time(broker: Broker, qos: int) -> None:
    inbox = Inbox(1000, 100_000)
    async with running(MqttConsumer(broker, inbox, clock=lambda: 1234.5)) as ingest:
        await until(lambda: ingest.stats.subscribed, lambda: str(ingest.stats))
        await publish(broker, [b"first", b"", b"\x00\xff"], qos=qos)
        messages = await receive(inbox, 3)
    assert payloads(messages) == [b"first", b"", b"\x00\xff"]
    assert {(m.topic, m.arrival_s, m.qos) for m in messages} == {("qoe/v1/video/eu/a", 1234.5, qos)}
    assert (ingest.stats.messages_total, ingest.stats.message_bytes_total) == (3, 7)
    assert ingest.stats.last_message_s == 1234.5
    assert ingest.stats.last_error is None


@on_each_broker
async def test_only_what_was_acknowledged_is_not_delivered_again(broker: Broker) -> None:
    async with subscribed(broker) as (ingest, inbox):
        await publish(broker, numbered(10))
        messages = await receive(inbox, 10)
        ingest.ack(messages[:4])
        assert ingest.stats.acks_total == 4
    async with subscribed(broker) as (_, inbox):
        assert payloads(await receive(inbox, 6)) == numbered(6, start=4)
        await publish(broker, [b"last"])  # Whatever else would come again, would come before this.
        assert payloads(await receive(inbox, 1)) == [b"last"]


@on_each_broker
async def test_what_was_published_while_we_were_away_arrives_after_a_restart(broker: Broker) -> None:
    async with subscribed(broker):
        pass
    await publish(broker, numbered(20))  # As many as mosquitto sends over MQTT 3.1.1 before the first ack.
    async with subscribed(broker) as (_, inbox):
        assert payloads(await receive(inbox, 20)) == numbered(20)


@on_each_broker
async def test_a_full_inbox_withholds_qos_1_and_nothing_is_lost_or_out_of_order(broker: Broker) -> None:
    inbox = Inbox(max_messages=7, max_bytes=100_000)
    async with subscribed(broker, inbox) as (ingest, _):
        await publish(broker, numbered(15))
        await until(lambda: inbox.withheld, lambda: "nothing withheld")
        received: list[bytes] = []

        def drained() -> bool:
            batch = emptied(inbox)
            received.extend(payloads(batch))
            ingest.ack(batch)
            return len(received) >= 15

        await until(drained, lambda: f"received {received}, {ingest.stats}")
        await publish(broker, [b"last"])
        assert payloads(await receive(inbox, 1)) == [b"last"]
    assert received == numbered(15)
    assert inbox.dropped == 0
    assert ingest.stats.connects_total >= 2
    assert ingest.stats.last_error is None


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_an_inbox_that_is_full_again_and_again_still_works_off_a_stream(
    mosquitto: Mosquitto, version: str
) -> None:
    """And what was acknowledged before each reconnect does not come again, however much is on its way."""
    broker = broker_at(mosquitto.port, version=version)
    received: list[bytes] = []
    async with subscribed(broker, Inbox(max_messages=15, max_bytes=100_000)) as (ingest, inbox):
        publishing = asyncio.create_task(publish(broker, numbered(300)))
        while len(received) < 300:
            before = inbox.withheld
            await until(
                lambda before=before: inbox.withheld > before or publishing.done(), lambda: str(ingest.stats)
            )  # type: ignore[misc]
            await asyncio.sleep(0.02)
            batch = emptied(inbox)
            received += payloads(batch)
            ingest.ack(batch)
        await publishing
    assert received == numbered(300)
    assert ingest.stats.connects_total >= 2


@pytest.mark.mosquitto
async def test_a_full_inbox_drops_qos_0_and_counts_it(mosquitto: Mosquitto) -> None:
    broker = broker_at(mosquitto.port)
    async with subscribed(broker, Inbox(max_messages=5, max_bytes=1000)) as (ingest, inbox):
        await publish(broker, numbered(20), qos=0)
        await until(lambda: ingest.stats.messages_total == 20, lambda: str(ingest.stats))
        assert (inbox.dropped, inbox.withheld) == (15, 0)
        ingest.ack(emptied(inbox))
        await publish(broker, [b"next"], qos=0)
        assert payloads(await receive(inbox, 1)) == [b"next"]
    assert ingest.stats.connects_total == 1


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_restart_in_the_middle_of_a_stream_loses_nothing(mosquitto: Mosquitto, version: str) -> None:
    broker = broker_at(mosquitto.port, version=version)
    received: list[Message] = []
    async with subscribed(broker) as (ingest, inbox):
        await publish(broker, numbered(20))
        received += await receive(inbox, 20)  # Acknowledged by nobody yet.
        await asyncio.to_thread(mosquitto.restart)
        await until(lambda: ingest.stats.disconnects_total == 1, lambda: ingest.stats)
        ingest.ack(received)
        await publish(broker, numbered(100, start=20))

        def complete() -> bool:
            batch = emptied(inbox)
            received.extend(batch)
            ingest.ack(batch)
            return set(payloads(received)) == set(numbered(120))

        await until(complete, lambda: f"received {len(set(payloads(received)))} of 120, {ingest.stats}")
    assert ingest.stats.disconnects_total == 1
    assert ingest.stats.stale_acks_total == 20


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_session_that_the_broker_lost_is_counted_and_logged_and_one_that_it_kept_is_not(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        async with subscribed(broker_at(mosquitto.port, version=version)) as (ingest, _):
            for connections, lost in ((2, 0), (3, 1), (4, 1)):
                mosquitto.stop()
                if connections == 3:
                    (tmp_path / "mosquitto.db").unlink()
                mosquitto.start()
                await until(
                    lambda connections=connections: (  # type: ignore[misc]
                        ingest.stats.connects_total == connections and ingest.stats.subscribed
                    ),
                    lambda: ingest.stats,
                )
                assert ingest.stats.sessions_lost_total == lost
    assert caplog.text.count("has forgotten our session") == 1


async def test_a_killed_broker_is_noticed_at_once_and_found_again(nats: Nats) -> None:
    """Without the keepalive."""
    async with subscribed(broker_at(nats.port, version="3.1.1", keepalive_s=3600)) as (ingest, _):
        await asyncio.to_thread(nats.kill)
        await until(lambda: ingest.stats.connect_failures_total, lambda: str(ingest.stats))
        assert not ingest.stats.connected
        assert not ingest.stats.subscribed
        assert "connection refused" in str(ingest.stats.last_error)
        await asyncio.to_thread(nats.start)
        await until(lambda: ingest.stats.subscribed, lambda: str(ingest.stats))
    assert ingest.stats.last_error is None


@pytest.mark.mosquitto
async def test_the_broker_may_have_thousands_in_flight(mosquitto: Mosquitto) -> None:
    """mosquitto's own limit is 20, with which a tick of 100 ms would allow 200 messages a second."""
    broker = broker_at(mosquitto.port)
    async with subscribed(broker) as (_, inbox):
        async with publisher(broker) as client:
            await asyncio.gather(*(client.publish("qoe/v1/video/eu/a", b"x", 1) for _ in range(500)))
        assert len(await receive(inbox, 500)) == 500


@pytest.mark.mosquitto
async def test_receive_maximum_bounds_what_is_in_flight(mosquitto: Mosquitto) -> None:
    broker = broker_at(mosquitto.port, receive_maximum=3)
    async with subscribed(broker) as (ingest, inbox):
        await publish(broker, numbered(10))
        first = await receive(inbox, 3)
        await asyncio.sleep(0.3)
        assert inbox.messages == 0
        ingest.ack(first)
        assert payloads(await receive(inbox, 7)) == numbered(7, start=3)


@on_each_broker
async def test_a_retained_message_is_old_news(broker: Broker) -> None:
    await publish(broker, [b"old"], retain=True)
    async with subscribed(broker) as (ingest, inbox):
        await publish(broker, [b"new"])
        assert payloads(await receive(inbox, 1)) == [b"new"]
    assert ingest.stats.retained_ignored_total == 1


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_wrong_password_is_explained_once_and_tried_again(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, users={"reader": "right-1"}) as mosquitto:
        broker = broker_at(mosquitto.port, version=version, username="reader", password="wrong-2")  # noqa: S106
        async with running(MqttConsumer(broker, Inbox(10, 1000))) as ingest:
            await until(lambda: ingest.stats.connect_failures_total >= 3, lambda: str(ingest.stats))
        assert "check username" in str(ingest.stats.last_error)
        failures = [record.getMessage() for record in caplog.records if record.name == "qoemon.inputs.mqtt"]
        assert len(failures) == 1
        assert f"cannot connect to localhost:{mosquitto.port}" in failures[0]
        async with subscribed(replace(broker, password="right-1")):  # noqa: S106
            pass
    assert "wrong-2" not in caplog.text + repr(broker) + str(ingest.stats)


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_rotated_password_file_is_read_at_the_next_attempt(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each state of the file is the fault of that attempt only, in words that show nothing of its content."""
    file = tmp_path / "password"
    file.write_text("old-1\n")
    states: list[tuple[bytes | None, str]] = [
        (b"old-1\n", "check username"),
        (None, f"cannot read password_file {file}: no such file or directory"),
        (b"\n", f"cannot read password_file {file}: the file is empty"),
        (b"new-2\xff", f"cannot read password_file {file}: a byte that is not UTF-8"),
        (b"new-2" * 20_000, f"cannot use password_file {file}: more than 65535 bytes"),
    ]
    with Mosquitto(tmp_path, users={"reader": "old-1"}) as mosquitto:
        broker = broker_at(mosquitto.port, version=version, username="reader", password_file=file)
        async with subscribed(broker) as (ingest, _):
            mosquitto.stop()
            mosquitto.users["reader"] = "new-2"
            mosquitto.start()
            for content, words in states:
                file.unlink(missing_ok=True)
                if content is not None:
                    file.write_bytes(content)
                await until(lambda words=words: words in str(ingest.stats.last_error), lambda: ingest.stats)  # type: ignore[misc]
                assert not ingest.stats.connected
            file.write_text("new-2\n")
            await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)
            assert ingest.stats.last_error is None
    for secret in ("old-1", "new-2"):
        assert secret not in caplog.text + repr(broker) + repr(ingest.stats)


@pytest.mark.mosquitto
async def test_a_lower_qos_than_asked_is_said_and_still_received(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, options=["max_qos 0"]) as mosquitto:
        broker = broker_at(mosquitto.port)
        async with subscribed(broker) as (ingest, inbox):
            await publish(broker, [b"x"], qos=0)
            await receive(inbox, 1)
    assert "grants only QoS 0 for qoe/v1/+/+/+, requested 1" in caplog.text
    assert ingest.stats.last_error is None


async def test_a_refused_filter_is_named_and_the_others_are_received(tmp_path: Path) -> None:
    user = {"user": "reader", "password": "secret-1", "permissions": {"subscribe": {"deny": ["private.>"]}}}
    with Nats(tmp_path, users=[user]) as nats:
        broker = broker_at(nats.port, version="3.1.1", username="reader", password="secret-1")  # noqa: S106
        broker = replace(broker, filters=("qoe/v1/+/+/+", "private/#"))
        inbox = Inbox(10, 1000)
        async with running(MqttConsumer(broker, inbox)) as ingest:
            await until(lambda: ingest.stats.last_error, lambda: str(ingest.stats))
            await publish(broker, [b"x"])
            await receive(inbox, 1)
            assert ingest.stats.connected
            assert not ingest.stats.subscribed
    assert f"localhost:{nats.port} refuses the subscription to private/#" in str(ingest.stats.last_error)
    assert "user reader" in str(ingest.stats.last_error)


def tls_trusting(ca_file: Path | None) -> Tls:
    return Tls(ca_file=ca_file, cert_file=None, key_file=None, key_password=None)


@pytest.fixture
def issued(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "issued")


@pytest.mark.mosquitto
async def test_messages_arrive_over_tls_from_a_ca_that_we_trust(tmp_path: Path, issued: Certificates) -> None:
    with Mosquitto(tmp_path, tls=issued) as mosquitto:
        broker = broker_at(mosquitto.port, tls=tls_trusting(issued.ca))
        async with subscribed(broker) as (_, inbox):
            async with await new_client(replace(broker, client_id="publisher")) as client:
                await client.publish("qoe/v1/video/eu/a", b"x", 1)
            assert payloads(await receive(inbox, 1)) == [b"x"]


async def failure(broker: Broker, words: str = "") -> str:
    """Why the first attempt to connect fails, or the first one whose reason has these words."""
    async with running(MqttConsumer(broker, Inbox(10, 1000))) as ingest:
        await until(lambda: ingest.stats.last_error and words in ingest.stats.last_error, lambda: str(ingest.stats))
        assert ingest.stats.connects_total == 0
        return str(ingest.stats.last_error)


@pytest.mark.mosquitto
async def test_a_certificate_that_proves_nothing_is_refused_with_the_reason(
    tmp_path: Path, issued: Certificates
) -> None:
    with Mosquitto(tmp_path, tls=issued) as mosquitto:
        trusting = broker_at(mosquitto.port, tls=tls_trusting(issued.ca))
        other_ca = certificates(tmp_path / "other").ca
        assert "not from a CA that we trust" in await failure(replace(trusting, tls=tls_trusting(other_ca)))
        assert "not from a CA that we trust" in await failure(replace(trusting, tls=tls_trusting(None)))
        assert "for another host name" in await failure(replace(trusting, host="127.0.0.1"))
    expired = certificates(tmp_path / "expired", days=-1)
    with Mosquitto(tmp_path, tls=expired) as mosquitto:
        assert "expired" in await failure(broker_at(mosquitto.port, tls=tls_trusting(expired.ca)))


@pytest.mark.mosquitto
async def test_what_keeps_us_from_a_tls_connection_is_named(tmp_path: Path, mosquitto: Mosquitto) -> None:
    broker = broker_at(mosquitto.port, tls=tls_trusting(None))
    assert "the port" in (reason := await failure(broker))  # mosquitto hangs up, sooner or later.
    assert "TLS" in reason
    missing = tmp_path / "missing.pem"
    assert str(missing) in await failure(replace(broker, tls=tls_trusting(missing)))


async def test_a_port_that_answers_without_tls_is_named() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            writer.write(b"220 this is another service\r\n")
            await writer.drain()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        broker = broker_at(server.sockets[0].getsockname()[1], tls=tls_trusting(None))
        assert "the port answers without TLS" in await failure(broker)


async def test_what_keeps_us_from_connecting_is_named(nats: Nats, unused_port: int) -> None:
    assert "connection refused" in await failure(broker_at(unused_port))
    assert "no address is known" in await failure(broker_at(1883, host="no-such-host.invalid"))
    assert "not valid: check host" in await failure(broker_at(1883, host="x" * 70))
    assert "set version to the other one" in await failure(broker_at(nats.port, version="5"))


class ScriptedBroker:
    """A broker that lets every MQTT 5 client in, then sends what the test says, however wrong."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append(writer)
        with contextlib.closing(writer):
            while head := await reader.read(2):
                body = await reader.readexactly(head[1])  # Whatever Ingest sends is short.
                self.received.append(head + body)
                if head[0] >> 4 == 1:
                    writer.write(b"\x20\x03\x00\x00\x00")
                elif head[0] >> 4 == 8:
                    writer.write(b"\x90\x04" + body[:2] + b"\x00\x01")
                elif head[0] >> 4 == 10:
                    writer.write(b"\xb0\x04" + body[:2] + b"\x00\x11")

    def send(self, packet: bytes) -> None:
        self._connections[-1].write(packet)

    def publish(self, mid: int, topic: bytes = b"qoe/v1/video/eu/a") -> None:
        """QoS 1, with the identifier as payload."""
        body = len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + b"\x00" + b"%d" % mid
        self.send(bytes([0x32, len(body)]) + body)


@pytest.fixture
async def scripted() -> AsyncIterator[tuple[ScriptedBroker, Broker]]:
    script = ScriptedBroker()
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    async with server:
        yield script, broker_at(server.sockets[0].getsockname()[1])


async def test_another_client_with_our_client_id_is_named_as_the_reason(
    scripted: tuple[ScriptedBroker, Broker],
) -> None:
    script, broker = scripted
    async with subscribed(broker) as (ingest, _):
        script.send(b"\xe0\x01\x8e")
        await until(lambda: ingest.stats.last_error, lambda: str(ingest.stats))
        assert "give each client a client_id of its own" in str(ingest.stats.last_error)
        await until(lambda: ingest.stats.connects_total == 2, lambda: str(ingest.stats))


async def test_a_topic_that_is_not_text_is_counted_and_does_not_come_again(
    scripted: tuple[ScriptedBroker, Broker],
) -> None:
    """Not acknowledged, it would come again on every connection."""
    script, broker = scripted
    async with subscribed(broker) as (ingest, inbox):
        script.publish(mid=7, topic=b"qoe/v1/\xff\xfe/eu/a")
        await until(lambda: b"\x40\x02\x00\x07" in script.received, lambda: str(ingest.stats))
        assert (ingest.stats.bad_topics_total, inbox.messages) == (1, 0)


async def test_what_is_read_after_withholding_began_overtakes_nothing(
    scripted: tuple[ScriptedBroker, Broker],
) -> None:
    script, broker = scripted
    async with subscribed(broker, Inbox(max_messages=1, max_bytes=1000)) as (ingest, inbox):
        script.publish(mid=1)
        script.publish(mid=2)
        await until(lambda: inbox.withheld == 1, lambda: str(ingest.stats))
        script.publish(mid=3)  # There before our disconnect is written.
        batch = emptied(inbox)
        ingest.ack(batch)
        await until(lambda: ingest.stats.connects_total == 2, lambda: str(ingest.stats))
        assert payloads(batch + emptied(inbox)) == [b"1"]
        assert inbox.withheld == 2
        assert b"\x40\x02\x00\x01" in script.received


async def test_a_batch_of_an_earlier_connection_is_not_acknowledged(
    scripted: tuple[ScriptedBroker, Broker],
) -> None:
    """Its identifiers may stand for other messages by now."""
    script, broker = scripted
    async with subscribed(broker) as (ingest, inbox):
        script.publish(mid=5)
        batch = await receive(inbox, 1)
        script.send(b"\xe0\x01\x8b")
        await until(lambda: ingest.stats.connects_total == 2, lambda: str(ingest.stats))
        ingest.ack(batch)
        script.publish(mid=6)
        ingest.ack(await receive(inbox, 1))
        await until(lambda: b"\x40\x02\x00\x06" in script.received, lambda: str(ingest.stats))
    assert b"\x40\x02\x00\x05" not in script.received
    assert (ingest.stats.acks_total, ingest.stats.stale_acks_total) == (1, 1)


@pytest.fixture
def never_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end may wait for an answer."""
    monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", NEVER_S)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel, and see that it ends and leaves no task."""
    task.cancel()
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(asyncio.CancelledError):
            await task
    for _ in range(5):  # What aiomqtt cancels needs a turn of the loop to end.
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_each_broker
@pytest.mark.usefixtures("never_gives_up")
async def test_cancelling_disconnects_at_once_and_leaves_no_task(broker: Broker) -> None:
    ingest = MqttConsumer(broker, Inbox(10, 1000))
    task = asyncio.create_task(ingest.run())
    await until(lambda: ingest.stats.subscribed, lambda: str(ingest.stats))
    await cancelled(task)
    assert not ingest.stats.connected
    assert not ingest.stats.subscribed


@pytest.mark.usefixtures("never_gives_up")
async def test_cancelling_before_the_broker_answers_leaves_nothing_either() -> None:
    """The server accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ingest = MqttConsumer(broker_at(server.getsockname()[1]), Inbox(10, 1000))
        task = asyncio.create_task(ingest.run())
        server.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(server)
        with connection:
            connection.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b"\x10"
            await cancelled(task)
            async with asyncio.timeout(WAIT_S):
                while await asyncio.get_running_loop().sock_recv(connection, 1000):
                    pass


async def test_cancelling_between_attempts_ends_at_once(unused_port: int) -> None:
    ingest = MqttConsumer(broker_at(unused_port, reconnect_min_s=NEVER_S, reconnect_max_s=NEVER_S), Inbox(10, 1000))
    task = asyncio.create_task(ingest.run())
    await until(lambda: ingest.stats.connect_failures_total, lambda: str(ingest.stats))
    await cancelled(task)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiomqtt.MqttError("Disconnected"), "the broker ended the connection"),
        (TimeoutError(), "no answer within 10 s"),
        (ssl.SSLEOFError(8, "EOF"), "check that the port speaks TLS"),
        (PermissionError(13, "Permission denied", "/etc/key.pem"), "cannot read /etc/key.pem: Permission denied"),
        (OSError("something else"), "something else"),
    ],
)
def test_errors_are_explained(error: Exception, words: str) -> None:
    assert words in describe_error(error)


def test_pauses_grow_to_the_longest_and_are_spread() -> None:
    assert backoff_s(0, 1.0, 60.0) == 1.0
    for failures, ceiling_s in [(1, 2.0), (3, 8.0), (6, 60.0), (10_000, 60.0)]:
        pauses = [backoff_s(failures, 1.0, 60.0) for _ in range(300)]
        assert 1.0 <= min(pauses) < 1.0 + 0.2 * (ceiling_s - 1.0)
        assert ceiling_s - 0.2 * (ceiling_s - 1.0) < max(pauses) <= ceiling_s


def test_the_same_failure_is_news_once_a_minute() -> None:
    repeats = Repeats()
    said = [(text, repeats.is_news(text, now_s)) for now_s, text in [(0, "a"), (59, "a"), (60, "a"), (61, "b")]]
    assert said == [("a", True), ("a", False), ("a", True), ("b", True)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"client_id": ""}, "client_id is empty"),
        ({"filters": ()}, "filters is empty"),
        ({"reconnect_min_s": 2.0, "reconnect_max_s": 1.0}, "reconnect_min_s <= reconnect_max_s"),
    ],
)
def test_settings_that_would_fail_later_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        broker_at(1883, **change)
