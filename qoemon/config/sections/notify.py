"""What the configuration says of receivers: who is told of alerts, and how often again."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from qoemon.common import duration
from qoemon.config.sections import names as naming
from qoemon.config.sections.types import File, Seconds, SecretFile
from qoemon.config.sections.url import BaseUrl, Url
from qoemon.config.yaml.section import Section, Violation, expecting, key


def _template(value: str) -> str:
    if fault := naming.topic_fault(value):
        raise expecting(fault)
    named = sorted(level[1:-1] for level in value.split("/") if level[0] == "{")
    if named != sorted(NAMES):
        names = ", ".join(f"{{{name}}}" for name in NAMES)
        raise expecting(f"a topic with the levels {names} and no other names, so that each alert has its own")
    return value


Name = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]


class Receiver(Section):
    """Someone who is told by HTTP."""

    url: Url
    ca_file: File | None = key("PEM file of the authorities to trust instead of the system's.", None)

    def rules(self) -> Iterator[Violation]:
        """Authorities are for TLS."""
        if self.ca_file is not None and urlsplit(self.url).scheme != "https":
            yield Violation(("url",), "an https URL, as there is a ca_file", (("ca_file",),))


class Alertmanager(Receiver):
    """One Alertmanager; of a cluster, name each: they sort out among themselves who notifies."""

    url: BaseUrl = key("Where its pages are, a path in front of them included.")
    username: Name | None = key("User name for HTTP basic authentication.", None)
    password: SecretStr | None = key("Its password, as ${NAME} rather than in the file.", None)
    password_file: SecretFile | None = key("File with the password; a line end after it is left out.", None)

    @property
    def secret(self) -> str | None:
        """The password, wherever it was given."""
        return _told(self.password, self.password_file)

    def rules(self) -> Iterator[Violation]:
        """One password, with its user."""
        yield from super().rules()
        if self.password is not None and self.password_file is not None:
            yield Violation(("password",), "either password or password_file", (("password_file",),))
        if self.secret is not None and self.username is None:
            depends_on = (("password",), ("password_file",))
            yield Violation(("username",), "the user name that the password belongs to", depends_on)


class Webhook(Receiver):
    """A URL that every transition is posted to, as JSON."""

    url: Url = key("Where to post; as ${NAME} if it holds a token.", repr=False)
    secret: Secret | None = key("Signs what is posted, as ${NAME} rather than in the file.", None)
    secret_file: SecretFile | None = key("File with the secret; a line end after it is left out.", None)

    @property
    def signing(self) -> str | None:
        """The secret, wherever it was given."""
        return _told(self.secret, self.secret_file)

    def rules(self) -> Iterator[Violation]:
        """One secret."""
        yield from super().rules()
        if self.secret is not None and self.secret_file is not None:
            yield Violation(("secret",), "either secret or secret_file", (("secret_file",),))


class AlertTopic(Section):
    """A retained message for each alert, at the broker that the reports come from."""

    topic: Annotated[str, AfterValidator(_template)] = key(
        "Topic of an alert; {groups} is one level a label.", "qoe/v1/alerts/{alert}/{service}/{groups}"
    )


class Notify(Section):
    """Who is told of alerts."""

    resend_s: Seconds = key("How often Alertmanager and MQTT are told again what fires.", "1m")
    expire_s: Seconds = key(
        "How long they believe it without being told again: longer than a restart of qoemon takes to see again "
        "what is bad.",
        "10m",
    )
    alertmanagers: tuple[Alertmanager, ...] = key("Alertmanagers, each of which is told.", [])
    webhooks: tuple[Webhook, ...] = key("URLs that every transition is posted to.", [])
    mqtt: AlertTopic | None = key("Retained messages at the broker; {} for the default topic, null for none.", None)

    def rules(self) -> Iterator[Violation]:
        """One resend may get lost; nobody is told twice."""
        if self.expire_s < 2 * self.resend_s:
            expected = f"at least twice resend ({duration.text(self.resend_s)}), as one message may get lost"
            yield Violation(("expire",), expected, (("resend",),))
        for name in ("alertmanagers", "webhooks"):
            urls = [receiver.url for receiver in getattr(self, name)]
            for place, url in enumerate(urls):
                if url in urls[:place]:
                    yield Violation((name, place, "url"), "each URL once")


def _told(*secrets: SecretStr | None) -> str | None:
    """The first secret that was given, in clear."""
    return next((secret.get_secret_value() for secret in secrets if secret is not None), None)


NAMES = ("alert", "service", "groups")
"""What a template names, each once and as a whole level; `groups` is one level a label of the group."""
