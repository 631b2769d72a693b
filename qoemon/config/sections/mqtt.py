"""What the configuration says of the broker: where it is, who we are to it, where on it reports are found."""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, Strict

from qoemon.common import duration
from qoemon.config.sections import names as naming
from qoemon.config.sections.types import File, Host, Port, Seconds, SecretFile, ServiceName, WholeSeconds, number
from qoemon.config.yaml.section import Section, Violation, key
from qoemon.core.plan.topic import TopicTemplate

if TYPE_CHECKING:
    pass

Shards = Annotated[int, Strict(), Field(ge=1, le=1024), BeforeValidator(number)]
Name = Annotated[str, Field(min_length=1)]


class Tls(Section):
    """TLS to the broker; `tls: {}` trusts the system's authorities and shows no certificate."""

    ca_file: File | None = key("PEM file of the authorities to trust instead of the system's.", None)
    cert_file: File | None = key("PEM file of the certificate to show to the broker; goes with key_file.", None)
    key_file: File | None = key("PEM file of the certificate's private key; goes with cert_file.", None)
    key_password: SecretStr | None = key("Password of the private key.", None)
    key_password_file: SecretFile | None = key("File with the password of the private key.", None)

    @property
    def secret(self) -> str | None:
        """The password of the private key, wherever it was given."""
        return _told(self.key_password, self.key_password_file)

    def rules(self) -> Iterator[Violation]:
        """A certificate needs its key, and one password."""
        if (self.cert_file is None) != (self.key_file is None):
            given, lacking = ("cert_file", "key_file") if self.cert_file else ("key_file", "cert_file")
            yield Violation((lacking,), f"the name of a file, as {given} is given: both or neither", ((given,),))
        if self.key_password and self.key_password_file:
            yield Violation(
                ("key_password",), "either key_password or key_password_file", (("key_password_file",),)
            )
        if self.secret is not None and self.key_file is None and self.cert_file is None:
            where = "key_password" if self.key_password else "key_password_file"
            yield Violation((where,), "a key_file that it opens", (("key_file",),))


class Reconnect(Section):
    """Waiting between attempts to connect: drawn at random up to a limit that doubles from min to max."""

    min_s: Seconds = key("The limit after the first failure.", "1s")
    max_s: Seconds = key("The limit that no wait exceeds.", "60s")

    def rules(self) -> Iterator[Violation]:
        """Min does not exceed max."""
        if self.min_s > self.max_s:
            yield Violation(("min",), f"at most max ({duration.text(self.max_s)})", (("max",),))


class Topic(Section):
    """Where reports are found."""

    template: str = key("MQTT topic with {name} for each level that becomes a label.")
    service: ServiceName | None = key("Whose reports these are, if no level is {service}.", None)

    @property
    def parsed(self) -> TopicTemplate:
        """The template, ready to match topics."""
        return TopicTemplate(self.template, self.service)

    def rules(self) -> Iterator[Violation]:
        """The template is one, and it is clear which service is meant."""
        if fault := naming.topic_fault(self.template):
            yield Violation(("template",), fault)
            return
        named = "{service}" in self.template.split("/")
        if not named and self.service is None:
            yield Violation(("template",), "a level {service}, or the key service beside template", (("service",),))
        if named and self.service is not None:
            yield Violation(("service",), "no service, as the template has {service}", (("template",),))


def _told(*secrets: SecretStr | None) -> str | None:
    """The first secret that was given, in clear."""
    return next((secret.get_secret_value() for secret in secrets if secret is not None), None)


def _topic(value: object) -> object:
    return {"template": value} if isinstance(value, str) else value


Topics = Annotated[
    tuple[Annotated[Topic, BeforeValidator(_topic, json_schema_input_type=str | Topic)], ...],
    Field(min_length=1),
]


class Mqtt(Section):
    """The broker, and where on it the reports are."""

    host: Host = key("Host name or address of the broker.", "localhost")
    port: Port = key("Port of the broker: usually 1883, with TLS 8883.", 1883)
    version: Literal["5", "3.1.1"] = key("MQTT version; NATS speaks only 3.1.1.", "5")
    client_id: Name = key(
        "Name of this client: the broker keeps undelivered messages for it, so each daemon needs its own.",
        "qoemon",
    )
    username: Name | None = key("User name at the broker.", None)
    password: SecretStr | None = key("Password at the broker, as ${NAME} rather than in the file.", None)
    password_file: SecretFile | None = key("File with the password; a line end after it is left out.", None)
    tls: Tls | None = key("TLS to the broker; null is none.", None)
    topics: Topics = key(
        "Where reports are found: a template, or template and service where no level is {service}.",
        ["qoe/v1/{service}/{region}/{cdn}"],
    )
    shards: Shards = key(
        "How many values the level {shard} of topics has, from 0: clients publish all of a session under one of "
        "them, and each of several workers reads its part.",
        16,
    )
    qos: Annotated[Literal[0, 1], BeforeValidator(number)] = key(
        "1: the broker delivers again what was not processed; 0: lost is lost.", 1
    )
    keepalive_s: WholeSeconds = key("A broker that is silent for longer is taken for gone; at most 18h.", "60s")
    session_expiry_s: WholeSeconds = key(
        "How long the broker keeps our messages while we are away (MQTT 5): longer than any outage.", "1d"
    )
    receive_maximum: Port = key("QoS 1 messages in flight at once (MQTT 5), 1 to 65535; few cap the rate.", 65535)
    reconnect: Reconnect = key("Waiting between attempts to connect.", {})

    @property
    def secret(self) -> str | None:
        """The password at the broker, wherever it was given."""
        return _told(self.password, self.password_file)

    def rules(self) -> Iterator[Violation]:
        """One password, with its user; times that MQTT can carry; no topic for two templates; shards for all."""
        without = [index for index, topic in enumerate(self.topics) if not topic.parsed.sharded]
        if 0 < len(without) < len(self.topics):
            expected = "a template with a level {shard}, as others have one: a session must stay whole"
            yield Violation(("topics", without[0], "template"), expected, (("topics",),))
        if self.password and self.password_file:
            yield Violation(("password",), "either password or password_file", (("password_file",),))
        if self.secret is not None and self.username is None:
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
                expected = f"a template without any topic that fits topics.{first} too"
                yield Violation(("topics", index), expected)


MAX_PACKET_BYTES = 2**24
"""The largest packet that we take, 16 MiB: far more than reports need, and far less than there is memory."""
