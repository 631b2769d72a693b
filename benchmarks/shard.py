"""One shard of the core and its evaluation, as the daemon drives them. Benchmarks use the core through this."""

from __future__ import annotations

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.arrays import Ints
from qoemon.core.counting.monitor import Monitor
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.player import PlayerBatch


class Shard:
    """Counts reports and evaluates ticks, without alert rules."""

    def __init__(self, plan: Plan) -> None:
        self._tick_s = plan.timing.tick_s
        self._monitor, self._evaluation = Monitor(plan), Evaluation(plan, (), RegimeRules())

    @property
    def sessions(self) -> int:
        """Sessions in its tables."""
        return self._monitor.sessions

    def apply(self, batch: Batch, now_s: float) -> None:
        """Count the reports of a batch."""
        self._monitor.apply(batch, now_s)

    def apply_players(self, players: PlayerBatch, now_s: float) -> Ints:
        """Count records of players; returns the positions of those that are too many in a second."""
        return self._monitor.apply_players(players, now_s)

    def tick(self, now_s: float) -> Snapshot:
        """Make a tick and return its snapshot."""
        counts = ShardCounts(
            time_s=int(now_s // self._tick_s) * self._tick_s,
            services=self._monitor.counts(now_s),
            closed=tuple(self._monitor.drain_closed()),
            events=self._monitor.events,
            rejected={},
            sessions=self._monitor.sessions,
        )
        return self._evaluation.tick([counts]).snapshot
