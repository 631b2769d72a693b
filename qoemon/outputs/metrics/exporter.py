"""What readers get: rendered once per tick, off the event loop, then served from memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

import qoemon
from qoemon.core.alerting.detector import Watched
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.report import Reject
from qoemon.engine.metrics import WorkerState, worker_families
from qoemon.engine.stats import Intake
from qoemon.net.http.body import Body, Demand
from qoemon.net.http.stats import HttpState, http_families
from qoemon.outputs.history import NO_PAST, Past
from qoemon.outputs.metrics.alerts import receiver_families, watch_families
from qoemon.outputs.metrics.qoe import families
from qoemon.outputs.metrics.text_format import Family, LabelTexts, exposition
from qoemon.outputs.notify.notice import ReceiverState
from qoemon.outputs.snapshot_json import view_json

_TICK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


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
    workers: tuple[WorkerState, ...] = ()
    receivers: tuple[ReceiverState, ...] = ()
    http: HttpState = field(default_factory=HttpState)


IDLE = Vitals()
"""A daemon that has just begun."""


@dataclass(frozen=True)
class Published:
    """Everything that is served about one tick."""

    snapshot: Snapshot
    watched: Watched
    past: Past
    exposition: Body
    """for Prometheus"""
    view: Body
    """as JSON"""

    @property
    def metrics(self) -> bytes:
        """The exposition in one piece."""
        return self.exposition.whole

    @property
    def json(self) -> bytes:
        """The view in one piece."""
        return self.view.whole


class Exporter:
    """Renders snapshots with the daemon's own metrics. Called from one thread."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._texts = LabelTexts()
        self._metrics_wanted, self._view_wanted = Demand(), Demand()
        self._now = _Collected()
        self._registry.register(self._now)
        prometheus_client.ProcessCollector(registry=self._registry)
        self._tick_s = prometheus_client.Histogram(
            "qoemon_tick_seconds",
            "How long a tick took, evaluation and rendering together.",
            registry=self._registry,
            buckets=_TICK_BUCKETS,
        )

    def observe_tick(self, took_s: float) -> None:
        """Note how long a whole tick took; shown from the next one on."""
        self._tick_s.observe(took_s)

    def publish(self, snapshot: Snapshot, watched: Watched, vitals: Vitals, past: Past = NO_PAST) -> Published:
        """The tick as readers will get it; past is what came before it."""
        return Published(
            snapshot=snapshot,
            watched=watched,
            past=past,
            exposition=Body(self._metrics(snapshot, watched, vitals), self._metrics_wanted),
            view=Body(view_json(snapshot, watched), self._view_wanted),
        )

    def _metrics(self, snapshot: Snapshot, watched: Watched, vitals: Vitals) -> Iterator[bytes]:
        """The families by group in our own way, the few others by prometheus-client."""
        by_group: list[Family] = []
        self._now.families = list(own_families(vitals))
        for family in (*families(snapshot, self._texts), *watch_families(snapshot, watched, self._texts)):
            if isinstance(family, Family):
                by_group.append(family)
            else:
                self._now.families.append(family)
        yield from exposition(by_group)
        yield prometheus_client.generate_latest(self._registry)


class _Collected(Collector):
    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.families


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
    yield from http_families(vitals.http)
    yield from receiver_families(vitals.receivers)
    yield from worker_families(vitals.workers)


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
