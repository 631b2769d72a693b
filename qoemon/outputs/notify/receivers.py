"""Builds the receivers of alerts from the configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from qoemon.config.sections import notify as notifyconfig
from qoemon.config.sections.types import first_secret
from qoemon.net.mqtt.client import Broker
from qoemon.outputs.notify.alertmanager import PATH, Alertmanager
from qoemon.outputs.notify.http_client import Address
from qoemon.outputs.notify.login import login_of
from qoemon.outputs.notify.mqtt import AlertPublisher
from qoemon.outputs.notify.notifier import Receiver
from qoemon.outputs.notify.outbox import RepeatingQueue, TransitionQueue
from qoemon.outputs.notify.secret import Secret
from qoemon.outputs.notify.webhook import Webhook


def receivers(section: notifyconfig.Notify, broker: Broker | None, url: str) -> tuple[Receiver, ...]:
    """All configured receivers.

    broker  None if there is none; then the configuration has no notify.mqtt
    url     of this daemon, linked in notifications
    """
    return tuple(_receivers(section, broker, url))


def _receivers(section: notifyconfig.Notify, broker: Broker | None, url: str) -> Iterator[Receiver]:
    names = _Names()
    for alertmanager in section.alertmanagers:
        name = names.unique("alertmanager", alertmanager.url)
        address = Address(alertmanager.url + PATH, alertmanager.ca_file)
        sender = Alertmanager(name, address, login_of(alertmanager), section.expire_s, url)
        yield Receiver(sender, _repeating_queue(section))
    for webhook in section.webhooks:
        address = Address(webhook.url, webhook.ca_file)
        secret = Secret(text=first_secret(webhook.secret), file=webhook.secret_file, key="secret_file")
        hook = Webhook(names.unique("webhook", webhook.url), address, secret, url)
        yield Receiver(hook, TransitionQueue())
    if section.mqtt is not None and broker is not None:
        publisher = AlertPublisher(broker, section.mqtt.topic, section.expire_s, url)
        yield Receiver(publisher, _repeating_queue(section))


def _repeating_queue(section: notifyconfig.Notify) -> RepeatingQueue:
    # After `expire` the alert has resolved at the receiver even if all messages were lost.
    return RepeatingQueue(section.resend_s, resolved_s=section.expire_s)


class _Names:
    """Kind, host and port of a URL, with a number where that is not unique. Path and query may hold a secret."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def unique(self, kind: str, url: str) -> str:
        name = f"{kind} {urlsplit(url).netloc}"
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name} #{self._seen[name]}"
