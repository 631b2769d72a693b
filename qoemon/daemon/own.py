"""tmp"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import qoemon
from qoemon.core.wire.report import Reject
from qoemon.engine.metrics import worker_metrics
from qoemon.engine.stats import Intake, WorkerStats
from qoemon.net.http.stats import HttpStats, http_metrics
from qoemon.outputs.notify.metrics import receiver_metrics
from qoemon.outputs.notify.receiver_stats import ReceiverStats


@dataclass(frozen=True)
class Vitals:
    """How the daemon itself fares. Ages are seconds, None where nothing has happened yet."""

    intake: Intake = field(default_factory=Intake)
    last_message_age_s: float | None = 0.0
    rejected: Mapping[Reject, int] = field(default_factory=dict)
    loop_lag_s: float = 0.0
    tick_lag_s: float = 0.0
    ticks_skipped: int = 0
    clock_steps: int = 0
    reloaded: bool = True
    workers: tuple[WorkerStats, ...] = ()
    receivers: tuple[ReceiverStats, ...] = ()
    http: HttpStats = field(default_factory=HttpStats)


IDLE = Vitals()
"""A daemon that has just begun."""


def own_families(vitals: Vitals) -> Iterator[Metric]:
    """The daemon's own metrics, but for those that prometheus-client keeps itself."""
    build = GaugeMetricFamily("qoemon_build_info", "1, with the version that runs.", labels=("version",))
    build.add_metric((qoemon.__version__,), 1)
    yield build
    rejected = CounterMetricFamily(
        "qoemon_reports_rejected", "Reports that could not be taken.", labels=("reason",)
    )
    for reason in Reject:
        rejected.add_metric((reason,), vitals.rejected.get(reason, 0))
    yield rejected
    yield from _gauges(vitals)
    yield from _counters(vitals)
    yield from http_metrics(vitals.http)
    yield from receiver_metrics(vitals.receivers)
    yield from worker_metrics(vitals.workers)


def _gauges(vitals: Vitals) -> Iterator[Metric]:
    intake, ingest, kept = vitals.intake, vitals.intake.ingest, vitals.intake.kept
    told: list[tuple[str, str, float | None]] = [
        ("qoemon_mqtt_connected", "Whether the broker is connected.", ingest.connected),
        (
            "qoemon_mqtt_subscribed",
            "Whether the broker granted every subscription.",
            ingest.subscribed,
        ),
        ("qoemon_last_message_age_seconds", "Time since the newest message.", vitals.last_message_age_s),
        ("qoemon_inbox_messages", "Messages waiting to be evaluated and stored.", intake.inbox_messages),
        ("qoemon_inbox_bytes", "Bytes of messages waiting to be evaluated and stored.", intake.inbox_bytes),
        (
            "qoemon_event_loop_lag_seconds",
            "Longest delay of the event loop since the last tick.",
            vitals.loop_lag_s,
        ),
        (
            "qoemon_journal_bytes",
            "Messages stored that no checkpoint covers yet.",
            kept.journal_bytes,
        ),
        (
            "qoemon_state_writable",
            "1 while what is taken in can be stored, 0 while it can't: messages wait at the broker.",
            kept.problem is None,
        ),
        ("qoemon_config_last_reload_successful", "Whether the last reload succeeded.", vitals.reloaded),
        ("qoemon_tick_lag_seconds", "How late after its time this tick began.", vitals.tick_lag_s),
    ]
    for name, help_text, value in told:
        if value is not None:
            yield GaugeMetricFamily(name, help_text, value=float(value))


def _counters(vitals: Vitals) -> Iterator[Metric]:
    intake, ingest, kept = vitals.intake, vitals.intake.ingest, vitals.intake.kept
    told = [
        ("qoemon_messages", "MQTT messages that arrived.", ingest.messages_total),
        ("qoemon_message_bytes", "Payload bytes that arrived.", ingest.message_bytes_total),
        (
            "qoemon_messages_retained",
            "Retained messages, ignored as old news.",
            ingest.retained_ignored_total,
        ),
        (
            "qoemon_messages_bad_topic",
            "Messages ignored as their topic is no text or too long.",
            ingest.bad_topics_total,
        ),
        (
            "qoemon_acks_stale",
            "Messages taken in whose connection ended before they could be acknowledged.",
            ingest.stale_acks_total,
        ),
        ("qoemon_messages_dropped", "QoS 0 messages lost because the inbox was full.", intake.dropped),
        (
            "qoemon_messages_withheld",
            "QoS 1 messages left with the broker as the inbox was full.",
            intake.withheld,
        ),
        ("qoemon_mqtt_connects", "Connections made to the broker.", ingest.connects_total),
        (
            "qoemon_mqtt_connect_failures",
            "Attempts to connect that failed.",
            ingest.connect_failures_total,
        ),
        ("qoemon_mqtt_disconnects", "Connections that ended.", ingest.disconnects_total),
        ("qoemon_journal_commits", "Commits of messages to the journal.", kept.commits),
        ("qoemon_state_failures", "Attempts to store that failed.", kept.failures),
        ("qoemon_checkpoints", "Checkpoints stored.", kept.checkpoints),
        ("qoemon_clock_steps", "Times that the wall clock was set by a tick or more.", vitals.clock_steps),
        ("qoemon_tick_skipped", "Ticks that were left out because one before took too long.", vitals.ticks_skipped),
    ]
    for name, help_text, value in told:
        yield CounterMetricFamily(name, help_text, value=value)
