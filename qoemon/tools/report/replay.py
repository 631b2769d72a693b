"""A recording through the daemon's own Pipeline, at full speed, with the times that were recorded."""

from __future__ import annotations

from dataclasses import dataclass

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.tools.recordings.recording import Recording
from qoemon.tools.recordings.replay import Progress, ticks
from qoemon.tools.report.feed_quality import FeedQuality
from qoemon.tools.report.period import Period


@dataclass(frozen=True)
class Replayed:
    """What a recording came to under one configuration."""

    config: Config
    period: Period
    doctor: FeedQuality


def replay(recording: Recording, config: Config, progress: Progress) -> Replayed:
    """The whole recording."""
    plan = core_plan(config)
    period, doctor = Period(plan), FeedQuality(plan)
    for ticked in ticks(recording, config, progress, doctor.see):
        period.see(ticked)
    return Replayed(config, period, doctor)
