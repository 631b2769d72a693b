"""All sessions in this process: what the daemon's loop drives where there are no workers."""

from __future__ import annotations

from collections.abc import Callable

from qoemon.common import systemd
from qoemon.config import plan as wiring
from qoemon.config.config import Config
from qoemon.core.pipeline import Ticked
from qoemon.engine.metrics import WorkerState
from qoemon.engine.shard import Shard
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import Ingest
from qoemon.state.store import State, Store


class Alone(Shard[Ticked]):
    """A shard of all sessions, with the one connection to the broker.

    forget  whether what the broker keeps for us is out of date
    """

    def __init__(self, config: Config, store: Store | None, *, forget: bool = False) -> None:
        inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        source = Ingest(wiring.broker(config), inbox, forget=forget)
        super().__init__(lambda: wiring.pipeline(config), inbox, source, store, config.state.checkpoint_s)

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        """None."""
        return ()

    async def recover(
        self, seen: Callable[[Ticked], object], progress: Callable[[float], object] | None = None
    ) -> State:
        """As Shard.recover; systemd is told of the progress too."""
        return await super().recover(seen, progress or _tell_systemd)

    async def change(self, config: Config) -> None:
        """As Work.change."""
        await self.replace(lambda: wiring.pipeline(config))


def _tell_systemd(done: float) -> None:
    status = f"running the journal again: {done:.0%} done"
    systemd.notify(STATUS=status, EXTEND_TIMEOUT_USEC=60_000_000)
