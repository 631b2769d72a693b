"""The engine without workers: all sessions in this process, one shard and its evaluation."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from qoemon.common import systemd
from qoemon.common.metrics import Families
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.alerting.alerts import AlertKey
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Tick
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.engine.engine import ExtraState, OnTick
from qoemon.engine.evaluations import successor
from qoemon.engine.inputs import sources
from qoemon.engine.metrics import engine_metrics
from qoemon.engine.shard import Shard, nothing
from qoemon.engine.stats import EngineStats
from qoemon.inputs.inbox import Inbox
from qoemon.state.recovery import Recovery
from qoemon.state.store import Store


class LocalEngine:
    """One shard with all sessions and all inputs, and the evaluation of its counts.

    extra_state  further arrays to store with a checkpoint
    forget       whether the session stored at the broker is outdated
    """

    own_clock = False

    def __init__(
        self, config: Config, store: Store | None, extra_state: ExtraState = nothing, *, forget: bool = False
    ) -> None:
        self._config, self._extra_state = config, extra_state
        inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        directory = None if store is None else store.directory
        self._evaluation = new_evaluation(config)
        plan = core_plan(config)
        self._shard = Shard(
            lambda: ShardPipeline(plan),
            inbox,
            sources(config, inbox, directory, forget=forget),
            store,
            config.state.checkpoint_s,
        )

    @property
    def stats(self) -> EngineStats:
        """As Engine.stats."""
        return self._shard.stats

    @property
    def newest_s(self) -> int | None:
        """As Engine.newest_s."""
        return self._shard.pipeline.newest_s

    @property
    def shard(self) -> Shard:
        """The shard of all sessions."""
        return self._shard

    def metrics(self, now_s: float) -> Families:
        """As Engine.metrics."""
        return engine_metrics(self.stats, self._shard.pipeline.rejected, (), now_s)

    def problems(self) -> list[str]:
        """As Engine.problems."""
        return self._shard.problems()

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """As Engine.parts."""
        return self._shard.parts()

    async def listen(self) -> None:
        """As Engine.listen."""
        await self._shard.sources.listen()

    async def recover(self, on_tick: OnTick) -> Arrays:
        """As Engine.recover; also reports the progress to systemd."""

        def evaluate(counts: ShardCounts) -> None:
            on_tick(self._evaluation.tick([counts]))

        state = await self._shard.recover(Recovery(self._restore, evaluate, _notify_systemd))
        await self._shard.in_thread(self._evaluation.begin_exports)
        return state

    async def change(self, config: Config) -> None:
        """As Engine.change."""
        evaluation = await self._shard.in_thread(successor, config, self._evaluation)
        plan = core_plan(config)
        await self._shard.replace(lambda: ShardPipeline(plan))
        self._config, self._evaluation = config, evaluation

    async def process_pending(self) -> None:
        """As Engine.process_pending."""
        await self._shard.process_pending()

    async def tick(self, tick_s: int) -> Tick | None:
        """As Engine.tick; never None."""
        counts = await self._shard.tick(tick_s)
        connected = self.stats.connected
        return await self._shard.in_thread(lambda: self._evaluation.tick([counts], connected=connected))

    async def next_tick(self) -> Tick | None:
        """None: see own_clock."""
        return None

    async def shift(self, by_s: int, now_s: float) -> None:
        """As Engine.shift."""
        await self._shard.shift(by_s, now_s)
        await self._shard.in_thread(self._evaluation.shift, by_s)

    async def adopt_alerts(self, firing: Mapping[AlertKey, int]) -> None:
        """As Engine.adopt_alerts."""
        await self._shard.in_thread(self._evaluation.adopt_alerts, firing)

    async def checkpoint_if_due(self) -> None:
        """As Engine.checkpoint_if_due."""
        if self._shard.checkpoint_due:
            await self._shard.checkpoint(self._evaluation.dump, self._extra_state())

    def stop_receiving(self) -> None:
        """As Engine.stop_receiving."""
        self._shard.stop_receiving()

    async def finish(self) -> None:
        """As Engine.finish."""
        await self._shard.finish(self._evaluation.dump, self._extra_state())

    def close(self) -> None:
        """As Engine.close."""
        self._shard.close()

    def _restore(self, state: Arrays) -> None:
        """Runs in the shard's thread."""
        self._evaluation = new_evaluation(self._config)
        if state:
            self._evaluation.load(state)


def _notify_systemd(done: float) -> None:
    systemd.notify(STATUS=f"replaying the journal: {done:.0%} done", EXTEND_TIMEOUT_USEC=60_000_000)
