"""How far the evaluation has come, beside the checkpoint of Spark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays
from qoemon.engine.engine import SetupError

NAME = "cluster/position"
"""Name of the array in the stored state."""

Step = Literal["evaluate", "adopt", "skip"]


class Position(msgspec.Struct, frozen=True):
    """What the driver remembers.

    query     identifies Spark's checkpoint; None before the query has run with it
    location  where that checkpoint is, or will be
    shards    among how many the sessions are divided there
    tick_s    newest tick that has been evaluated, seconds since the epoch
    start_s   where a new checkpoint begins, if that was decided: see `qoemon rescale`
    adopting  whether the shards are others than those of tick_s, and have not reached it yet
    """

    query: str | None = None
    location: str | None = None
    shards: int | None = None
    tick_s: int | None = None
    start_s: int | None = None
    adopting: bool = False

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Position:
        """The position of stored(); one without anything if the state has none."""
        return msgspec.json.decode(state[NAME].tobytes(), type=cls) if NAME in state else cls()

    def stored(self) -> Arrays:
        """As an array by name."""
        return {NAME: np.frombuffer(msgspec.json.encode(self), np.uint8)}

    def require(self, shards: int, location: str) -> None:
        """SetupError if the sessions are divided otherwise than among these shards, in this checkpoint."""
        if self.shards not in {None, shards}:
            raise SetupError(
                f"engine.shards is {shards}, and the checkpoint {self.location} has {self.shards}: set it back, or "
                "set another engine.checkpoint and run `qoemon rescale`"
            )
        if self.adopting and location != self.location:
            raise SetupError(
                f"engine.checkpoint is {location}, and `qoemon rescale` was run for {self.location}: set that, or "
                "run `qoemon rescale` again"
            )

    def new_sessions(self, query: str) -> bool:
        """Whether the shards of this query begin from scratch, though ticks were evaluated before."""
        return self.tick_s is not None and query != self.query and not self.adopting

    def running(self, query: str, location: str, shards: int) -> Position:
        """The same position, in this checkpoint."""
        return msgspec.structs.replace(self, query=query, location=location, shards=shards)

    @property
    def begin_s(self) -> int | None:
        """Where a new checkpoint begins: at the newest tick, if there is one, so that no report is lost."""
        return self.tick_s if self.start_s is None else self.start_s

    def step(self, tick_s: int) -> Step:
        """What to do with a tick: ticks come again after a failure, and while other shards catch up."""
        if self.tick_s is None or tick_s > self.tick_s:
            return "evaluate"
        return "adopt" if self.adopting and tick_s == self.tick_s else "skip"

    def at(self, tick_s: int) -> Position:
        """The position once a tick has been evaluated."""
        return msgspec.structs.replace(self, tick_s=tick_s, adopting=False, start_s=None)

    def adopted(self) -> Position:
        """The position once the shards have reached tick_s."""
        return msgspec.structs.replace(self, adopting=False, start_s=None)

    def rescaled(self, shards: int, location: str, start_s: int) -> Position:
        """The position for other shards, which begin at start_s, seconds since the epoch, in a new checkpoint."""
        return Position(location=location, shards=shards, tick_s=self.tick_s, start_s=start_s, adopting=True)
