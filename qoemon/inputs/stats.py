"""Statistics of an input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class MqttStats:
    """How it goes, for whoever exports it. Totals count since the start."""

    connected: bool = False
    subscribed: bool = False
    """The broker granted every filter, if some at a lower QoS than asked."""
    connects_total: int = 0
    connect_failures_total: int = 0
    disconnects_total: int = 0
    messages_total: int = 0
    """All that arrived, also what was ignored or refused."""
    message_bytes_total: int = 0
    """Their payloads."""
    retained_ignored_total: int = 0
    bad_topics_total: int = 0
    """Messages whose topic is empty, not UTF-8 or longer than MAX_TOPIC: ignored."""
    acks_total: int = 0
    stale_acks_total: int = 0
    """Acknowledgements that came after their connection had ended: those messages are delivered again."""
    last_message_s: float | None = None
    """When the newest message arrived, seconds since the epoch; a retained one does not count."""
    last_error: str | None = None
    """Why we are not receiving, in words; None while all is well."""
