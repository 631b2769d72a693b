"""The inputs of one process as a single source: a broker, a collector, or both, with one inbox.

Messages keep the order of their arrival, whichever input they came from. Each is acknowledged where it came from.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from qoemon.core.wire.message import Kind
from qoemon.inputs.http.collector import Collector
from qoemon.inputs.inbox import Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.source import Source


class Sources:
    """One or two sources.

    mqtt       the connection to the broker, if this process has one
    collector  the HTTP listener, if this process has one
    parent     passes on what another process received: the messages of all inputs that this process does not have
    """

    def __init__(
        self,
        mqtt: MqttConsumer | None = None,
        collector: Collector | None = None,
        parent: Source | None = None,
    ) -> None:
        self.mqtt, self.collector = mqtt, collector
        self._of_broker, self._of_collector = mqtt or parent, collector or parent
        self._all = tuple(dict.fromkeys(each for each in (self._of_broker, self._of_collector) if each))

    async def listen(self) -> None:
        """As Collector.listen, if there is one."""
        if self.collector is not None:
            await self.collector.listen()

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Coroutines that must run all the time, by name."""
        own = {"mqtt": self.mqtt, "collector": self.collector}
        return {name: source.run() for name, source in own.items() if source is not None}

    def ack(self, messages: Sequence[Message]) -> None:
        """As Source.ack: each source gets its own messages."""
        if len(self._all) == 1:
            self._all[0].ack(messages)
            return
        if self._of_broker:
            self._of_broker.ack([each for each in messages if each.kind is Kind.MQTT])
        if self._of_collector:
            self._of_collector.ack([each for each in messages if each.kind is not Kind.MQTT])

    def close(self) -> None:
        """Release the collector's port, after the coroutines of parts() have ended."""
        if self.collector is not None:
            self.collector.close()

    def leave(self) -> None:
        """As Source.leave, for all of them."""
        for source in self._all:
            source.leave()
