"""A published tick, as its readers get it."""

from __future__ import annotations

from dataclasses import dataclass

from qoemon.core.alerting.detector import Detections
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.net.http.body import Body
from qoemon.outputs.history import Past


@dataclass(frozen=True)
class PublishedTick:
    """Everything that is served about one tick.

    past     the history, for the page
    metrics  in the text format of Prometheus
    json     the snapshot, as JSON
    """

    snapshot: Snapshot
    detections: Detections
    past: Past
    metrics: Body
    json: Body
