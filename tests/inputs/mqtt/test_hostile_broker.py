"""Ingest against a broker that breaks every rule: no hang, nothing left behind, the cause in words, a new try."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from qoemon.config.config import Config
from qoemon.config.sections.mqtt import MAX_PACKET_BYTES
from qoemon.daemon.daemon import running
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.mqtt.session_memory import BrokerSession, SessionMemory
from tests.support import hostile
from tests.support.hostile import Conversation, HostileBroker, Script, packet
from tests.support.parts import Mosquitto, Nats, broker_at, emptied, parsed
from tests.support.patience import NEVER_S, WAIT_S
from tests.support.patience import async_until as until

MB = 10**6


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Gives up no broker for being slow; a test of a silent one sets its limit."""
    monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", NEVER_S)
    caplog.set_level(logging.INFO, "qoemon")


@contextlib.asynccontextmanager
async def meeting(
    broker: HostileBroker, version: str = "5", memory: SessionMemory | None = None, **changes: Any
) -> AsyncIterator[tuple[MqttConsumer, Inbox]]:
    """An Ingest that meets this broker; when the block ends it must leave without an answer, and leave nothing."""
    before = asyncio.all_tasks()
    settings = {"version": version, "keepalive_s": 3600, "reconnect_min_s": 0.2, "reconnect_max_s": 0.4, **changes}
    async with broker.running():
        inbox = Inbox(50_000, 64 * MB)
        ingest = MqttConsumer(broker_at(broker.port, **settings), inbox, memory=memory)
        task = asyncio.create_task(ingest.run())
        try:
            yield ingest, inbox
        finally:
            task.cancel()
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(task, return_exceptions=True)
    for _ in range(5):  # What aiomqtt cancels needs a turn of the loop to end.
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert task.cancelled()


async def comes_back(ingest: MqttConsumer, inbox: Inbox, connections: int = 2) -> None:
    """The good message of a connection after the bad ones has arrived, and it says that all is well."""
    await until(lambda: ingest.stats.subscribed and inbox.messages, lambda: ingest.stats)
    assert emptied(inbox)[-1].payload == b"good"
    assert ingest.stats.last_error is None
    assert ingest.stats.connects_total + ingest.stats.connect_failures_total == connections


# --- one evil a function ---


async def never_answers(met: Conversation) -> None:
    await met.end()


async def hangs_up_at_once(met: Conversation) -> None:
    await met.take()


async def answers_in_another_language(met: Conversation) -> None:
    await met.take()
    met.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def answers_garbage(met: Conversation) -> None:
    await met.take()
    met.send(b"\xf0" + bytes(1000))
    await met.end()


async def answers_an_empty_connack(met: Conversation) -> None:
    await met.take()
    met.send(packet(hostile.CONNACK))
    await met.end()


async def never_answers_the_subscription(met: Conversation) -> None:
    await met.connect()
    await met.take()
    while (await met.take()).kind == hostile.PINGREQ:
        met.send(packet(hostile.PINGRESP))


async def answers_another_subscription(met: Conversation) -> None:
    await met.connect()
    await met.take()
    met.send(packet(hostile.SUBACK, b"\x99\x99\x00\x01"))
    await never_answers(met)


async def answers_no_filter(met: Conversation) -> None:
    await met.connect()
    await met.subscribe(grant=b"")
    await met.end()


async def answers_too_many_filters(met: Conversation) -> None:
    await met.connect()
    await met.subscribe(grant=b"\x01\x01\x01")
    await met.end()


async def never_answers_a_ping(met: Conversation) -> None:
    await met.begin()
    await met.end()


async def cuts_inside_a_message(met: Conversation) -> None:
    await met.begin()
    met.send(met.message(b"x" * 1000, mid=1)[:500])


async def stops_inside_a_message(met: Conversation) -> None:
    await met.begin()
    met.send(met.message(b"x" * 1000, mid=1)[:500])
    await met.end()


async def announces_256_mb(met: Conversation) -> None:
    await met.begin()
    met.send(b"\x30\xff\xff\xff\x7f" + bytes(1000))
    await met.end()


