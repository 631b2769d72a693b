"""The interface of an engine: it runs the shards of the core, and evaluates their counts at each tick."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from qoemon.common.metrics import Families
from qoemon.config.config import Config
from qoemon.core.alerting.alerts import AlertKey
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Tick
from qoemon.engine.stats import EngineStats

POLL_S = 0.1
"""How often the inbox is drained: the longest wait of a message before it is committed."""

OnTick = Callable[[Tick], object]
ExtraState = Callable[[], Arrays]
"""Returns further arrays to store with a checkpoint."""


class SetupError(Exception):
    """The engine cannot run as it is configured; the message says why, and what to do."""


class EngineError(Exception):
    """The engine cannot continue in this process; the message says why. It can be started again."""


class Engine(Protocol):
    """Accepts messages and evaluates them, in one process, several, or on a cluster."""

    own_clock: bool
    """Whether its ticks come by themselves, some time after they were due: then they come from next_tick(), tick()
    makes none, and times are those of its log, which a step of this machine's clock does not move."""

    @property
    def stats(self) -> EngineStats:
        """Current statistics, as a copy."""

    @property
    def newest_s(self) -> int | None:
        """The newest tick of the sessions, seconds since the epoch; None before the first, or if others have it."""

    def metrics(self, now_s: float) -> Families:
        """Its metrics at now_s, seconds since the epoch."""

    def problems(self) -> list[str]:
        """Why the metrics are not reliable, as text; empty if they are."""

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Coroutines that must run all the time, by name."""

    async def listen(self) -> None:
        """Bind the collector's port, if there is one, before the state is restored.

        raises  OSError if the port or the token file cannot be used, ConfigError for the web configuration file
        """

    async def recover(self, on_tick: OnTick) -> Arrays:
        """Restore the stored state; on_tick is called with each replayed tick.

        returns  the checkpoint, with the arrays of ExtraState
        raises   SetupError if the engine cannot run as it is configured
        """

    async def change(self, config: Config) -> None:
        """Continue with a changed configuration; IncompatibleStateError if no service can keep its state."""

    async def process_pending(self) -> None:
        """Process all messages that have arrived."""

    async def tick(self, tick_s: int) -> Tick | None:
        """The tick at tick_s, seconds since the epoch, of all earlier messages; None if it cannot be made now."""

    async def next_tick(self) -> Tick | None:
        """The next tick that has come by itself; None if there is none now.

        Once the last one has been published, checkpoint_if_due() stores it.
        """

    async def shift(self, by_s: int, now_s: float) -> None:
        """Move all times by by_s, whole rating intervals in seconds: the clock was set, and now shows now_s."""

    async def adopt_alerts(self, firing: Mapping[AlertKey, int]) -> None:
        """Continue alerts that the other daemon of a pair found firing, by since when; as Alerts.adopt."""

    async def checkpoint_if_due(self) -> None:
        """Store a checkpoint, if one is due."""

    def stop_receiving(self) -> None:
        """Stop receiving messages, but continue to acknowledge them."""

    async def finish(self) -> None:
        """Store the whole state, after all messages have been processed."""

    def close(self) -> None:
        """Release all resources, after the coroutines of parts() have ended."""
