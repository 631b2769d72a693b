"""A tick as its readers get it."""

from __future__ import annotations

from dataclasses import dataclass

from qoemon.core.alerting.detector import Detections
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.net.http.body import Body
from qoemon.outputs.history import Past


@dataclass(frozen=True)
class PublishedTick:
    """Everything that is served about one tick.

    past     the ticks before it, for the page
    metrics  for Prometheus, as text
    json     the snapshot
    """

    snapshot: Snapshot
    detections: Detections
    past: Past
    metrics: Body
    json: Body
