"""All sessions in this process: what the daemon's loop drives where there are no workers."""

from __future__ import annotations

from collections.abc import Callable

from qoemon.common import systemd
from qoemon.config.config import Config
from qoemon.config.plan import new_pipeline
from qoemon.core.arrays import Arrays
from qoemon.core.pipeline import Tick
from qoemon.engine.shard import Shard
from qoemon.engine.stats import WorkerStats
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.mqtt.options import broker_options
from qoemon.state.store import Store


class Alone(Shard[Tick]):
    """A shard of all sessions, with the one connection to the broker.

    forget  whether what the broker keeps for us is out of date
    """

    def __init__(self, config: Config, store: Store | None, *, forget: bool = False) -> None:
        inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        source = MqttConsumer(broker_options(config), inbox, forget=forget)
        super().__init__(lambda: new_pipeline(config), inbox, source, store, config.state.checkpoint_s)

    @property
    def workers(self) -> tuple[WorkerStats, ...]:
        """None."""
        return ()

    async def recover(
        self, seen: Callable[[Tick], object], progress: Callable[[float], object] | None = None
    ) -> Arrays:
        """As Shard.recover; systemd is told of the progress too."""
        return await super().recover(seen, progress or _tell_systemd)

    async def change(self, config: Config) -> None:
        """As Work.change."""
        await self.replace(lambda: new_pipeline(config))


def _tell_systemd(done: float) -> None:
    status = f"running the journal again: {done:.0%} done"
    systemd.notify(STATUS=status, EXTEND_TIMEOUT_USEC=60_000_000)
