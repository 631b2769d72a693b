"""Replays a recording through the daemon's core, at full speed, with the recorded times."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qoemon.config.config import Config
from qoemon.config.plan import alert_rules, core_plan
from qoemon.core.pipeline import Pipeline, Tick
from qoemon.core.wire.codec import Decoded
from qoemon.tools.recordings.recording import Recorded, Recording

Progress = Callable[[int], None]
"""Called with the number of bytes of the file read so far."""


TOLD_EVERY = 1000
"""Messages between two calls of Progress."""


def ticks(
    recording: Recording,
    config: Config,
    progress: Progress,
    on_decoded: Callable[[Decoded], object] | None = None,
) -> Iterator[Tick]:
    """Yield every tick of the daemon from the recorded messages, up to the end of the recording."""
    pipeline = Pipeline(core_plan(config), alert_rules(config), config.regimes.core)
    yield from pipeline.run(_followed(recording, progress), on_decoded)
    yield from pipeline.until(recording.end_s)


def _followed(recording: Recording, progress: Progress) -> Iterator[Recorded]:
    for number, message in enumerate(recording.messages()):
        if number % TOLD_EVERY == 0:
            progress(recording.done_bytes)
        yield message
    progress(recording.done_bytes)
