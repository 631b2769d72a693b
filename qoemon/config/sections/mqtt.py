"""Section `mqtt`: the broker, the credentials, and the topics of the reports."""

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, Strict, WithJsonSchema

from qoemon.common import duration
from qoemon.config.sections import names as naming
from qoemon.config.sections.types import (
    Address,
    File,
    Host,
    Port,
    Seconds,
    SecretPath,
    ServiceName,
    WholeSeconds,
    number,
    split_address,
)
from qoemon.config.yaml.section import Section, Violation, key
from qoemon.core.plan.topic import TopicTemplate

Shards = Annotated[int, Strict(), Field(ge=1, le=1024), BeforeValidator(number)]
Name = Annotated[str, Field(min_length=1)]

PATH_PATTERN = r"^/[!-\"$-~]*$"
"""Printable ASCII without spaces and #."""
WebsocketPath = Annotated[
    str,
    Field(pattern=PATH_PATTERN),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": PATH_PATTERN,
            "$comment": "a path such as /mqtt, with spaces, # and what is not ASCII %-encoded",
        }
    ),
]
WEBSOCKET_PATH = "/mqtt"


class Tls(Section):
    """TLS to the broker; `tls: {}` trusts the authorities of the system and sends no certificate."""

    ca_file: File | None = key("PEM file of the authorities to trust instead of those of the system.", None)
    cert_file: File | None = key("PEM file of the client certificate; requires key_file.", None)
    key_file: File | None = key("PEM file of the private key; requires cert_file.", None)
    key_password: SecretStr | None = key("Password of the private key.", None)
    key_password_file: SecretPath | None = key("File with the password of the private key.", None)

    def rules(self) -> Iterator[Violation]:
        """`cert_file` and `key_file` come together; the private key has one password at most."""
        if (self.cert_file is None) != (self.key_file is None):
            given, lacking = ("cert_file", "key_file") if self.cert_file else ("key_file", "cert_file")
            yield Violation((lacking,), f"the name of a file, as {given} is given: both or neither", ((given,),))
        if self.key_password and self.key_password_file:
            yield Violation(
                ("key_password",), "either key_password or key_password_file", (("key_password_file",),)
            )
        given = "key_password_file" if self.key_password is None else "key_password"
        if getattr(self, given) is not None and self.key_file is None and self.cert_file is None:
            yield Violation((given,), "a key_file that it opens", (("key_file",),))


class Reconnect(Section):
    """Random pauses between attempts to connect, up to a limit that doubles from min to max."""

    min_s: Seconds = key("Limit after the first failure.", "1s")
    max_s: Seconds = key("Longest pause.", "60s")

    def rules(self) -> Iterator[Violation]:
        """`min` is at most `max`."""
        if self.min_s > self.max_s:
            yield Violation(("min",), f"at most max ({duration.text(self.max_s)})", (("max",),))


class Topic(Section):
    """A topic with reports."""

    template: str = key(
        "MQTT topic with {name} for each level that becomes a label, and + for each level that is ignored.",
        examples=["qoe/v1/{service}/{region}/{cdn}"],
    )
    service: ServiceName | None = key("Service of the reports, if no level of the topic is {service}.", None)

    @property
    def parsed(self) -> TopicTemplate:
        """The template, parsed to match topics."""
        return TopicTemplate(self.template, self.service)

    def rules(self) -> Iterator[Violation]:
        """The template is valid; the service is either a level of it or the key `service`."""
        fault = naming.topic_fault(self.template)
        if fault:
            yield Violation(("template",), fault)
        named = "{service}" in self.template.split("/")
        if not named and self.service is None and not fault:
            yield Violation(("template",), "a level {service}, or the key service beside template", (("service",),))
        if named and self.service is not None:
            yield Violation(("service",), "no service, as the template has {service}", (("template",),))


def _topic(value: object) -> object:
    return {"template": value} if isinstance(value, str) else value


Topics = Annotated[
    tuple[Annotated[Topic, BeforeValidator(_topic, json_schema_input_type=str | Topic)], ...],
    Field(min_length=1),
]


