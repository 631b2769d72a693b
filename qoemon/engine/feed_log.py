"""Logs samples of reports that are rejected, not used, impossible or conflicting: one of each kind in a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from qoemon.common.text import SHORT, did_you_mean, printable
from qoemon.core.counting.counts import Event
from qoemon.core.counting.findings import Finding
from qoemon.core.counting.plausibility import Implausible
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.codec import Decoded
from qoemon.core.wire.message import Arrived
from qoemon.core.wire.unused import KNOWN

LOG = logging.getLogger("qoemon.engine")

SAMPLE_S = 60.0
"""Minimum time between two logged samples of the same kind."""


class FeedLog:
    """The samples of one shard. Called from one thread at a time."""

    def __init__(self) -> None:
        self._logged_s: dict[tuple[str, ...], float] = {}
        self._empty = 0

    def applied(self, pipeline: ShardPipeline, messages: Sequence[Arrived], decoded: Decoded) -> None:
        """Log what was found in messages that a pipeline has just applied."""
        for reason, sample in decoded.sample.items():
            if self._due(reason):
                total = pipeline.rejected[reason]
                LOG.warning("rejected reports, reason %s, %d so far; a sample: %.300s", reason, total, sample)
        if pipeline.empty > self._empty and self._due(Event.EMPTY):
            _log_empty(pipeline, messages)
        self._empty = pipeline.empty
        for service, event, finding in pipeline.drain_findings():
            if event is Event.STATELESS:
                self._log_stateless(pipeline, service, finding)
            elif self._due(service, event):
                LOG.warning(
                    "%s: %s; %d such reports so far; a sample: session %.128r of %.200s",
                    service,
                    describe(finding),
                    pipeline.events[event],
                    finding.session,
                    "/".join(finding.labels),
                )

    def _log_stateless(self, pipeline: ShardPipeline, service: str, finding: Finding) -> None:
        if self._due(service, Event.STATELESS):
            LOG.warning(
                "%s: players that never tell their state (sta), so nothing of them can be rated; %d such sessions "
                "so far; a sample: session %.128r of %.200s. dash.js: list sta in enabledKeys of the event target; "
                "shaka-player: its release builds send no state, use the debug build or player.js",
                service,
                pipeline.events[Event.STATELESS],
                finding.session,
                "/".join(finding.labels),
            )

    def _due(self, *kind: str) -> bool:
        now_s = time.monotonic()
        due = now_s - self._logged_s.get(kind, -SAMPLE_S) >= SAMPLE_S
        if due:
            self._logged_s[kind] = now_s
        return due


def describe(finding: Finding) -> str:
    """What is wrong with a report, and its likely cause."""
    times = (f"{seconds:,.6g} s" for seconds in (finding.stall_s, finding.play_s, finding.passed_s))
    grew = "stall_s grew by {} and play_s by {} in {}".format(*times)
    match finding.reason:
        case None:
            return "two players report under the same session id, and only one of them is counted: make ids unique"
        case Implausible.MILLISECONDS:
            factor = (finding.stall_s + finding.play_s) / max(finding.passed_s, 1)
            return f"{grew}, {factor:,.0f} times too fast: does the client send milliseconds instead of seconds?"
        case Implausible.TOO_FAST:
            return f"{grew}: only the time that passed is counted; was the device asleep, or is play_s a position?"
        case Implausible.POSITION:
            return (
                "play_s fell while the session continues: does it report the position instead of the time played?"
            )
        case Implausible.STALLED:
            return "stalled is true although play_s grows and no stall began: the stall is not counted as open"
        case Implausible.RESPONSE:
            longest = f"{finding.longest_response_s:,.6g} s"
            return f"a response time of {longest} is longer than sessions.timeout and not counted: milliseconds?"


def _log_empty(pipeline: ShardPipeline, messages: Sequence[Arrived]) -> None:
    found = pipeline.first_empty(messages)
    if found is None:
        return
    hints = [f"'{printable(name, SHORT)}' {did_you_mean(name, KNOWN)}".rstrip() for name in found.unknown]
    LOG.warning(
        "reports without a field that their service rates, %d so far; %s: expected %s%.200s",
        pipeline.empty,
        found.address,
        " or ".join(found.rated),
        f"; unknown fields: {', '.join(hints)}" if hints else "",
    )