async def announces_a_length_without_end(met: Conversation) -> None:
    await met.begin()
    met.send(b"\x30" + b"\xff" * 1000)
    await met.end()


async def sends_a_topic_longer_than_its_packet(met: Conversation) -> None:
    await met.begin()
    met.send(packet(hostile.PUBLISH | 2, b"\xff\xffqoe"))
    await met.end()


async def sends_an_empty_message_packet(met: Conversation) -> None:
    await met.begin()
    met.send(packet(hostile.PUBLISH | 2))
    await met.end()


async def sends_what_only_clients_send(met: Conversation) -> None:
    await met.begin()
    met.send(packet(hostile.SUBSCRIBE | 2, b"\x00\x01\x00\x00\x01#\x01"))
    await met.end()


async def sends_qos_2(met: Conversation) -> None:
    await met.begin()
    met.send(*(met.message(b"x", mid=mid, flags=4) for mid in range(1, 100)))
    await met.end()


async def sends_qos_3(met: Conversation) -> None:
    await met.begin()
    met.send(packet(hostile.PUBLISH | 6, b"\x00\x01a\x00\x01\x00x"))
    await met.end()


async def reuses_an_identifier(met: Conversation) -> None:
    await met.begin()
    met.send(met.message(b"one", mid=7), met.message(b"other", mid=7))
    await met.end()


NO_ANSWER = {never_answers, never_answers_the_subscription, answers_another_subscription}
"""Found by the limit of an answer."""
NO_SIGN_OF_LIFE = {never_answers_a_ping, stops_inside_a_message}
"""Found by the keepalive time."""
NOT_MQTT = "breaks the rules of MQTT"

