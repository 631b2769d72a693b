"""Metrics of the bridge."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from qoemon.daemon.metrics import build_metrics
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.metrics import collector_metrics, inbox_metrics, mqtt_metrics
from qoemon.inputs.sources import Sources
from qoemon.net.http.stats import HttpStats, http_metrics
from qoemon.net.kafka.producer import ProducerStats

METRICS_TYPE = prometheus_client.CONTENT_TYPE_LATEST

_DELIVERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class BridgeMetrics(Collector):
    """The metrics of the parts of a bridge, rendered at each request.

    kafka  None before the topic has been found
    """

    def __init__(self, sources: Sources, inbox: Inbox, http: HttpStats) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._sources, self._inbox, self._http = sources, inbox, http
        self.messages_total = 0
        """Messages that Kafka has stored, as they were received."""
        self.kafka = ProducerStats()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        prometheus_client.ProcessCollector(registry=self._registry)
        self._delivery_s = delivery_histogram(self._registry)

    def observe_delivery(self, took_s: float) -> None:
        """Record how long a delivery took."""
        self._delivery_s.observe(took_s)

    def rendered(self) -> bytes:
        """The exposition."""
        return prometheus_client.generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """All families but those of the registry."""
        now_s = time.time()
        yield from build_metrics()
        if self._sources.mqtt is not None:
            yield from mqtt_metrics(self._sources.mqtt.stats, now_s)
        if self._sources.collector is not None:
            yield from collector_metrics(self._sources.collector.stats, now_s)
        inbox = self._inbox
        yield from inbox_metrics(inbox.messages, inbox.bytes, inbox.dropped, inbox.withheld)
        yield from kafka_metrics(self.kafka, self.messages_total)
        yield from http_metrics(self._http)


def delivery_histogram(registry: CollectorRegistry) -> prometheus_client.Histogram:
    """The histogram of deliveries, without any."""
    return prometheus_client.Histogram(
        "qoemon_bridge_delivery_seconds",
        "How long Kafka took to store a record, from the moment it was handed to the client.",
        registry=registry,
        buckets=_DELIVERY_BUCKETS,
    )


def kafka_metrics(stats: ProducerStats, messages_total: int) -> Iterator[Metric]:
    """Metrics of what goes to Kafka."""
    yield GaugeMetricFamily(
        "qoemon_bridge_kafka_connected", "Whether a broker of Kafka is connected.", value=float(stats.connected)
    )
    yield CounterMetricFamily("qoemon_bridge_records", "Records that Kafka has stored.", value=stats.records_total)
    yield CounterMetricFamily(
        "qoemon_bridge_bytes", "Bytes of the records that Kafka has stored.", value=stats.bytes_total
    )
    yield CounterMetricFamily(
        "qoemon_bridge_messages",
        "Messages and requests that Kafka has stored and the bridge has acknowledged.",
        value=messages_total,
    )
    yield GaugeMetricFamily(
        "qoemon_bridge_undelivered_records",
        "Records that Kafka has not stored yet; their messages are not acknowledged.",
        value=stats.undelivered,
    )
