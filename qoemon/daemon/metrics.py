"""How the daemon itself fares, gathered from its parts at a tick."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from qoemon.daemon.own import Vitals
from qoemon.engine.engine import Work
from qoemon.net.http.stats import HttpStats
from qoemon.outputs.publisher import Publisher


@dataclass
class Watchers:
    """The parts whose state is exported, and what the evaluation notes about itself."""

    publisher: Publisher
    http: HttpStats = field(default_factory=HttpStats)
    reloaded: bool = True
    """Whether the last reload of the configuration succeeded."""
    loop_lag_s: float = 0.0
    tick_lag_s: float = 0.0
    ticks_skipped: int = 0
    clock_steps: int = 0


def vitals(watchers: Watchers, work: Work, now_s: float) -> Vitals:
    """A copy of all of it that will not change."""
    intake = work.intake
    last_s = intake.ingest.last_message_s
    return Vitals(
        intake=intake,
        last_message_age_s=None if last_s is None else max(0.0, now_s - last_s),
        rejected=dict(work.rejected),
        loop_lag_s=watchers.loop_lag_s,
        tick_lag_s=watchers.tick_lag_s,
        ticks_skipped=watchers.ticks_skipped,
        clock_steps=watchers.clock_steps,
        reloaded=watchers.reloaded,
        workers=work.workers,
        receivers=watchers.publisher.notifier.states,
        http=deepcopy(watchers.http),
    )
