"""Divides the sessions of a stopped driver among another number of shards.

Nothing is converted: other shards read from the topic again what still matters, into a checkpoint of their own. The
evaluation stays as it is, and continues with them where it ended.

The figures are the same, but for what a session has gathered for longer. How far its clock is behind is estimated
from scratch, which may move its stalls by some milliseconds. A report from before that comes again is not known.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.plan.plan import Timing
from qoemon.engine.engine import SetupError
from qoemon.engine.spark.position import Position
from qoemon.engine.storage import open_store, state_directory
from qoemon.state.directory import StateError, locked
from qoemon.state.layout import CLUSTER
from qoemon.state.read_only import DATABASE
from qoemon.state.store import CorruptError
from qoemon.state.versions import require_readable


@dataclass(frozen=True)
class Rescaled:
    """What was decided.

    before, shards  number of shards until now, and from now on
    left, location  their checkpoints
    tick_s          newest tick that has been evaluated, seconds since the epoch
    start_s         from when on the new shards read
    """

    before: int
    shards: int
    left: str
    location: str
    tick_s: int
    start_s: int


def rescale(config: Config) -> Rescaled:
    """Let the next start continue with the shards and the checkpoint of this configuration.

    raises  SetupError if the configuration does not allow it, StateError if the state cannot be used
    """
    location, directory = config.engine.checkpoint, state_directory(config)
    if not config.clustered or location is None:
        raise SetupError("engine.kind is not spark: there are no shards of a cluster to rescale")
    if directory is None or not (directory / CLUSTER / DATABASE).exists():
        where = "state.dir is not set" if directory is None else f"{directory} has no state of a cluster"
        raise SetupError(f"there is nothing to rescale: {where}; set engine.shards, and start `qoemon run`")
    with ExitStack() as ends:
        ends.enter_context(locked(directory))
        require_readable(directory)
        store = ends.enter_context(closing(open_store(config, directory / CLUSTER)))
        try:
            state = store.state()
        except CorruptError as error:
            raise StateError(f"{directory / CLUSTER}: {error}") from None
        position = Position.restored(state)
        if position.tick_s is None or position.shards is None:
            raise SetupError(f"there is nothing to rescale: {directory} has no tick of a cluster yet")
        if position.query is not None and location == position.location:
            raise SetupError(
                f"engine.checkpoint is {location}, which has the sessions of {position.shards} shards: set another "
                "one, where the new shards begin"
            )
        try:
            new_evaluation(config).load(state)
        except IncompatibleStateError as error:
            raise SetupError(f"{error}: rescale with the configuration that the driver ran with") from None
        start_s = beginning_s(core_plan(config).timing, position.tick_s)
        store.checkpoint({**state, **position.rescaled(config.engine.shards, location, start_s).stored()})
    return Rescaled(
        before=position.shards,
        shards=config.engine.shards,
        left=str(position.location),
        location=location,
        tick_s=position.tick_s,
        start_s=start_s,
    )


def beginning_s(timing: Timing, tick_s: int) -> int:
    """Where shards begin that are to have everything at tick_s that still matters, seconds since the epoch.

    A session matters as long as it may go on, or is counted in a window; and it is known from its second report on.
    """
    back_s = max(timing.windows_s) + timing.session_timeout_s + timing.interval_s
    return int((tick_s - back_s) // timing.interval_s * timing.interval_s)
