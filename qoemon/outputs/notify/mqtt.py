"""Publishes the state of each alert as a retained message on a topic of its own.

Each batch uses a new connection with a client id of its own: alerts are rare, and an idle connection can break
unnoticed. With MQTT 5 the messages expire, so a daemon that stops for good leaves none at the broker. Messages are
never cleared by an empty one, which every subscriber would have to handle.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

import aiomqtt
import msgspec
from paho.mqtt.client import Client as Paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from qoemon.net.mqtt.client import Broker, new_client
from qoemon.net.mqtt.connection import hang_up, paho_client, raise_if_cancelled
from qoemon.net.mqtt.errors import describe_error
from qoemon.outputs.notify.notice import Notice, document
from qoemon.outputs.notify.notifier import DeliveryError

ANSWER_S = 5.0
"""Timeout of the broker's acknowledgement of a message."""

EMPTY = "%"
"""Topic level of an empty label value: brokers differ in their handling of empty levels."""


class _Rejected(NamedTuple):
    """A notice that the broker did not accept, and why."""

    notice: Notice
    reason: str


class AlertPublisher:
    """The broker as a receiver of alerts.

    template  such as "qoe/v1/alerts/{alert}/{service}/{groups}"
    url       of the daemon
    clock     seconds since the epoch
    """

    def __init__(
        self, broker: Broker, template: str, expire_s: float, url: str, clock: Callable[[], float] = time.time
    ) -> None:
        # The daemons of a pair may list the same addresses in another order.
        self.name = f"mqtt {' or '.join(sorted(broker.each_address))}"
        self._broker = replace(broker, client_id=f"{broker.client_id}-alerts", session_expiry_s=0)
        self._template, self._url, self._clock = template, url, clock
        self._properties: Properties | None = None
        if broker.version == "5":
            self._properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            self._properties.MessageExpiryInterval = int(expire_s)
        self._refused: list[ReasonCode] = []

    async def send(self, notices: Sequence[Notice]) -> None:
        """Publish these; returns once the broker has acknowledged all. A rejected one does not block others."""
        waiting, rejected = deque(notices), list[_Rejected]()
        try:
            await self._connect_and_publish(waiting, rejected)
        except (aiomqtt.MqttError, OSError, UnicodeError) as error:  # UnicodeError: invalid host name.
            raise_if_cancelled()
            # Brokers end the connection after a message that they reject, or instead: it is the last one next time.
            waiting.rotate(-1)
            if not rejected:
                self._broker = self._broker.next_address()
                raise DeliveryError(describe_error(error), left=tuple(waiting)) from error
        raise_if_cancelled()
        if rejected:
            left = (*waiting, *(each.notice for each in rejected))
            raise DeliveryError(rejected[0].reason, left=left)

    async def close(self) -> None:
        """Does nothing: no connection stays open between batches."""

    async def _connect_and_publish(self, waiting: deque[Notice], rejected: list[_Rejected]) -> None:
        """Publish what waits, in order; what the broker rejects is added with the reason."""
        client = await new_client(self._broker)
        paho = paho_client(client)
        self._watch_refusals(paho)
        try:
            # Not `async with`: its exit waits for a broker that may be unreachable.
            await client.__aenter__()
            # What the end of the connection interrupts fails by itself; asyncio would log that nobody awaits it.
            paho.on_disconnect = None
            while waiting:
                if reason := await self._publish(client, waiting[0]):
                    rejected.append(_Rejected(waiting[0], reason))
                waiting.popleft()
        finally:
            hang_up(paho)

    async def _publish(self, client: aiomqtt.Client, notice: Notice) -> str:
        """Why the broker rejects it; "" if it does not."""
        topic = topic_of(self._template, notice)
        body = msgspec.json.encode(document(notice, self._url, self._clock()))
        await client.publish(topic, body, 1, retain=True, properties=self._properties, timeout=ANSWER_S)
        if not self._refused:
            return ""
        reason = str(self._refused.pop()).lower()
        return f"the broker rejected the message to {topic}: {reason}; check its access rules"

    def _watch_refusals(self, paho: Paho) -> None:
        """Collect the reason codes of rejected messages (MQTT 5), which aiomqtt does not report."""
        confirmed: Any = paho.on_publish

        def on_publish(client: Paho, userdata: Any, mid: int, code: ReasonCode, properties: Properties) -> None:
            if code.is_failure:
                self._refused.append(code)
            confirmed(client, userdata, mid, code, properties)

        self._refused.clear()
        paho.on_publish = on_publish


def topic_of(template: str, notice: Notice) -> str:
    """The topic of an alert: unique for each alert, whatever its labels contain."""
    levels: Mapping[str, Sequence[str]] = {
        "{alert}": (notice.alert,),
        "{service}": (notice.service,),
        "{groups}": tuple(notice.groups.values()),
    }
    filled = (map(_level, levels[level]) if level in levels else (level,) for level in template.split("/"))
    return "/".join(level for part in filled for level in part)


def _level(value: str) -> str:
    """The value as one topic level: characters that MQTT, or NATS behind it, forbids are %-encoded."""
    return "".join(map(_encoded, value)) or EMPTY


def _encoded(char: str) -> str:
    return char if char.isprintable() and char not in " %+#/" else quote(char, safe="")
