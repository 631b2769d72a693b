"""A recording through the daemon's own core, at full speed, with the times that were recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qoemon.config.config import Config
from qoemon.config.plan import alert_rules, core_plan
from qoemon.core.pipeline import Pipeline, Tick
from qoemon.core.wire.codec import Decoded
from qoemon.tools.recordings.recording import Recorded, Recording

Progress = Callable[[int], None]
"""Told how many bytes of the file have been read."""


TOLD_EVERY = 1000
"""Messages between two tellings of the progress."""


def ticks(
    recording: Recording,
    config: Config,
    progress: Progress,
    on_decoded: Callable[[Decoded], object] | None = None,
) -> Iterator[Tick]:
    """Every tick that the daemon would have made, up to the end of the recording."""
    pipeline = Pipeline(core_plan(config), alert_rules(config), config.regimes.core)
    yield from pipeline.run(_followed(recording, progress), on_decoded)
    yield from pipeline.until(recording.end_s)


def _followed(recording: Recording, progress: Progress) -> Iterator[Recorded]:
    for number, message in enumerate(recording.messages()):
        if number % TOLD_EVERY == 0:
            progress(recording.done_bytes)
        yield message
    progress(recording.done_bytes)
