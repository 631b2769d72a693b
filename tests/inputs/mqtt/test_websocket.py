"""MQTT over a WebSocket: as over TCP, and what keeps us from it is named."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from aiohttp import web
from websockets.utils import accept_key

from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.net.mqtt.client import Broker, new_client
from qoemon.net.mqtt.tls import Tls
from tests.inputs.mqtt.test_consumer import failure, numbered, payloads, publish, receive, running, subscribed
from tests.support.parts import Daemon, Mosquitto, WebMosquitto, WebNats, broker_at, certificates, emptied
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until
from tests.support.patience import until as wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


@pytest.fixture(params=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> str:
    told: str = request.param
    return told


def by_websocket(part: WebMosquitto, **changes: Any) -> Broker:
    return broker_at(part.web_port, websocket_path="/mqtt", **changes)


@pytest.mark.mosquitto
async def test_only_what_was_acknowledged_is_not_delivered_again(tmp_path: Path, version: str) -> None:
    with WebMosquitto(tmp_path) as part:
        broker = by_websocket(part, version=version)
        async with subscribed(broker) as (ingest, inbox):
            await publish(broker_at(part.port), numbered(10))
            messages = await receive(inbox, 10)
            assert payloads(messages) == numbered(10)
            ingest.ack(messages[:4])
        async with subscribed(broker) as (ingest, inbox):
            messages = await receive(inbox, 6)
            assert payloads(messages) == numbered(6, start=4)
            ingest.ack(messages)
            await publish(
                broker_at(part.port), [b"last"]
            )  # Whatever else would come again, would come before this.
            assert payloads(await receive(inbox, 1)) == [b"last"]


async def test_nats_delivers_through_a_websocket_at_its_path_only(tmp_path: Path) -> None:
    """At another path it answers the handshake, too, but speaks another protocol."""
    with WebNats(tmp_path) as part:
        broker = broker_at(part.web_port, websocket_path="/mqtt", version="3.1.1")
        async with subscribed(broker) as (ingest, inbox):
            await publish(broker_at(part.port, version="3.1.1"), numbered(10))
            messages = await receive(inbox, 10)
            ingest.ack(messages)
            assert payloads(messages) == numbered(10)
        told = await failure(replace(broker, websocket_path="/elsewhere"))
        assert "breaks the rules of MQTT" in told
        assert "websocket_path" in told


@pytest.mark.mosquitto
async def test_many_messages_of_any_length_arrive_in_order(tmp_path: Path) -> None:
    """So frames with each way to tell the length, more at a time than one read takes.

    Only one is long: mosquitto writes long frames in small pieces, with pauses.
    """
    lengths = [0, 50, 120, 130, 700] * 400 + [70_000, 0]
    sent = [b"%d " % number + bytes(length) for number, length in enumerate(lengths)]
    with WebMosquitto(tmp_path) as part:
        broker = by_websocket(part)
        async with subscribed(broker, Inbox(3000, 100_000_000)) as (ingest, inbox):
            await publish(broker_at(part.port), sent)
            messages = await receive(inbox, len(sent))
            ingest.ack(messages)
            assert payloads(messages) == sent
            assert (ingest.stats.connects_total, ingest.stats.disconnects_total) == (1, 0)


@pytest.mark.mosquitto
async def test_a_full_inbox_loses_nothing(tmp_path: Path) -> None:
    """Held-back messages come with the next connection: acknowledgements are sent before the old one ends."""
    with WebMosquitto(tmp_path) as part:
        async with subscribed(by_websocket(part), Inbox(10, 100_000)) as (ingest, inbox):
            await publish(broker_at(part.port), numbered(35))
            taken: list[bytes] = []

            def all_taken() -> bool:
                messages = emptied(inbox)
                ingest.ack(messages)
                taken.extend(payloads(messages))
                return len(taken) >= 35

            await until(all_taken, lambda: f"{taken}, {ingest.stats}")
            assert taken == numbered(35)
            assert ingest.stats.connects_total > 1


@pytest.mark.mosquitto
async def test_a_restarted_broker_is_found_again_with_what_it_kept(tmp_path: Path) -> None:
    with WebMosquitto(tmp_path) as part:
        async with subscribed(by_websocket(part)) as (ingest, inbox):
            part.restart()
            await until(lambda: ingest.stats.connects_total == 2 and ingest.stats.subscribed, lambda: ingest.stats)
            await publish(broker_at(part.port), [b"after"])
            assert payloads(await receive(inbox, 1)) == [b"after"]
            assert ingest.stats.sessions_lost_total == 0


@pytest.mark.mosquitto
async def test_it_works_over_tls_and_for_publishing(tmp_path: Path) -> None:
    issued = certificates(tmp_path / "issued")
    tls = Tls(ca_file=issued.ca, cert_file=None, key_file=None, key_password=None)
    sent = [b"%d" % number + bytes(number) for number in range(200)]
    large = b"x" * 300_000  # More than the socket takes at once.
    with WebMosquitto(tmp_path, issued) as part:
        broker = by_websocket(part, tls=tls)
        async with subscribed(broker) as (ingest, inbox):
            client = await new_client(by_websocket(part, tls=tls, client_id="publisher"))
            async with client:
                for payload in sent:
                    await client.publish("qoe/v1/video/eu/a", payload, 1)
                await client.publish("elsewhere", large, 1)
            messages = await receive(inbox, len(sent))
            ingest.ack(messages)
            assert payloads(messages) == sent
        assert "for another host name" in await failure(by_websocket(part, tls=tls, host="127.0.0.1"))


@pytest.mark.mosquitto
def test_the_daemon_reads_reports_through_a_websocket(tmp_path: Path, start_daemon: Callable[..., Daemon]) -> None:
    with WebMosquitto(tmp_path) as part:
        mqtt = {"host": "localhost", "port": part.web_port, "transport": "websockets"}
        daemon = start_daemon({"mqtt": mqtt, "sessions": {"tick": "1s"}})
        daemon.ready()
        wait_until(lambda: daemon.value("qoemon_mqtt_subscribed"), daemon.log.read_text)
        report = b'{"session": "a", "seq": 1, "stall_count": 0, "stall_s": 0, "play_s": 10}'
        asyncio.run(publish(broker_at(part.port), [report]))
        wait_until(lambda: daemon.value("qoemon_messages_total") == 1, daemon.log.read_text)
        assert f"connected to localhost:{part.web_port}/mqtt" in daemon.log.read_text()


# --- what keeps us from it ---


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", NEVER_S)


@pytest.mark.mosquitto
async def test_a_listener_that_speaks_plain_mqtt_is_named(mosquitto: Mosquitto) -> None:
    told = await failure(broker_at(mosquitto.port, websocket_path="/mqtt"))
    assert "WebSocket" in told
    assert "plain MQTT" in told


@pytest.mark.mosquitto
async def test_a_listener_that_speaks_websocket_is_named_where_we_speak_plain_mqtt(tmp_path: Path) -> None:
    with WebMosquitto(tmp_path) as part:
        told = await failure(broker_at(part.web_port))
    assert "transport" in told or "whether it speaks WebSocket" in told


UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\n"
)


@contextlib.asynccontextmanager
async def answering(answer: bytes, *, dribbles: bool = False) -> AsyncIterator[Broker]:
    """A server that answers each handshake with this, and hangs up, or goes on with a byte now and then.

    ACCEPT in the answer stands for the proof that it has read the handshake.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            handshake = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = handshake.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
            writer.write(answer.replace(b"ACCEPT", accept_key(key).encode()))
            await writer.drain()
            while dribbles:
                await asyncio.sleep(0.1)
                writer.write(b"x")
                await writer.drain()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield broker_at(server.sockets[0].getsockname()[1], websocket_path="/mqtt?a=b")


