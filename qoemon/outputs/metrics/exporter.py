"""Renders a tick once, for all readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from qoemon.core.alerting.detector import Detections
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.net.http.body import Body, CompressionDemand
from qoemon.outputs.history import NO_PAST, Past
from qoemon.outputs.metrics.alerts import detection_families
from qoemon.outputs.metrics.qoe import qoe_families
from qoemon.outputs.metrics.roll_ups import roll_up_families
from qoemon.outputs.metrics.text_format import Family, LabelTexts, text_format
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.snapshot_json import snapshot_json

METRICS_TYPE = prometheus_client.CONTENT_TYPE_LATEST
"""The content type of what is rendered for Prometheus."""

_TICK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Exporter:
    """Renders snapshots, with the daemon's own metrics. Called from one thread at a time."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._texts = LabelTexts()
        self._metrics_demand, self._json_demand = CompressionDemand(), CompressionDemand()
        self._collected = _Collected()
        self._registry.register(self._collected)
        prometheus_client.ProcessCollector(registry=self._registry)
        self._tick_s = prometheus_client.Histogram(
            "qoemon_tick_seconds",
            "How long a tick took, evaluation and rendering together.",
            registry=self._registry,
            buckets=_TICK_BUCKETS,
        )

    def observe_tick(self, took_s: float) -> None:
        """Record the duration of a tick; exported with the next one."""
        self._tick_s.observe(took_s)

    def render(
        self, snapshot: Snapshot, detections: Detections, own: Iterable[Metric], past: Past = NO_PAST
    ) -> PublishedTick:
        """Render a tick; own: the daemon's own metrics, past: the history."""
        return PublishedTick(
            snapshot=snapshot,
            detections=detections,
            past=past,
            metrics=Body(self._metrics(snapshot, detections, own), self._metrics_demand),
            json=Body(snapshot_json(snapshot, detections), self._json_demand),
        )

    def _metrics(self, snapshot: Snapshot, detections: Detections, own: Iterable[Metric]) -> Iterator[bytes]:
        """Metrics by group, with our own fast formatter; the few others with prometheus-client."""
        by_group: list[Family] = []
        self._collected.families = list(own)
        for family in (
            *qoe_families(snapshot, self._texts),
            *detection_families(snapshot, detections, self._texts),
            *roll_up_families(snapshot, detections, self._texts),
        ):
            if isinstance(family, Family):
                by_group.append(family)
            else:
                self._collected.families.append(family)
        yield from text_format(by_group)
        yield prometheus_client.generate_latest(self._registry)


class _Collected(Collector):
    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.families
