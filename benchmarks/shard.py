"""One shard of the core, as the daemon drives it. Benchmarks of counting and of ticks use the core through this."""

from __future__ import annotations

from qoemon.core.counting.monitor import Monitor
from qoemon.core.plan.plan import Plan
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import Batch


class Shard:
    """Counts reports and evaluates ticks, without alert rules."""

    def __init__(self, plan: Plan) -> None:
        self._monitor = Monitor(plan)

    @property
    def sessions(self) -> int:
        """Sessions in its tables."""
        return self._monitor.sessions

    def apply(self, batch: Batch, now_s: float) -> None:
        """Count the reports of a batch."""
        self._monitor.apply(batch, now_s)

    def tick(self, now_s: float) -> Snapshot:
        """Make a tick and return its snapshot."""
        return self._monitor.snapshot(now_s)