EVILS: list[tuple[Script, str]] = [
    (never_answers, "cannot connect .*no (answer within|sign of life)"),
    (hangs_up_at_once, "cannot connect .*closed the connection without an answer"),
    (answers_in_another_language, "cannot connect .*closed the connection without an answer"),
    (answers_garbage, f"cannot connect .*{NOT_MQTT}"),
    (answers_an_empty_connack, f"cannot connect .*{NOT_MQTT}"),
    (never_answers_the_subscription, "lost the connection .*no answer within"),
    (answers_another_subscription, "lost the connection .*no (answer within|sign of life)"),
    (answers_no_filter, r"lost .*answers 0 subscriptions of 1|" + NOT_MQTT),
    (answers_too_many_filters, "lost .*answers 3 subscriptions of 1"),
    (never_answers_a_ping, "lost .*no sign of life within the keepalive time"),
    (cuts_inside_a_message, "lost .*connection broke off"),
    (stops_inside_a_message, "lost .*no sign of life within the keepalive time"),
    (announces_256_mb, f"lost .*a packet of 268435455 bytes, at most {MAX_PACKET_BYTES} are accepted"),
    (announces_a_length_without_end, f"lost .*{NOT_MQTT}"),
    (sends_a_topic_longer_than_its_packet, f"lost .*{NOT_MQTT}"),
    (sends_an_empty_message_packet, f"lost .*{NOT_MQTT}"),
    (sends_what_only_clients_send, f"lost .*{NOT_MQTT}"),
    (sends_qos_2, "lost .*QoS 2, which was not requested"),
    (sends_qos_3, f"lost .*{NOT_MQTT}"),
    (reuses_an_identifier, "lost .*reuses packet identifier 7 before it was acknowledged"),
]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(("evil", "words"), [pytest.param(*case, id=case[0].__name__) for case in EVILS])
async def test_each_evil_is_named_and_the_next_connection_is_good(
    evil: Script, words: str, version: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = HostileBroker(evil, version=version)
    if evil in NO_ANSWER:
        monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", 1.0)
    async with meeting(broker, version, keepalive_s=2 if evil in NO_SIGN_OF_LIFE else 3600) as (ingest, inbox):
        await until(lambda: ingest.stats.last_error, lambda: ingest.stats)
        monkeypatch.setattr("qoemon.net.mqtt.client.ANSWER_S", NEVER_S)
        assert re.search(words, str(ingest.stats.last_error))  # What /readyz says.
        assert not ingest.stats.connected
        emptied(inbox)
        await comes_back(ingest, inbox)
    ours = [record for record in caplog.records if record.name == "qoemon.inputs.mqtt"]
    (warning,) = [record.getMessage() for record in ours if record.levelno >= logging.WARNING]
    assert re.search(words + r".*; next attempt in 0\.\d s", warning)


async def test_who_hangs_up_before_answering_is_found_out_at_once() -> None:
    """Without the limit of an answer."""
    async with meeting(HostileBroker(hangs_up_at_once)) as (ingest, inbox):
        await until(lambda: ingest.stats.last_error, lambda: ingest.stats)
        await comes_back(ingest, inbox)


REASONS = {
    0x00: "the broker ended the connection",
    0x81: "could not read what we sent",
    0x82: "reports that we broke the rules",
    0x87: "does not authorize us",
    0x89: "too busy",
    0x8B: "shutting down",
    0x8D: "no sign of life",
    0x8E: "another client took over our session",
    0x93: "receive maximum exceeded",
    0x97: "a quota of the broker is used up",
    0x98: "someone ended the connection at the broker",
    0x9C: "change host",
    0x9F: "limits how often we may connect",
}


@pytest.mark.parametrize("code", REASONS)
async def test_a_broker_that_sends_us_away_is_quoted(code: int) -> None:
    async def sends_us_away(met: Conversation) -> None:
        await met.begin()
        met.send(packet(hostile.DISCONNECT, bytes([code, 0])))
        await met.end()

    async with meeting(HostileBroker(sends_us_away)) as (ingest, inbox):
        await until(lambda: ingest.stats.last_error, lambda: ingest.stats)
        assert REASONS[code] in str(ingest.stats.last_error).lower()
        await comes_back(ingest, inbox)


REFUSALS = {"5": (0x87, "does not authorize us"), "3.1.1": (4, "refuses user name or password")}


@pytest.mark.parametrize("version", REFUSALS)
async def test_a_broker_that_does_not_let_us_in_is_quoted(version: str) -> None:
    """Although it hangs up as well."""
    code, words = REFUSALS[version]

    async def refuses(met: Conversation) -> None:
        await met.take()
        met.send(packet(hostile.CONNACK, bytes([0, code]) + (b"\x00" if version == "5" else b"")))

    async with meeting(HostileBroker(refuses, version=version), version) as (ingest, inbox):
        await until(lambda: ingest.stats.last_error, lambda: ingest.stats)
        assert words in str(ingest.stats.last_error)
        await comes_back(ingest, inbox)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_no_packet_of_any_type_does_harm(version: str) -> None:
    """Each type, with bodies that are too short, too long or of another type; some of it is even allowed."""
    heads = [kind << 4 | flags for kind in range(16) for flags in (0, 2, 15)]
    packets = iter([packet(head, body) for head in heads for body in (b"", b"\x00", b"\x00\x01\x00\x87\xff")])

    async def sends_one_of_them(met: Conversation) -> None:
        await met.begin()
        met.send(*(one for one, _ in zip(packets, range(4), strict=False)))
        await asyncio.sleep(0.02)

    broker = HostileBroker(sends_one_of_them, version=version, times=36)
    async with meeting(broker, version, reconnect_min_s=0.01, reconnect_max_s=0.02) as (ingest, inbox):
        await until(lambda: len(broker.conversations) > 36, lambda: ingest.stats)
        await until(lambda: ingest.stats.subscribed and inbox.messages, lambda: ingest.stats)
    assert next(packets, None) is None


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_no_noise_does_harm(version: str) -> None:
    """Random bytes instead of the first answer, and after good ones."""
    rng = random.Random(1)

    async def makes_noise(met: Conversation) -> None:
        if rng.random() < 0.5:
            await met.begin()
        met.send(rng.randbytes(rng.choice([1, 10, 1000, 100_000])))
        await asyncio.sleep(0.02)

    broker = HostileBroker(makes_noise, version=version, times=40)
    async with meeting(broker, version, reconnect_min_s=0.01, reconnect_max_s=0.02) as (ingest, inbox):
        await until(lambda: len(broker.conversations) > 40, lambda: ingest.stats)
        await until(lambda: ingest.stats.subscribed and inbox.messages, lambda: ingest.stats)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_payload_of_200_mb_is_not_taken_in() -> None:
    sent = 0

    async def floods(met: Conversation) -> None:
        nonlocal sent
        await met.begin()
        body = struct.pack("!H", len(hostile.TOPIC)) + hostile.TOPIC + b"\x00\x01\x00"
        met.send(b"\x32" + hostile.length(len(body) + 200 * MB) + body)
        for _ in range(200):
            met.send(bytes(MB))
            await met.writer.drain()
            sent += MB

    async with meeting(HostileBroker(floods)) as (ingest, inbox):
        before = resident_bytes()
        await until(lambda: ingest.stats.last_error, lambda: ingest.stats)
        assert "a packet of 2000000" in str(ingest.stats.last_error)
        assert resident_bytes() - before < 50 * MB
        await comes_back(ingest, inbox)
    assert sent < 50 * MB


@pytest.mark.mosquitto
async def test_a_good_broker_keeps_what_is_too_large_from_us(mosquitto: Mosquitto) -> None:
    """MQTT 5: it was told on connecting, so it drops the message, and goes on with the next."""
    inbox = Inbox(100, 64 * MB)
    ingest = MqttConsumer(broker_at(mosquitto.port), inbox)
    task = asyncio.create_task(ingest.run())
    await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)
    async with hostile_publisher(mosquitto.port) as publish:
        await publish(bytes(MAX_PACKET_BYTES + 1))
        await publish(b"small")
    await until(lambda: inbox.messages, lambda: ingest.stats)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [message.payload for message in emptied(inbox)] == [b"small"]
    assert ingest.stats.disconnects_total == 0