async def test_a_path_that_does_not_exist_is_named() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        told = await failure(broker_at(runner.addresses[0][1], websocket_path="/nowhere"))
    finally:
        await runner.cleanup()
    assert "/nowhere answers 404 Not Found: check port and websocket_path" in told


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection instead of answering the WebSocket handshake"),
        (b"220 this is another service\r\n", "does not speak WebSocket"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "/mqtt answers 200 OK"),
        (b"HTTP/1.1 520 \x80\r\n\r\n", "/mqtt answers 520: check"),
        (b"HTTP/1.1 799 x\r\n\r\n", "does not speak WebSocket"),
        (b"HTTP/1.1\r\n\r\n", "does not speak WebSocket"),
        (b"HTTP/1.1 101 x\r\n\r\n", "no header Connection: Upgrade"),
        (b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\n\r\n", "no header Upgrade: websocket"),
        (UPGRADE.replace(b"ACCEPT", b"aaaa") + b"\r\n", "wrong Sec-WebSocket-Accept"),
        (UPGRADE + b"Sec-WebSocket-Protocol: wamp\r\n\r\n", "another subprotocol than mqtt"),
        (UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "or an extension"),
        (b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 10_000, "does not speak WebSocket"),
    ],
)
async def test_an_answer_that_is_no_websocket_is_named(answer: bytes, words: str) -> None:
    async with answering(answer) as broker:
        assert words in await failure(broker)


