"""Section `notify`: the receivers of alerts, and how often notifications are repeated."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from qoemon.common import duration
from qoemon.config.sections import names as naming
from qoemon.config.sections.types import File, Seconds, SecretPath
from qoemon.config.sections.url import BaseUrl, Url
from qoemon.config.yaml.section import Section, Violation, expecting, key
from qoemon.core.plan.topic import POOLED


def _template(value: str) -> str:
    if fault := naming.topic_fault(value):
        raise expecting(fault)
    if POOLED in value.split("/"):
        raise expecting("a topic without wildcards, as alerts are published to it")
    named = sorted(level[1:-1] for level in value.split("/") if level.startswith("{"))
    if named != sorted(NAMES):
        names = ", ".join(f"{{{name}}}" for name in NAMES)
        raise expecting(f"a topic with the levels {names} and no other names, so that each alert has its own")
    return value


Name = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]


class Receiver(Section):
    """A receiver over HTTP."""

    url: Url
    ca_file: File | None = key("PEM file of the authorities to trust instead of those of the system.", None)

    def rules(self) -> Iterator[Violation]:
        """`ca_file` requires an https URL."""
        if self.ca_file is not None and urlsplit(self.url).scheme != "https":
            yield Violation(("url",), "an https URL, as there is a ca_file", (("ca_file",),))


class Account(Receiver):
    """A server that may require a user name and a password."""

    username: Name | None = key("User name for HTTP basic authentication.", None)
    password: SecretStr | None = key("Password; better ${NAME} than the password itself.", None)
    password_file: SecretPath | None = key(
        "File with the password, read again at each delivery; a final line end is ignored.", None
    )

    def rules(self) -> Iterator[Violation]:
        """One password at most, with `username`."""
        yield from super().rules()
        if self.password is not None and self.password_file is not None:
            yield Violation(("password",), "either password or password_file", (("password_file",),))
        if self.username is None and (self.password, self.password_file) != (None, None):
            depends_on = (("password",), ("password_file",))
            yield Violation(("username",), "the user name that the password belongs to", depends_on)


class Alertmanager(Account):
    """An Alertmanager. Of a cluster, list every member: they agree on the one that notifies."""

    url: BaseUrl = key("URL of its web interface, with its path prefix if it has one.")


class Webhook(Receiver):
    """A URL to which every transition is posted as JSON."""

    url: Url = key("URL to post to; better ${NAME} if it has a token.", repr=False)
    secret: Secret | None = key("Secret that signs each request; better ${NAME} than the secret itself.", None)
    secret_file: SecretPath | None = key(
        "File with the secret, read again at each delivery; a final line end is ignored.", None
    )

    def rules(self) -> Iterator[Violation]:
        """One secret at most."""
        yield from super().rules()
        if self.secret is not None and self.secret_file is not None:
            yield Violation(("secret",), "either secret or secret_file", (("secret_file",),))


class AlertTopic(Section):
    """A retained message for each alert, on the broker of the reports."""

    topic: Annotated[str, AfterValidator(_template)] = key(
        "Topic of an alert; {groups} becomes one level for each label.", "qoe/v1/alerts/{alert}/{service}/{groups}"
    )


class Notify(Section):
    """Receivers of alerts."""

    resend_s: Seconds = key("Interval at which firing alerts are sent again to Alertmanager and MQTT.", "1m")
    expire_s: Seconds = key(
        "Time without being sent again after which receivers consider an alert ended; longer than a restart takes "
        "until alerts fire again.",
        "10m",
    )
    alertmanagers: tuple[Alertmanager, ...] = key("Alertmanagers; each receives every alert.", [])
    webhooks: tuple[Webhook, ...] = key("URLs to which every transition is posted.", [])
    mqtt: AlertTopic | None = key("Retained messages on the broker; {} for the default topic, null for none.", None)

    def rules(self) -> Iterator[Violation]:
        """`expire` is at least twice `resend`, so that one message may get lost; each URL is there once."""
        if self.expire_s < 2 * self.resend_s:
            expected = f"at least twice resend ({duration.text(self.resend_s)}), as one message may get lost"
            yield Violation(("expire",), expected, (("resend",),))
        for name in ("alertmanagers", "webhooks"):
            urls = [receiver.url for receiver in getattr(self, name)]
            for place, url in enumerate(urls):
                if url in urls[:place]:
                    yield Violation((name, place, "url"), "each URL once")


NAMES = ("alert", "service", "groups")
"""Names in a topic template, each once and as a whole level; `groups` becomes one level for each label."""