class Mqtt(Section):
    """The broker, and the topics of the reports."""

    host: Host = key("Host name or address of the broker.", "localhost")
    port: Port = key("Port of the broker, and of those hosts that name none: usually 1883, with TLS 8883.", 1883)
    hosts: tuple[Address, ...] = key(
        "Several addresses, with or without port, instead of host: tried in turn, the next one after each "
        "connection that failed or was lost.",
        [],
    )
    transport: Literal["tcp", "websockets"] = key(
        "tcp: MQTT directly over TCP or TLS; websockets: through a WebSocket, as for browsers.", "tcp"
    )
    websocket_path: WebsocketPath = key(
        "Path of the WebSocket at the broker; requires transport websockets.", WEBSOCKET_PATH
    )
    version: Literal["5", "3.1.1"] = key("MQTT version; NATS speaks only 3.1.1.", "5")
    client_id: Name = key(
        "Client identifier. The broker keeps undelivered messages for it, so each daemon needs its own.",
        "qoemon",
    )
    username: Name | None = key("User name at the broker.", None)
    password: SecretStr | None = key("Password at the broker; better ${NAME} than the password itself.", None)
    password_file: SecretPath | None = key(
        "File with the password, read again at each attempt to connect; a final line end is ignored.", None
    )
    tls: Tls | None = key("TLS to the broker; null: no TLS.", None)
    topics: Topics = key(
        "Topics of the reports: a template, or template and service if no level is {service}.",
        ["qoe/v1/{service}/{region}/{cdn}"],
    )
    shards: Shards = key(
        "Number of values of the topic level {shard}, from 0. Clients publish all reports of a session under one "
        "value, and each worker reads a part of the values.",
        16,
    )
    qos: Annotated[Literal[0, 1], BeforeValidator(number)] = key(
        "1: messages that were not processed are delivered again; 0: they are lost.", 1
    )
    keepalive_s: WholeSeconds = key(
        "MQTT keep alive: a broker that is silent for longer is considered lost; at most 18h.", "60s"
    )
    session_expiry_s: WholeSeconds = key(
        "How long the broker keeps messages while qoemon is down (MQTT 5); longer than any outage.", "1d"
    )
    receive_maximum: Port = key("QoS 1 messages in flight at a time (MQTT 5); low values limit the rate.", 65535)
    reconnect: Reconnect = key("Pauses between attempts to connect.", {})

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each address, in the order in which they are tried."""
        split = map(split_address, self.hosts) if self.hosts else ((self.host, None),)
        return tuple((host, port or self.port) for host, port in split)

    def rules(self) -> Iterator[Violation]:
        """`host`, or distinct `hosts`; `websocket_path` only with `transport: websockets`; one password, with
        `username`; durations that MQTT can carry; distinct topics, {shard} in all or none.
        """
        if self.hosts and "host" in self.model_fields_set:
            yield Violation(("host",), "either host or hosts", (("hosts",),))
        for place, address in enumerate(self.addresses):
            if address in self.addresses[:place]:
                yield Violation(("hosts", place), "each address once", (("port",),))
        without = [index for index, topic in enumerate(self.topics) if not topic.parsed.sharded]
        if 0 < len(without) < len(self.topics):
            expected = "a template with a level {shard}, as others have one: a session must stay whole"
            for index in without:
                yield Violation(("topics", index, "template"), expected, (("topics",),))
        if self.transport == "tcp" and self.websocket_path != WEBSOCKET_PATH:
            yield Violation(("transport",), "websockets, as there is a websocket_path", (("websocket_path",),))
        if self.password and self.password_file:
            yield Violation(("password",), "either password or password_file", (("password_file",),))
        if self.username is None and (self.password, self.password_file) != (None, None):
            yield Violation(
                ("username",),
                "the user name that the password belongs to",
                (("password",), ("password_file",)),
            )
        for name, length_s, most_s in (
            ("keepalive", self.keepalive_s, 2**16 - 1),
            ("session_expiry", self.session_expiry_s, 2**32 - 2),
        ):
            if length_s > most_s:
                yield Violation((name,), f"at most {duration.text(most_s)}")
        for (first, one), (index, other) in combinations(enumerate(self.topics), 2):
            if naming.overlap(one.template, other.template):
                expected = f"a template without any topic that matches topics.{first} as well"
                yield Violation(("topics", index), expected, (("topics", first),))


MAX_PACKET_BYTES = 2**24
"""The largest packet that is accepted, 16 MiB: far more than reports need, far less than the memory."""
