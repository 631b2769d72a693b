"""What the daemon's loop drives: it takes in messages, and says what they come to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from qoemon.config.config import Config
from qoemon.core.arrays import Arrays
from qoemon.core.pipeline import Tick
from qoemon.core.wire.report import Reject
from qoemon.engine.stats import Intake, WorkerStats


class Work(Protocol):
    """What takes in messages and says what they come to: a Shard in this process, or a crew of workers."""

    also: Callable[[], Arrays]
    """What else is to be stored with a checkpoint."""

    @property
    def intake(self) -> Intake:
        """How it goes."""

    @property
    def rejected(self) -> Mapping[Reject, int]:
        """Reports that could not be taken, since the beginning."""

    @property
    def workers(self) -> tuple[WorkerStats, ...]:
        """How its workers fare, if it has some."""

    def problems(self) -> list[str]:
        """Why what it says should not be relied on, if so."""

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run all the time, by name."""

    async def recover(self, seen: Callable[[Tick], object]) -> Arrays:
        """Begin where the last one stood; the checkpoint that it left. seen: shown each tick that is run again."""

    async def change(self, config: Config) -> None:
        """Go on with a changed configuration, taking over what can be; StateError if that is nothing."""

    async def take_in(self) -> None:
        """Everything that has arrived."""

    async def tick(self, tick_s: int) -> Tick | None:
        """What is to be said at this tick, of all that arrived before it; None if that cannot be said now."""

    async def shift(self, by_s: int, now_s: float) -> None:
        """The clock was set, and it is now_s by it: move what is held by whole rating intervals, in seconds."""

    async def checkpoint_if_due(self) -> None:
        """Have all that is held stored, if it is time."""

    def leave(self) -> None:
        """Take no more messages, but go on acknowledging."""

    async def finish(self) -> None:
        """Store all that is held, once everything has been taken in."""

    def close(self) -> None:
        """Let go of everything, once nothing of parts() runs any more."""
