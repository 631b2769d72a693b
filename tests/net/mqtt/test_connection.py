"""What `patch` replaces comes in the stated order, and stays; a connection reports its end with the reason."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from qoemon.net.mqtt.bulk_reader import BulkReader
from qoemon.net.mqtt.client import new_client, session_options
from qoemon.net.mqtt.connection import Connection, paho_client
from qoemon.net.mqtt.errors import MqttConnectionError
from qoemon.net.mqtt.socket_events import SocketEvents
from tests.support import hostile
from tests.support.hostile import Conversation, HostileBroker, Script, packet
from tests.support.parts import broker_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from paho.mqtt.client import Client as Paho

PATCHED = (
    "on_socket_open",
    "on_socket_close",
    "on_socket_register_write",
    "on_socket_unregister_write",
    "on_connect",
    "on_disconnect",
    "_sock_recv",
    "loop_read",
    "loop_write",
    "loop_misc",
)


def owners(paho: Paho) -> list[type]:
    """Whose methods stand in the place of those."""
    return [type(getattr(paho, name).__self__) for name in PATCHED]


class Delivery:
    """Takes messages, or raises what it is given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.payloads: list[bytes] = []
        self.error = error

    def __call__(self, _flags: int, _topic: bytes, _mid: int, payload: bytes) -> None:
        self.payloads.append(payload)
        if self.error is not None:
            raise self.error


async def let_in(met: Conversation) -> None:
    """Connect, and wait until the client has seen it."""
    await met.connect()
    assert (await met.take()).kind == hostile.PUBACK


@contextlib.asynccontextmanager
async def connected(script: Script, delivery: Delivery) -> AsyncIterator[tuple[Connection, Paho]]:
    async with HostileBroker(script).running() as broker:
        client = await new_client(broker_at(broker.port))
        connection = Connection(client, delivery, properties=True)
        try:
            await connection.unless_lost(client.__aenter__())
            connection.ack([9])
            yield connection, paho_client(client)
        finally:
            connection.close()


async def lost(connection: Connection) -> aiomqtt.MqttError:
    async with asyncio.timeout(30):
        with pytest.raises(aiomqtt.MqttError) as raised:
            await connection.until_lost()
    return raised.value


async def test_each_patch_is_in_place_and_stays_while_connected() -> None:
    async def behaves(met: Conversation) -> None:
        await let_in(met)
        await met.behave()

    async with connected(behaves, Delivery()) as (_, paho):
        expected = [SocketEvents] * 4 + [Connection, Connection, BulkReader] + [type(paho)] * 3
        assert owners(paho) == expected


async def test_a_client_without_a_connection_has_only_its_socket_callbacks_replaced() -> None:
    client = await new_client(broker_at(1883))
    paho = paho_client(client)
    assert owners(paho) == [SocketEvents] * 4 + [aiomqtt.Client] * 2 + [type(paho)] * 4


@pytest.mark.parametrize(("expiry_s", "clean"), [(600, False), (0, True)])
def test_mqtt_3_1_1_leaves_a_session_at_the_broker_unless_it_expires_at_once(expiry_s: int, clean: bool) -> None:
    assert session_options(broker_at(1883, version="3.1.1", session_expiry_s=expiry_s))["clean_session"] is clean


async def test_what_a_delivery_raises_is_the_reason_of_the_end_and_nothing_is_delivered_after_it() -> None:
    """So the connection stands before the reader. After it, paho would swallow the error or raise into the loop."""

    async def sends_three(met: Conversation) -> None:
        await let_in(met)
        met.send(*(met.message(payload) for payload in (b"1", b"2", b"3")))
        await met.behave()

    delivery = Delivery(MqttConnectionError("such as this"))
    async with connected(sends_three, delivery) as (connection, _):
        assert await lost(connection) is delivery.error
    assert delivery.payloads == [b"1"]


async def test_messages_pass_paho_by_and_other_packets_pass_the_reader() -> None:
    """paho answers the ping; it never sees the messages, or it would acknowledge them."""
    answers: list[int] = []

    async def sends_both(met: Conversation) -> None:
        await let_in(met)
        met.send(met.message(b"1", mid=1), packet(hostile.PINGREQ), met.message(b"2", mid=2))
        answers.append((await met.take()).kind)
        met.send(packet(hostile.DISCONNECT, b"\x8b\x00"))
        await met.end()

    delivery = Delivery()
    async with connected(sends_both, delivery) as (connection, _):
        assert "Server shutting down" in str(await lost(connection))
    assert answers == [hostile.PINGRESP]
    assert delivery.payloads == [b"1", b"2"]


async def test_a_qos_2_message_is_found_after_the_reader_has_given_it_to_paho() -> None:
    async def sends_it(met: Conversation) -> None:
        await let_in(met)
        met.send(met.message(b"x", mid=1, flags=4))
        await met.behave()

    async with connected(sends_it, Delivery()) as (connection, _):
        assert "QoS 2" in str(await lost(connection))


async def test_a_connection_ends_after_the_broker_has_read_the_acknowledgements() -> None:
    kinds: list[int] = []

    async def listens(met: Conversation) -> None:
        await let_in(met)
        while True:
            got = await met.take()
            kinds.append(got.kind)
            if got.kind == hostile.UNSUBSCRIBE:
                met.send(packet(hostile.UNSUBACK, got.body[:2] + b"\x00\x11"))

    async with connected(listens, Delivery()) as (connection, _):
        connection.ack([1, 2])
        connection.end_after_acks()
        await lost(connection)
    assert kinds == [hostile.PUBACK, hostile.PUBACK, hostile.UNSUBSCRIBE, hostile.DISCONNECT]
