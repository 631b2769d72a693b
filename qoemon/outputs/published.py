"""A tick as its readers get it."""

from __future__ import annotations

from dataclasses import dataclass

from qoemon.core.alerting.detector import Detections
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.net.http.body import Body
from qoemon.outputs.history import Past


@dataclass(frozen=True)
class PublishedTick:
    """Everything that is served about one tick."""

    snapshot: Snapshot
    watched: Detections
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
