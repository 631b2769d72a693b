"""Creates clients of the broker: aiomqtt around paho, with a session that outlives the connection."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from qoemon.common.address import address_text
from qoemon.config.sections.mqtt import MAX_PACKET_BYTES
from qoemon.net.mqtt.connection import paho_client, patch
from qoemon.net.mqtt.errors import ANSWER_S
from qoemon.net.mqtt.secret_file import current_secret
from qoemon.net.mqtt.tls import Tls, tls_context
from qoemon.net.mqtt.websocket import use_websocket

# paho logs every packet, and each failure that qoemon reports itself.
PAHO_LOG = logging.getLogger("qoemon.net.mqtt.paho")
PAHO_LOG.setLevel(logging.CRITICAL)


class Address(NamedTuple):
    """Where a broker listens. host: a name, or an IP address without brackets."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Options of a connection to the broker, at one address of possibly several."""

    host: str
    port: int
    others: tuple[Address, ...] = ()
    """Addresses to try after this one, in this order."""
    version: Literal["5", "3.1.1"]
    client_id: str
    """Identifies the session at the broker: constant over restarts, unique to each instance."""
    username: str | None
    password: str | None = field(repr=False)
    password_file: Path | None = None
    """A file with the password instead, read again at each attempt to connect."""
    tls: Tls | None
    websocket_path: str | None = field(default=None, repr=False)
    """Path of the WebSocket through which MQTT is spoken, None for none. Its query may hold a secret."""
    filters: tuple[str, ...]
    qos: Literal[0, 1]
    keepalive_s: int
    session_expiry_s: int
    """How long the broker keeps the session without a connection, 0: not at all; 3.1.1 leaves longer ones to it."""
    receive_maximum: int
    """Number of unacknowledged QoS 1 messages that the broker may send; MQTT 5 only."""
    reconnect_min_s: float
    reconnect_max_s: float

    def __post_init__(self) -> None:
        if not self.client_id:
            raise ValueError("client_id is empty, expected a fixed name: the broker's key to our session")
        if not self.filters:
            raise ValueError("filters is empty, expected at least one topic filter to subscribe to")
        if not 0 < self.reconnect_min_s <= self.reconnect_max_s:
            pauses = f"{self.reconnect_min_s} s to {self.reconnect_max_s} s"
            raise ValueError(f"pauses from {pauses}, expected 0 < reconnect_min_s <= reconnect_max_s")

    def next_address(self) -> Broker:
        """The same broker at the next address; the present one becomes the last. With one address: no change."""
        if not self.others:
            return self
        following, *rest = self.others
        return replace(
            self, host=following.host, port=following.port, others=(*rest, Address(self.host, self.port))
        )

    @property
    def each_address(self) -> tuple[str, ...]:
        """Each address as text, the present one first."""
        return (str(self), *(str(replace(self, host=host, port=port)) for host, port in self.others))

    @property
    def addresses(self) -> str:
        """All addresses as one text, the present one first."""
        return " or ".join(self.each_address)

    def __str__(self) -> str:
        """The present address as text, with the path of a WebSocket."""
        return address_text(self.host, self.port, self.websocket_path)


async def new_client(broker: Broker, *, forget: bool = False) -> aiomqtt.Client:
    """A client that has not connected yet, and will request the broker's stored session.

    forget  with MQTT 5: whether the broker discards the stored session

    Each attempt needs a new client: a client of aiomqtt that is used again keeps state of the last attempt.

    raises   MqttConnectionError or OSError if a file with a password or for TLS cannot be used
    """
    # Files are read at each attempt, so that renewed certificates and passwords are used; in a thread.
    password = await asyncio.to_thread(current_secret, broker.password, "password_file", broker.password_file)
    context = None if broker.tls is None else await asyncio.to_thread(tls_context, broker.tls)
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=broker.client_id,
        username=broker.username,
        password=password,
        tls_context=context,
        keepalive=broker.keepalive_s,
        timeout=ANSWER_S,
        logger=PAHO_LOG,
        **session_options(broker, forget=forget),
    )
    paho = paho_client(client)
    paho.connect_timeout = ANSWER_S
    patch(paho)
    if broker.websocket_path is not None:
        use_websocket(paho, broker.websocket_path)
    return client


def session_options(broker: Broker, *, forget: bool = False) -> dict[str, Any]:
    """Arguments of aiomqtt's Client that request a session, which outlives the connection if it does not expire."""
    if broker.version == "3.1.1":
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": broker.session_expiry_s == 0}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_s
    properties.ReceiveMaximum = broker.receive_maximum
    # The broker drops larger messages, instead of sending them on every connection.
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    # By default, paho would discard the session on the first connect of each process.
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": forget, "properties": properties}
