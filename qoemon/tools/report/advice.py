"""What the doctor found in a feed, in words: what it is, what it means, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from qoemon.common import duration
from qoemon.core.plan.plan import Clock, Timing
from qoemon.core.wire.report import Reject
from qoemon.tools.report.feed_quality import REMEMBERED_TIMEOUTS, Feed, FeedQuality
from qoemon.tools.report.tables import Table

SKEW_S = 2.0
"""A median of clock skews beyond which it is told as trouble: more than what a network delays."""


class Finding(NamedTuple):
    """One line. trouble: whether there is something to do about it."""

    service: str
    what: str
    found: str
    trouble: bool
    meaning: str
    advice: str


REJECTS = {
    Reject.UNPARSEABLE: "the payload is neither JSON nor MessagePack: mend the client's encoder",
    Reject.SCHEMA: "a field lacks or has another type: compare the sample with docs/wire-format.md",
    Reject.OUT_OF_RANGE: "a number is negative, not finite, or a stall has no time: mend the client's counters",
    Reject.TOO_LARGE: "beyond limits.message_bytes, reports_per_message or label_length: send smaller batches",
    Reject.UNKNOWN_SERVICE: "the topic names no service of the configuration: compare mqtt.topics and services",
}


def findings(doctor: FeedQuality, timing: Timing) -> list[Finding]:
    """All that was looked at, also where all is well."""
    return [*(line for feed in doctor.feeds() for line in _of_feed(feed, timing)), *_of_rejects(doctor)]


def table(doctor: FeedQuality, timing: Timing) -> Table:
    """The findings as a table."""
    rows: list[tuple[str, ...]] = [
        ("look" if one.trouble else "well", one.service, one.what, one.found, one.meaning, one.advice)
        for one in findings(doctor, timing)
    ]
    return Table(
        title="The feed itself",
        about="What clients sent, apart from what users felt: a figure is no better than its feed.",
        columns=("", "service", "what", "found", "what it means", "what to do"),
        rows=rows,
        words=frozenset({"", "service", "what", "found", "what it means", "what to do"}),
    )


def _of_feed(feed: Feed, timing: Timing) -> Iterator[Finding]:
    def line(what: str, found: str, trouble: bool, meaning: str, advice: str) -> Finding:
        return Finding(feed.service, what, found, trouble, meaning, advice if trouble else "-")

    yield line(
        "sessions, reports",
        f"{feed.sessions:,} sessions, {feed.reports:,} reports",
        feed.reports == 0,
        "what was taken in",
        "nothing came: compare the topics of the recording with mqtt.topics",
    )
    if feed.reports == 0 and not feed.repeated and not feed.refused:
        return
    yield line(
        "lost reports",
        _of(feed.lost, feed.lost + feed.reports - feed.without_seq),
        feed.lost > 0,
        "numbers missing between two seq of a session; cumulative counters lose nothing by it, response times do",
        "send with QoS 1; look at the broker's queue limits (mosquitto: max_queued_messages)",
    )
    yield line(
        "repeated reports",
        _of(feed.repeated, feed.repeated + feed.reports),
        feed.repeated > 0,
        "a seq that is not above the last one: left out as a duplicate, or came out of order",
        "QoS 1 repeats a few after a reconnect; many: the client starts seq anew in a session, or two share an id",
    )
    yield line(
        "resets",
        _of(feed.resets, feed.reports),
        feed.resets > 0,
        "a counter that is cumulative fell: counted from zero again",
        "give each playback a session id of its own, or set counters: delta if clients send differences",
    )
    yield line(
        "reports without seq",
        _of(feed.without_seq, feed.reports),
        feed.without_seq > 0,
        "repetitions and losses cannot be seen in them",
        "let clients number their reports",
    )
    yield _clocks(feed, timing)
    yield line(
        "sessions that report too seldom",
        _of(feed.seldom, feed.judged),
        feed.seldom > 0,
        f"most of their gaps are longer than the rating interval ({duration.text(timing.interval_s)}): "
        "they are judged by parts of it, or in none at all",
        "let clients report at least twice a rating interval, or make sessions.rating_interval longer",
    )
    yield line(
        "sessions that came back",
        _of(feed.returned, feed.sessions),
        feed.returned > 0,
        f"silent for longer than sessions.timeout ({duration.text(timing.session_timeout_s)}), then heard again: "
        "taken for new ones, what happened meanwhile is unknown",
        "let clients report while they pause, or make sessions.timeout longer",
    )
    if feed.refused:
        yield line(
            "reports beyond the limit",
            f"{feed.refused:,}",
            True,
            "reports of sessions that limits.sessions has no room for: judged nowhere",
            "raise limits.sessions",
        )


def _clocks(feed: Feed, timing: Timing) -> Finding:
    if math.isnan(feed.skew_median_s):
        matters = timing.clock is Clock.REPORT
        advice = "let clients send ts, as sessions.clock is report" if matters else "-"
        return Finding(feed.service, "clock skew", "no report has ts", matters, "their arrival places them", advice)
    trouble = abs(feed.skew_median_s) > SKEW_S
    effect = (
        "with clock: report they are placed where they did not happen"
        if timing.clock is Clock.REPORT
        else "harmless, as sessions.clock is arrival"
    )
    return Finding(
        feed.service,
        "clock skew",
        f"median {feed.skew_median_s:+.2g} s, worst {feed.skew_worst_s:+,.6g} s",
        trouble,
        f"ts against arrival, + is ahead; the network's delay is in it; {effect}",
        "keep sessions.clock: arrival, or set the clients' clocks (NTP)" if trouble else "-",
    )


def _of_rejects(doctor: FeedQuality) -> Iterator[Finding]:
    for reason in Reject:
        if number := doctor.rejected[reason]:
            sample = doctor.sample.get(reason, "")[:300]
            yield Finding(
                "any", f"rejected, {reason}", f"{number:,}; one: {sample}", True, "left out", REJECTS[reason]
            )
    if not doctor.rejected.total():
        yield Finding("any", "rejected reports", "none", False, "all could be understood", "-")


def _of(number: int, total: int) -> str:
    if number == 0:
        return "none"
    return f"{number:,} of {total:,} ({number / max(total, 1):.1%})"


REMEMBERED = f"A session that was silent for {REMEMBERED_TIMEOUTS} times sessions.timeout counts as a new one."
