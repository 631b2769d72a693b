"""Replays a recording into a period and the quality of its feed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.counting.session_log import OnSession
from qoemon.tools.recordings.recording import Recording
from qoemon.tools.recordings.replay import OnInterval, Progress, ticks
from qoemon.tools.report.feed_quality import FeedQuality
from qoemon.tools.report.period import Period


@dataclass(frozen=True)
class Replayed:
    """Result of replaying a recording under one configuration."""

    config: Config
    period: Period
    feed_quality: FeedQuality


def replay(
    recording: Recording,
    config: Config,
    progress: Progress,
    on_interval: OnInterval | None = None,
    on_session: OnSession | None = None,
) -> Replayed:
    """Replay the whole recording; progress is called with the bytes read so far, the others as by ticks()."""
    plan = core_plan(config)
    period, feed_quality = Period(plan), FeedQuality(plan)
    keeping = _keeping_groups(config)
    for ticked in ticks(recording, keeping, progress, feed_quality.observe, on_session, on_interval):
        period.observe(*ticked)
        feed_quality.events = ticked.tick.snapshot.events
    return Replayed(config, period, feed_quality)


def _keeping_groups(config: Config) -> Config:
    """The configuration without an end of silent groups: a period adds up by number."""
    limits = config.limits.model_copy(update={"group_idle_s": math.inf})
    return config.model_copy(update={"limits": limits})
