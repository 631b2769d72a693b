"""Replay of a recording through the daemon's own core, at full speed, with the times that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.counting.counts import ClosedInterval
from qoemon.core.counting.session_log import OnSession
from qoemon.core.evaluation import Tick
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.codec import Decoded
from qoemon.tools.recordings.recording import Recorded, Recording


class ReplayedTick(NamedTuple):
    """A tick that the daemon would have made, and the rating intervals that closed since the one before."""

    tick: Tick
    closed: tuple[ClosedInterval, ...]


Progress = Callable[[int], None]
"""Called with the number of bytes of the file that have been read."""

OnInterval = Callable[[ClosedInterval], object]

PROGRESS_EVERY = 1000
"""Messages between two calls of it."""


def ticks(
    recording: Recording,
    config: Config,
    progress: Progress,
    on_decoded: Callable[[Decoded], object] | None = None,
    on_session: OnSession | None = None,
    on_interval: OnInterval | None = None,
) -> Iterator[ReplayedTick]:
    """Every tick that the daemon would have made, up to the end of the recording.

    on_decoded, on_session  as of ShardPipeline; sessions that are not over then are handed on at the end
    on_interval             called with each rating interval that has closed
    """
    pipeline, evaluation = ShardPipeline(core_plan(config), on_session=on_session), new_evaluation(config)

    def counted() -> Iterator[ShardCounts]:
        yield from pipeline.run(_messages(recording, progress), on_decoded)
        yield from pipeline.until(recording.end_s)  # known when all has been read

    for counts in counted():
        if on_interval is not None:
            for interval in counts.closed:
                on_interval(interval)
        yield ReplayedTick(evaluation.tick([counts]), counts.closed)
    pipeline.hand_on_sessions()


def _messages(recording: Recording, progress: Progress) -> Iterator[Recorded]:
    for number, message in enumerate(recording.messages()):
        if number % PROGRESS_EVERY == 0:
            progress(recording.done_bytes)
        yield message
    progress(recording.done_bytes)