@contextlib.asynccontextmanager
async def hostile_publisher(port: int) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Publishes at QoS 1 whatever it is given."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    met = Conversation(reader, writer, "5")
    met.send(packet(hostile.CONNECT, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01p"))
    await met.take()

    async def publish(payload: bytes) -> None:
        met.send(met.message(payload, mid=1))
        await writer.drain()
        assert (await met.take()).kind == hostile.PUBACK

    try:
        yield publish
    finally:
        writer.close()
        await writer.wait_closed()


async def test_more_than_receive_maximum_is_said_and_taken(caplog: pytest.LogCaptureFixture) -> None:
    """mosquitto does it too, so hanging up would do more harm; the inbox is bounded."""

    async def sends_too_much(met: Conversation) -> None:
        await met.begin()
        met.send(*(met.message(b"%d" % mid, mid=mid) for mid in range(1, 101)))
        await met.behave()

    async with meeting(HostileBroker(sends_too_much), receive_maximum=10) as (ingest, inbox):
        await until(lambda: inbox.messages == 100, lambda: ingest.stats)
        ingest.ack(emptied(inbox))
    assert ingest.stats.acks_total == 100
    assert caplog.text.count("sends more than receive_maximum 10 messages without acknowledgement") == 1


async def test_delivering_again_on_the_same_connection_is_no_reuse(tmp_path: Path) -> None:
    """NATS does after ack_wait; it marks it as a duplicate."""
    with Nats(tmp_path) as nats:
        inbox = Inbox(100, MB)
        ingest = MqttConsumer(broker_at(nats.port, version="3.1.1"), inbox)
        task = asyncio.create_task(ingest.run())
        await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)
        reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
        met = Conversation(reader, writer, "3.1.1")
        met.send(packet(hostile.CONNECT, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p"))
        await met.take()
        met.send(met.message(b"x", mid=1))
        await until(lambda: inbox.messages >= 2, lambda: ingest.stats)
        writer.close()
        await writer.wait_closed()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert ingest.stats.disconnects_total == 0


async def test_a_forgotten_session_is_told(caplog: pytest.LogCaptureFixture) -> None:
    met_by: list[MqttConsumer] = []

    async def begins_and_ends(met: Conversation) -> None:
        await met.begin()
        await until(lambda: met_by and met_by[0].stats.subscribed)

    async with meeting(HostileBroker(begins_and_ends, times=2)) as (ingest, inbox):
        met_by.append(ingest)
        await comes_back(ingest, inbox, connections=3)
    assert caplog.text.count("has forgotten our session") == 1


async def test_a_session_that_is_claimed_is_not_relied_on(caplog: pytest.LogCaptureFixture) -> None:
    """We subscribe all the same."""

    async def claims_a_session(met: Conversation) -> None:
        await met.connect(session_present=True)
        await met.subscribe()
        met.send(met.message(b"good", mid=1))
        await met.behave()

    async with meeting(HostileBroker(claims_a_session)) as (ingest, inbox):
        await comes_back(ingest, inbox, connections=1)
    assert "our stored session" in caplog.text
    assert "forgotten" not in caplog.text


@pytest.mark.parametrize(
    ("grant", "subscribed", "words"),
    [(b"\x00", True, "grants only QoS 0 for qoe/v1"), (b"\x87", False, "refuses the subscription to qoe/v1")],
)
async def test_less_than_was_asked_for_is_told(
    grant: bytes, subscribed: bool, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def grants_less(met: Conversation) -> None:
        await met.connect()
        await met.subscribe(grant=grant)
        met.send(met.message(b"x"))
        await met.behave()

    async with meeting(HostileBroker(grants_less)) as (ingest, inbox):
        await until(lambda: inbox.messages and words in caplog.text, lambda: (ingest.stats, caplog.text))
        assert (ingest.stats.connected, ingest.stats.subscribed) == (True, subscribed)


TEN = tuple(f"qoe/v1/service{number}/+/+" for number in range(10))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_that_accepts_eight_filters_in_a_subscribe_gets_ten_in_two(version: str) -> None:
    """Large cloud brokers close the connection at a larger SUBSCRIBE."""
    requested: list[bytes] = []

    async def accepts_eight(met: Conversation) -> None:
        await met.connect()
        while len(requested) < len(TEN):
            got = await met.take()
            names = met.filters(got)
            if len(names) > 8:
                return
            requested.extend(names)
            met.grant(got, b"\x01" * len(names))
        met.send(met.message(b"good", mid=1))
        await met.behave()

    async with meeting(HostileBroker(accepts_eight, version=version), version, filters=TEN) as (ingest, inbox):
        await until(lambda: inbox.messages or ingest.stats.last_error, lambda: ingest.stats)
        await comes_back(ingest, inbox, connections=1)
    assert tuple(name.decode() for name in requested) == TEN


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_a_hang_up_instead_of_a_suback_is_explained_as_that(version: str, reset: bool) -> None:
    """Not as another client under our client_id, which would also end a connection without a reason."""

    async def hangs_up_at_the_second_subscribe(met: Conversation) -> None:
        await met.connect()
        await met.subscribe(grant=b"\x01" * 8)
        await met.take()
        if reset:
            linger = struct.pack("ii", 1, 0)
            met.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    broker = HostileBroker(hangs_up_at_the_second_subscribe, version=version, times=10**9)
    async with broker.running():
        topics = [{"template": f"qoe/{number}/{{region}}", "service": "video"} for number in range(10)]
        mqtt = {"host": "127.0.0.1", "port": broker.port, "version": version, "topics": topics}
        config = Config.model_validate({"mqtt": mqtt, "http": {"port": 0}})
        async with running(config) as daemon, aiohttp.ClientSession() as client:
            await until(lambda: daemon.engine.stats.mqtt.last_error, lambda: daemon.engine.stats.mqtt)
            async with client.get(f"{daemon.url}/readyz") as answer:
                problem = await answer.text()
    assert "instead of answering a SUBSCRIBE of 2 topic filters (qoe/8/+, qoe/9/+)" in problem
    assert "client_id" not in problem


class Old(SessionMemory):
    """Knows that another configuration has subscribed to these filters."""

    def __init__(self, *filters: str) -> None:
        super().__init__()
        self._filters = filters

    def session(self, broker: str, client_id: str) -> BrokerSession:
        known = super().session(broker, client_id)
        return known if known.connected_s else BrokerSession(broker, client_id, self._filters, None, 1.0)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_old_filters_are_unsubscribed_by_eight_and_after_the_new_ones_are_subscribed(version: str) -> None:
    """A message that old and new ones match is not missed in between."""
    requested: list[tuple[int, list[str]]] = []

    async def grants_all(met: Conversation) -> None:
        await met.connect(session_present=True)
        for _ in range(3):
            got = await met.take()
            requested.append((got.kind, [name.decode() for name in met.filters(got)]))
            if got.kind == hostile.SUBSCRIBE:
                met.grant(got, b"\x01")
            else:
                met.unsubscribe(got, bytes(len(requested[-1][1])))
        met.send(met.message(b"good", mid=1))
        await met.behave()

    broker = HostileBroker(grants_all, version=version)
    async with meeting(broker, version, Old(*TEN, "qoe/v1/+/+/+")) as (ingest, inbox):
        await comes_back(ingest, inbox, connections=1)
    assert requested == [
        (hostile.SUBSCRIBE, ["qoe/v1/+/+/+"]),
        (hostile.UNSUBSCRIBE, list(TEN[:8])),
        (hostile.UNSUBSCRIBE, list(TEN[8:])),
    ]


async def test_a_filter_that_we_may_not_unsubscribe_is_told_and_tried_again_on_the_next_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    requested: list[list[bytes]] = []

    async def refuses_the_second(met: Conversation) -> None:
        await met.connect(session_present=True)
        await met.subscribe()
        got = await met.take()
        requested.append(met.filters(got))
        met.unsubscribe(got, bytes([0x00, 0x87][-len(requested[-1]) :]))
        met.send(met.message(b"x", mid=1))
        await met.take()  # The acknowledgement, so the UNSUBACK has been processed.

    broker = HostileBroker(refuses_the_second, times=2)
    async with meeting(broker, memory=Old("qoe/a", "qoe/b")) as (ingest, inbox):
        for _ in range(2):
            await until(lambda: inbox.messages, lambda: ingest.stats)
            ingest.ack(emptied(inbox))
        await until(lambda: len(broker.conversations) == 3, lambda: ingest.stats)
    assert requested == [[b"qoe/a", b"qoe/b"], [b"qoe/b"]]
    assert caplog.text.count("unsubscribed from qoe/a, of an earlier configuration") == 1
    assert caplog.text.count("refuses to unsubscribe us from qoe/b, of an earlier configuration") == 2


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_hang_up_instead_of_an_unsuback_is_explained_as_that(version: str) -> None:
    async def hangs_up(met: Conversation) -> None:
        await met.connect(session_present=True)
        await met.subscribe()
        await met.take()

    broker = HostileBroker(hangs_up, version=version, times=10**9)
    async with meeting(broker, version, Old("qoe/a")) as (ingest, _):
        await until(lambda: ingest.stats.last_error, lambda: ingest.stats)
        assert "instead of answering an UNSUBSCRIBE of qoe/a, topic filters of an" in str(ingest.stats.last_error)


@pytest.mark.parametrize(("version", "refusal"), [("5", b"\x87"), ("3.1.1", b"\x80")])
async def test_a_refused_filter_is_requested_again_until_it_is_granted(
    version: str, refusal: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """On the same connection, which receives what was granted meanwhile."""
    requested: list[list[bytes]] = []
    back = asyncio.Event()

    async def refuses_for_a_while(met: Conversation) -> None:
        await met.connect()
        for grant in (b"\x01" + refusal, refusal, refusal):
            got = await met.take()
            requested.append(met.filters(got))
            met.grant(got, grant)
        met.send(met.message(b"granted"))
        got = await met.take()
        await back.wait()
        requested.append(met.filters(got))
        met.grant(got, b"\x01")
        await met.behave()

    broker = HostileBroker(refuses_for_a_while, version=version)
    changes = {"filters": ("qoe/a/+", "qoe/b/+"), "reconnect_min_s": 0.05, "reconnect_max_s": 0.1}
    async with meeting(broker, version, **changes) as (ingest, inbox):
        await until(lambda: inbox.messages, lambda: ingest.stats)
        assert (ingest.stats.connected, ingest.stats.subscribed) == (True, False)
        assert "refuses the subscription to qoe/b/+: allow anonymous clients to read it" in str(
            ingest.stats.last_error
        )
        back.set()
        await until(lambda: ingest.stats.subscribed, lambda: ingest.stats)
        assert ingest.stats.last_error is None
        assert len(broker.conversations) == 1
    assert requested == [[b"qoe/a/+", b"qoe/b/+"], [b"qoe/b/+"], [b"qoe/b/+"], [b"qoe/b/+"]]
    assert caplog.text.count("refuses the subscription") == 1  # At every attempt it would fill the log.
    assert "subscribed to qoe/b/+ (QoS 1)" in caplog.text


async def test_refused_filters_are_requested_with_the_pauses_of_reconnect() -> None:
    times_s: list[float] = []

    async def always_refuses(met: Conversation) -> None:
        await met.connect()
        while (got := await met.take()).kind == hostile.SUBSCRIBE:
            times_s.append(asyncio.get_running_loop().time())
            met.grant(got, b"\x87")

    broker = HostileBroker(always_refuses)
    async with meeting(broker, reconnect_min_s=0.2, reconnect_max_s=60.0) as (ingest, _):
        await until(lambda: len(times_s) >= 4, lambda: ingest.stats)
    pauses_s = [later - sooner for sooner, later in itertools.pairwise(times_s)]
    assert min(pauses_s) > 0.15


async def test_a_connection_that_ends_while_a_refused_filter_waits_is_made_again() -> None:
    async def refuses_and_leaves(met: Conversation) -> None:
        await met.connect()
        await met.subscribe(grant=b"\x87")
        await until(lambda: refused[0].stats.last_error)

    refused: list[MqttConsumer] = []
    broker = HostileBroker(refuses_and_leaves)
    # The pause at the broker must not delay the next connection.
    async with meeting(broker, reconnect_min_s=0.2, reconnect_max_s=0.2) as (ingest, inbox):
        refused.append(ingest)
        await comes_back(ingest, inbox)


async def test_a_flood_of_retained_messages_leaves_nothing_behind() -> None:
    async def floods(met: Conversation) -> None:
        await met.begin()
        for mid in range(1, 5001):
            met.send(met.message(b"old" * 100, mid=mid, flags=1))
        met.send(met.message(b"good", mid=5001))
        await met.behave()

    broker = HostileBroker(floods)
    async with meeting(broker) as (ingest, inbox):
        await until(lambda: inbox.messages, lambda: ingest.stats)
        assert (inbox.messages, ingest.stats.retained_ignored_total) == (1, 5000)
        acks = broker.conversations[0].received
        await until(lambda: len(acks) == 2 + 5000, lambda: len(acks))


async def test_topics_of_64_kb_are_counted_and_leave_nothing_behind() -> None:
    async def sends_long_topics(met: Conversation) -> None:
        await met.begin()
        for mid in range(1, 1001):
            met.send(met.message(b"x", mid=mid, topic=b"qoe/v1/video/eu/" + b"a" * 65_000))
            await met.writer.drain()
        met.send(met.message(b"good", mid=1001))
        await met.behave()

    async with meeting(HostileBroker(sends_long_topics)) as (ingest, inbox):
        before = resident_bytes()
        await until(lambda: inbox.messages, lambda: ingest.stats)
        assert (inbox.messages, ingest.stats.bad_topics_total) == (1, 1000)
        assert resident_bytes() - before < 30 * MB


async def test_who_always_hangs_up_is_not_pressed() -> None:
    broker = HostileBroker(hangs_up_at_once, times=10**9)
    async with meeting(broker, reconnect_min_s=0.2, reconnect_max_s=60.0) as (ingest, _):
        await until(lambda: ingest.stats.connect_failures_total >= 4, lambda: ingest.stats)
    pauses_s = [later - sooner for sooner, later in zip(broker.began_s, broker.began_s[1:], strict=False)]
    assert min(pauses_s) > 0.15


async def test_readyz_says_what_the_broker_does() -> None:
    async with HostileBroker(hangs_up_at_once, times=10**9).running() as broker:
        reconnect = {"min": "50ms", "max": "100ms"}
        mqtt = {"host": "127.0.0.1", "port": broker.port, "reconnect": reconnect}
        config = Config.model_validate({"mqtt": mqtt, "http": {"port": 0}})
        async with running(config) as daemon, aiohttp.ClientSession() as client:
            await until(lambda: daemon.engine.stats.mqtt.last_error, lambda: daemon.engine.stats.mqtt)
            async with client.get(f"{daemon.url}/readyz") as answer:
                assert answer.status == 503
                assert "closed the connection without an answer" in await answer.text()


@contextlib.asynccontextmanager
async def metrics_of(script: Script, **mqtt: Any) -> AsyncIterator[Callable[[], Mapping[Any, float]]]:
    """A daemon that meets the broker on every connection; yields what its newest tick exports."""
    async with HostileBroker(script, version=mqtt.get("version", "5"), times=10**9).running() as broker:
        reconnect = {"min": "50ms", "max": "100ms"}
        settings = {
            "mqtt": {"host": "127.0.0.1", "port": broker.port, "reconnect": reconnect, **mqtt},
            "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "5s", "min_active": "1s"},
            "windows": ["5s"],
            "http": {"port": 0},
        }
        async with running(Config.model_validate(settings)) as daemon:

            def samples() -> Mapping[Any, float]:
                latest = daemon.latest.value
                return {} if latest is None else parsed(latest.metrics.whole.decode())

            yield samples


TWO = [{"template": f"qoe/{number}/{{region}}", "service": "video"} for number in range(2)]


async def test_what_the_broker_granted_is_exported_and_logged_if_it_is_less(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def grants_less(met: Conversation) -> None:
        await met.connect(session_expiry_s=3600)
        await met.subscribe(grant=b"\x01\x00")
        await met.behave()

    async with metrics_of(grants_less, topics=TWO) as samples:
        await until(lambda: samples().get(("qoemon_mqtt_granted_qos", ())) == 0, samples)
        assert samples()["qoemon_mqtt_session_expiry_seconds", ()] == 3600
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("keeps our session for only 1h after a disconnect, requested 1d" in one for one in warnings) == 1
    assert sum("grants only QoS 0 for qoe/1/+, requested 1" in one for one in warnings) == 1


@pytest.mark.parametrize(("version", "expiry_s"), [("5", 86_400), ("3.1.1", None)])
async def test_a_broker_that_grants_all_is_exported_as_such(
    version: str, expiry_s: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """With MQTT 3.1.1 the broker does not tell how long it keeps a session."""

    async def grants_all(met: Conversation) -> None:
        await met.connect()
        await met.subscribe(grant=b"\x01\x01")
        await met.behave()

    async with metrics_of(grants_all, topics=TWO, version=version) as samples:
        await until(lambda: samples().get(("qoemon_mqtt_granted_qos", ())) == 1, samples)
        assert samples().get(("qoemon_mqtt_session_expiry_seconds", ())) == expiry_s
    assert "requested" not in caplog.text


async def test_lost_sessions_are_exported() -> None:
    """Only those that had subscribed: a new session holds no messages before."""
    turn = itertools.count()

    async def keeps_no_session(met: Conversation) -> None:
        await met.connect()
        if next(turn) % 2:
            await met.take()
            return
        await met.subscribe()
        met.send(met.message(b"x", mid=1))
        await met.take()  # The acknowledgement, so the SUBACK has been processed.

    async with metrics_of(keeps_no_session) as samples:
        lost, connects = ("qoemon_mqtt_sessions_lost_total", ()), ("qoemon_mqtt_connects_total", ())
        await until(lambda: samples().get(lost, 0) >= 4, samples)
        found = samples()
    assert found[lost] == found[connects] // 2


async def test_bad_topics_and_late_acknowledgements_are_exported() -> None:
    async def sends_both_and_leaves(met: Conversation) -> None:
        await met.begin()
        met.send(met.message(b"x", mid=1, topic=b"qoe/\xff"), met.message(b"x", mid=2), met.message(b"x", mid=3))

    bad, stale = ("qoemon_messages_bad_topic_total", ()), ("qoemon_acks_stale_total", ())
    async with metrics_of(sends_both_and_leaves) as samples:
        await until(lambda: samples().get(bad, 0) >= 1 and samples().get(stale, 0) >= 1, samples)