async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it sends a byte now and then, for each of which a plain read would wait anew."""
    monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", 0.5)
    async with answering(b"HTTP/1.1 101", dribbles=True) as broker:
        assert "no answer within" in await failure(broker)


@contextlib.asynccontextmanager
async def serving(serve: Callable[[web.Request], Awaitable[web.WebSocketResponse]]) -> AsyncIterator[Broker]:
    """A broker of aiohttp: it checks what RFC 6455 demands of a client, such as masks."""
    application = web.Application()
    application.router.add_get("/mqtt", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield broker_at(port, websocket_path="/mqtt", reconnect_min_s=1000, reconnect_max_s=1000)
    finally:
        await runner.cleanup()


async def test_packets_that_came_in_one_frame_are_all_read() -> None:
    """Also by a client that only publishes, whose paho reads one packet when the socket is readable."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse(protocols=("mqtt",))
        await opened.prepare(request)
        await opened.receive()
        await opened.send_bytes(b"\x20\x03\x00\x00\x00")
        mid = (await opened.receive_bytes())[5:7]
        await opened.send_bytes(b"\xd0\x00" * 3 + b"\x40\x02" + mid)
        await opened.receive()
        return opened

    async with serving(serve) as broker, await new_client(broker) as client:
        await client.publish("t", b"x", 1, timeout=WAIT_S)


async def test_a_close_is_reported_with_code_and_reason_and_pings_are_answered() -> None:
    pongs: list[bytes] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse(protocols=("mqtt",), autoping=False)
        await opened.prepare(request)
        assert (await opened.receive_bytes())[0] == 0x10
        await opened.ping(b"one")
        pongs.append((await opened.receive()).data)
        await opened.send_bytes(b"\x20\x03\x00")  # A CONNACK in two frames, and a SUBACK.
        await opened.send_bytes(b"\x00\x00")
        mid = (await opened.receive_bytes())[2:4]
        await opened.send_bytes(b"\x90\x04" + mid + b"\x00\x01")
        await opened.close(code=1008, message=b"no \x1b[31m")
        return opened

    async with serving(serve) as broker, running(MqttConsumer(broker, Inbox(10, 1000))) as ingest:
        await until(lambda: ingest.stats.disconnects_total, lambda: ingest.stats)
        told = str(ingest.stats.last_error)
    assert pongs == [b"one"]
    assert "the broker closed the WebSocket: code 1008, no \\x1b[31m" in told


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x81\x02hi",
        b"\x82\x82maskhi",
        b"HTTP/1.1 500 Internal Server Error\r\n" * 3,
        b"\x89\x7e\x00\x80" + bytes(128),
    ],
)
async def test_frames_that_no_server_may_send_end_the_connection_and_it_is_tried_again(garbage: bytes) -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse(protocols=("mqtt",))
        await opened.prepare(request)
        await opened.receive()
        assert request.transport is not None
        request.transport.write(garbage)  # type: ignore[attr-defined]
        await opened.receive()
        return opened

    async with serving(serve) as broker:
        again = replace(broker, reconnect_min_s=0.05, reconnect_max_s=0.2)
        async with running(MqttConsumer(again, Inbox(10, 1000))) as ingest:
            await until(lambda: ingest.stats.connect_failures_total >= 2, lambda: ingest.stats)
    assert "breaks the rules of WebSocket" in str(ingest.stats.last_error)


def test_addresses_are_shown_with_the_path_but_without_its_query() -> None:
    broker = broker_at(443, host="a", websocket_path="/mqtt?token=hunter2")
    assert str(broker) == "a:443/mqtt"
    assert "hunter2" not in repr(broker)
    assert str(broker_at(443, host="broker.example.org", websocket_path="/mqtt")) == "broker.example.org:443/mqtt"
    assert str(broker_at(1883, host="::1")) == "[::1]:1883"


async def test_the_client_of_a_websocket_is_an_ordinary_one() -> None:
    """aiomqtt's own WebSocket is not used."""
    client = await new_client(broker_at(1, websocket_path="/x"))
    assert isinstance(client, aiomqtt.Client)
    assert client._client._transport == "tcp"
