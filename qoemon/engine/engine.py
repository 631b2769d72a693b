"""The interface of an engine: it runs the shards of the core, and evaluates their counts at each tick."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from qoemon.common.metrics import Families
from qoemon.config.config import Config
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Tick
from qoemon.engine.stats import EngineStats

POLL_S = 0.1
"""How often the inbox is drained: messages wait that long before they are committed, at most."""

OnTick = Callable[[Tick], object]
ExtraState = Callable[[], Arrays]
"""Gives what else is to be stored with a checkpoint."""


class Engine(Protocol):
    """Accepts messages and evaluates them: in this process, or in several."""

    @property
    def stats(self) -> EngineStats:
        """Its statistics, as a copy."""

    def metrics(self, now_s: float) -> Families:
        """Its metrics at now_s, seconds since the epoch."""

    def problems(self) -> list[str]:
        """Why its figures should not be relied on, if so."""

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run all the time, by name."""

    async def recover(self, on_tick: OnTick) -> Arrays:
        """Begin in the state that the last process left; on_tick is called with each tick that is replayed.

        returns  the checkpoint, with what ExtraState gave
        """

    async def change(self, config: Config) -> None:
        """Continue with a changed configuration; IncompatibleStateError if nothing of the state fits it."""

    async def process_pending(self) -> None:
        """Accept everything that has arrived."""

    async def tick(self, tick_s: int) -> Tick | None:
        """The tick at tick_s, seconds since the epoch, of all that arrived before; None if there is none now."""

    async def shift(self, by_s: int, now_s: float) -> None:
        """The clock was set and now shows now_s: move what is held by whole rating intervals, in seconds."""

    async def checkpoint_if_due(self) -> None:
        """Have all that is held stored, if it is time."""

    def stop_receiving(self) -> None:
        """Accept no more messages from the broker, but continue to acknowledge."""

    async def finish(self) -> None:
        """Store all that is held, once everything has been accepted."""

    def close(self) -> None:
        """Release everything, once nothing of parts() runs any more."""
