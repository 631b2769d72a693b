"""Statistics of the inputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from qoemon.net.http.listener_stats import ListenerStats


@dataclass
class MqttStats:
    """State and totals of a connection to the broker. Totals count since the process began."""

    connected: bool = False
    subscribed: bool = False
    """Whether the broker granted every filter, possibly at a lower QoS than requested."""
    connects_total: int = 0
    connect_failures_total: int = 0
    disconnects_total: int = 0
    sessions_lost_total: int = 0
    """Connections on which the broker no longer had the session that it should have kept."""
    session_expiry_s: int | None = None
    """How long the broker keeps our session after a disconnect, by its last CONNACK; None if unknown (3.1.1)."""
    granted_qos: int | None = None
    """The lowest QoS that the broker granted on this or the last connection; None if it granted no filter."""
    messages_total: int = 0
    """All messages that arrived, including ignored and rejected ones."""
    message_bytes_total: int = 0
    """Size of their payloads."""
    retained_ignored_total: int = 0
    bad_topics_total: int = 0
    """Messages whose topic is empty, not UTF-8 or longer than MAX_TOPIC: ignored."""
    acks_total: int = 0
    stale_acks_total: int = 0
    """Acknowledgements that came after their connection had ended: those messages are delivered again."""
    last_message_s: float | None = None
    """Arrival of the newest message, seconds since the epoch; retained ones do not count."""
    last_error: str | None = None
    """Why no messages are received; None if there is no problem."""

    def __add__(self, other: MqttStats) -> MqttStats:
        """The statistics of two connections as one, which is connected if both are."""
        arrivals_s = [each for each in (self.last_message_s, other.last_message_s) if each is not None]
        return MqttStats(
            session_expiry_s=_least(self.session_expiry_s, other.session_expiry_s),
            granted_qos=_least(self.granted_qos, other.granted_qos),
            connected=self.connected and other.connected,
            subscribed=self.subscribed and other.subscribed,
            connects_total=self.connects_total + other.connects_total,
            connect_failures_total=self.connect_failures_total + other.connect_failures_total,
            disconnects_total=self.disconnects_total + other.disconnects_total,
            sessions_lost_total=self.sessions_lost_total + other.sessions_lost_total,
            messages_total=self.messages_total + other.messages_total,
            message_bytes_total=self.message_bytes_total + other.message_bytes_total,
            retained_ignored_total=self.retained_ignored_total + other.retained_ignored_total,
            bad_topics_total=self.bad_topics_total + other.bad_topics_total,
            acks_total=self.acks_total + other.acks_total,
            stale_acks_total=self.stale_acks_total + other.stale_acks_total,
            last_message_s=max(arrivals_s, default=None),
            last_error=other.last_error if self.last_error is None else self.last_error,
        )

    def totals(self) -> MqttStats:
        """The totals of a process that has ended, to be added to those of others."""
        return replace(
            self, connected=True, subscribed=True, session_expiry_s=None, granted_qos=None, last_error=None
        )


def _least(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


@dataclass
class CollectorStats(ListenerStats):
    """State and totals of the HTTP listener for players and clients. Totals count since the process began."""

    answers: Counter[int] = field(default_factory=Counter)
    """Answers by status, without those to preflights."""
    preflights_total: int = 0
    """Requests of browsers for permission to post (OPTIONS)."""
    bytes_total: int = 0
    """Size of the bodies that went into the inbox."""
    in_flight: int = 0
    """Requests in the inbox or not yet committed, whose connection is open."""
    held_back_total: int = 0
    """Times that a connection was not read, as it had too many requests without an answer, or read none."""
    unanswered_total: int = 0
    """Requests that were committed after their connection had ended."""
    last_request_s: float | None = None
    """Arrival of the newest request that went into the inbox, seconds since the epoch."""
