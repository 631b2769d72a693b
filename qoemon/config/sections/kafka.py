"""Section `kafka`: the log between `qoemon bridge` and a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from qoemon.config.sections.types import Count
from qoemon.config.yaml.section import Section, Violation, expecting, key

OURS = {
    "acks",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
}
"""Options of the client that qoemon sets: with other values, reports would be lost or counted twice."""


def _broker(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise expecting("HOST:PORT, such as kafka1:9092")
    return value


def _topic(value: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise expecting("the name of a topic: 1 to 249 letters, digits, '.', '_' and '-'")
    return value


Broker = Annotated[str, AfterValidator(_broker)]


class Kafka(Section):
    """The log between `qoemon bridge` and the cluster."""

    brokers: Annotated[tuple[Broker, ...], Field(min_length=1)] = key(
        "Brokers to begin with, HOST:PORT each.", examples=[["kafka1:9092"]]
    )
    topic: Annotated[str, AfterValidator(_topic)] = key("Topic of the reports.", "qoemon-reports")
    partitions: Count = key(
        "Least number of partitions of the topic: as many tasks of the cluster read at a time.", 8
    )
    client: Mapping[str, str | int | float | bool] = key(
        "Further options of the client (librdkafka), such as security.protocol, sasl.username, compression.type.",
        {},
    )

    def rules(self) -> Iterator[Violation]:
        """No option of the client that qoemon itself sets."""
        for name in self.client:
            if name in OURS:
                yield Violation(("client", name), "no such key: qoemon sets this option itself")
