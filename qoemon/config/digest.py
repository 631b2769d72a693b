"""Digests of what two daemons of a pair must have in common, to compare it without showing it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from qoemon.config.config import Config

SECTIONS = ("labels", "services", "sessions", "windows_s", "confidence", "alerts", "regimes", "roll_ups")
"""They decide which alerts a daemon finds; none has a secret."""


def digests(config: Config) -> Mapping[str, str]:
    """A short digest of each section, by its name; of `mqtt` and `notify`, of what has to be the same."""
    texts = {name.removesuffix("_s"): config.model_dump_json(include={name}) for name in SECTIONS}
    texts["mqtt.topics"] = json.dumps([(topic.template, topic.service) for topic in config.topics])
    texts["notify"] = _receivers(config)
    return {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in texts.items()}


def _receivers(config: Config) -> str:
    """Who is notified, by which a daemon knows what the other one has delivered: hosts, as paths may be tokens."""
    notify = config.notify
    alertmanagers, webhooks = (
        sorted(urlsplit(receiver.url).netloc for receiver in receivers)
        for receivers in (notify.alertmanagers, notify.webhooks)
    )
    topic = None if notify.mqtt is None else notify.mqtt.topic
    return json.dumps([alertmanagers, webhooks, topic, notify.resend_s, notify.expire_s])
