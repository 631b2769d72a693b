"""Metrics of the inputs and of the inbox."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from qoemon.inputs.stats import CollectorStats, MqttStats
from qoemon.net.http.listener_stats import Ended


def mqtt_metrics(stats: MqttStats, now_s: float) -> Iterator[Metric]:
    """Metrics of the MQTT input at now_s, seconds since the epoch."""
    yield GaugeMetricFamily(
        "qoemon_mqtt_connected", "Whether the broker is connected.", value=float(stats.connected)
    )
    yield GaugeMetricFamily(
        "qoemon_mqtt_subscribed", "Whether the broker granted every subscription.", value=float(stats.subscribed)
    )
    if stats.session_expiry_s is not None:
        yield GaugeMetricFamily(
            "qoemon_mqtt_session_expiry_seconds",
            "How long the broker keeps the session after a disconnect, as granted (MQTT 5).",
            value=stats.session_expiry_s,
        )
    if stats.granted_qos is not None:
        yield GaugeMetricFamily(
            "qoemon_mqtt_granted_qos", "Lowest QoS that the broker granted.", value=stats.granted_qos
        )
    if stats.last_message_s is not None:
        age_s = max(0.0, now_s - stats.last_message_s)
        yield GaugeMetricFamily("qoemon_last_message_age_seconds", "Time since the newest message.", value=age_s)
    counters = [
        ("qoemon_messages", "MQTT messages that arrived.", stats.messages_total),
        ("qoemon_message_bytes", "Payload bytes that arrived.", stats.message_bytes_total),
        ("qoemon_messages_retained", "Retained messages, ignored as outdated.", stats.retained_ignored_total),
        (
            "qoemon_messages_bad_topic",
            "Messages ignored because their topic is not text, or too long.",
            stats.bad_topics_total,
        ),
        (
            "qoemon_acks_stale",
            "Messages accepted whose connection ended before they could be acknowledged.",
            stats.stale_acks_total,
        ),
        ("qoemon_mqtt_connects", "Connections made to the broker.", stats.connects_total),
        ("qoemon_mqtt_connect_failures", "Attempts to connect that failed.", stats.connect_failures_total),
        ("qoemon_mqtt_disconnects", "Connections that ended.", stats.disconnects_total),
        (
            "qoemon_mqtt_sessions_lost",
            "Connections at which the broker had lost the session, with the messages in it.",
            stats.sessions_lost_total,
        ),
    ]
    for name, text, value in counters:
        yield CounterMetricFamily(name, text, value=value)


ANSWERS = (204, 400, 401, 403, 404, 405, 410, 413, 414, 415, 417, 429, 431, 500, 501, 503)
"""Statuses that the collector answers with."""


def collector_metrics(stats: CollectorStats, now_s: float) -> Iterator[Metric]:
    """Metrics of the collector at now_s, seconds since the epoch, with every status and reason from the start."""
    requests = CounterMetricFamily(
        "qoemon_collector_requests", "Requests to the collector by the status of their answer.", labels=("code",)
    )
    for status in ANSWERS:
        requests.add_metric((str(status),), stats.answers[status])
    ended = CounterMetricFamily(
        "qoemon_collector_connections_ended", "Connections to the collector that were cut.", labels=("reason",)
    )
    for reason in Ended:
        ended.add_metric((reason,), stats.ended[reason])
    yield from (requests, ended)
    counters = [
        (
            "qoemon_collector_preflights",
            "Requests of browsers for permission to post (OPTIONS).",
            stats.preflights_total,
        ),
        ("qoemon_collector_bytes", "Bytes of bodies that the collector accepted.", stats.bytes_total),
        (
            "qoemon_collector_held_back",
            "Times that reading from a connection stopped, as it did not wait for answers or did not read them.",
            stats.held_back_total,
        ),
        (
            "qoemon_collector_unanswered",
            "Requests accepted whose connection ended before they could be answered.",
            stats.unanswered_total,
        ),
    ]
    for name, text, value in counters:
        yield CounterMetricFamily(name, text, value=value)
    yield GaugeMetricFamily(
        "qoemon_collector_connections", "Connections to the port of the collector.", value=stats.connections
    )
    yield GaugeMetricFamily(
        "qoemon_collector_in_flight",
        "Requests accepted that wait for their answer until they are stored.",
        value=stats.in_flight,
    )
    if stats.last_request_s is not None:
        yield GaugeMetricFamily(
            "qoemon_collector_last_request_age_seconds",
            "Time since the newest request that the collector accepted.",
            value=max(0.0, now_s - stats.last_request_s),
        )
    yield GaugeMetricFamily(
        "qoemon_collector_web_config_last_reload_successful",
        "Whether the web configuration file of the collector as it is now is in force.",
        value=float(stats.web_config_good),
    )


def inbox_metrics(messages: int, size: int, dropped: int, withheld: int) -> Iterator[Metric]:
    """Metrics of the inbox: messages and bytes in it, and QoS 0 and QoS 1 messages that did not fit."""
    yield GaugeMetricFamily("qoemon_inbox_messages", "Messages waiting to be evaluated and stored.", value=messages)
    yield GaugeMetricFamily(
        "qoemon_inbox_bytes", "Bytes of messages waiting to be evaluated and stored.", value=size
    )
    yield CounterMetricFamily(
        "qoemon_messages_dropped", "QoS 0 messages lost because the inbox was full.", value=dropped
    )
    yield CounterMetricFamily(
        "qoemon_messages_withheld", "QoS 1 messages left with the broker as the inbox was full.", value=withheld
    )
