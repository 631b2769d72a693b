"""Findings about the quality of a feed: what was found, what it means, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from qoemon.common import duration
from qoemon.core.counting.counts import Event
from qoemon.core.plan.plan import Clock, Timing
from qoemon.core.wire.report import Reject
from qoemon.tools.report.feed_quality import REMEMBERED_TIMEOUTS, Feed, FeedQuality
from qoemon.tools.report.tables import Table

SKEW_S = 2.0
"""A larger median of the clock skews is a problem with `clock: report`: it exceeds the delay of any network."""


class Finding(NamedTuple):
    """One row of the table. problem: whether something should be done about it."""

    service: str
    check: str
    found: str
    problem: bool
    meaning: str
    advice: str


REJECTS = {
    Reject.UNPARSEABLE: "neither JSON nor MessagePack, or no dictionary of RFC 8941: fix the client's encoder",
    Reject.SCHEMA: "a field is missing or has the wrong type: compare the sample with docs/wire-format.md",
    Reject.OUT_OF_RANGE: "a number is negative or not finite, or a stall has no time: fix the client's counters",
    Reject.TOO_LARGE: "beyond limits.message_bytes, reports_per_message or label_length: send smaller batches",
    Reject.UNKNOWN_SERVICE: "the topic or path names a service that is not configured: compare mqtt.topics, "
    "collector.paths and services",
    Reject.VERSION: "records of a version of CMCD that this qoemon does not know: have players send version 2",
    Reject.TOO_MANY: "records of a session that sends more than a player does: find the client in a loop",
}


DOUBTFUL = {
    Event.CONFLICT: (
        "conflicting reports",
        "several players report under the same session id: one of them is counted, the others are left out",
        "make session ids unique, such as a UUID for each viewing",
    ),
    Event.TOO_FAST: (
        "impossible, too_fast",
        "stall_s and play_s grow by more than the time that passed, and are cut: devices that slept, or seeks",
        "nothing if few; else have clients measure the time played, not the position in the media",
    ),
    Event.MILLISECONDS: (
        "impossible, milliseconds",
        "stall_s and play_s grow hundreds to thousands of times too fast, and are cut: milliseconds, probably",
        "have clients send seconds",
    ),
    Event.POSITION: (
        "impossible, position",
        "play_s fell while the session continued: the position in the media, probably",
        "have clients send the time played, which a seek does not change",
    ),
    Event.STALLED: (
        "impossible, stalled",
        "stalled is true, but play_s grows and no stall began: the stall is not counted as open",
        "have clients send stalled: false when a stall ends",
    ),
    Event.RESPONSE: (
        "impossible, response",
        "a response time is longer than sessions.timeout, and is not counted: milliseconds, probably",
        "have clients send seconds",
    ),
}
"""Check, meaning and advice of each of DOUBTS."""


PLAYERS = {
    Event.STATELESS: (
        "sessions without state",
        "players that never tell their state (sta): their viewing is not rated",
        "dash.js: add sta to enabledKeys of the target; shaka: use the debug build or player.js",
    ),
    Event.LATE_RECORD: (
        "late records",
        "they came after the time for which later ones waited, and are left out",
        "have players send each record at once (batchSize 1), or raise collector.reorder",
    ),
    Event.UNORDERED: (
        "records not in order",
        "counted without waiting for those before them, since too many waited",
        "look for a client that sends in a loop, or lower collector.reorder",
    ),
}
"""Check, meaning and advice of what is wrong with records of players."""


def findings(quality: FeedQuality, timing: Timing) -> list[Finding]:
    """Results of all checks, including those without a problem."""
    return [
        *(line for feed in quality.feeds() for line in _service_findings(feed, quality, timing)),
        *_player_findings(quality),
        *doubt_findings(quality),
        _late_finding(quality),
        *_reject_findings(quality),
    ]


def table(quality: FeedQuality, timing: Timing) -> Table:
    """The findings as a table."""
    columns = ("status", "service", "check", "found", "meaning", "advice")
    rows: list[tuple[str, ...]] = [
        ("problem" if one.problem else "OK", one.service, one.check, one.found, one.meaning, one.advice)
        for one in findings(quality, timing)
    ]
    return Table(
        title="Checks of the feed",
        about="Quality of the reports that clients sent: estimates are no better than their input.",
        columns=columns,
        rows=rows,
        words=frozenset(columns),
    )


def _service_findings(feed: Feed, quality: FeedQuality, timing: Timing) -> Iterator[Finding]:
    """Of reports, of records of players, or of both, as they are there."""
    players = quality.players[feed.service]
    heard = feed.reports or feed.repeated or feed.refused or players.records
    if not heard and quality.only_players:
        about = "the recording has records of players only, and none of them belongs to this service"
        yield Finding(feed.service, "sessions, reports", "none", False, about, "-")
        return
    if feed.reports or feed.repeated or feed.refused or not players.records:
        yield from _feed_findings(feed, timing)
    if not players.records:
        return
    yield Finding(players.service, "records of players", f"{players.records:,} records", False, "accepted", "-")
    for key, number, meaning, wrong in (
        ("sta", players.without_state, "the state is as before; normal for the first record of a session", False),
        ("sn", players.without_sn, "repeated and lost records cannot be detected", True),
        ("ts", players.without_ts, "nothing is known of when they were true: they are left out", True),
    ):
        problem = wrong and number > 0
        advice = f"have players send {key} (enabledKeys of dash.js)" if problem else "-"
        found = _share_of(number, players.records)
        yield Finding(players.service, f"records without {key}", found, problem, meaning, advice)


def _player_findings(quality: FeedQuality) -> Iterator[Finding]:
    """What the core counted of all records of players; nothing if there are none."""
    total, events = sum(feed.records for feed in quality.players.values()), quality.events
    if not total:
        return
    again = events.get(Event.REPEATED_RECORD, 0)
    meaning = "as players do when an answer was lost, or the collector could not take them: dropped"
    yield Finding("all", "repeated records", _share_of(again, total), False, meaning, "-")
    for event, (check, about, advice) in PLAYERS.items():
        number = events.get(event, 0)
        found = f"{number:,}" if number else "none"
        yield Finding("all", check, found, number > 0, about, advice if number else "-")
    unknown_s = events.get(Event.UNKNOWN_MS, 0) / 1000
    yield Finding(
        "all",
        "unknown seconds",
        f"{unknown_s:,.0f} s" if unknown_s else "none",
        unknown_s > 0,
        "records are missing, so it is not known whether the player played: neither play nor stall time",
        "players without network cannot report; if many, have them report more often (interval)"
        if unknown_s
        else "-",
    )


def _feed_findings(feed: Feed, timing: Timing) -> Iterator[Finding]:
    def line(check: str, found: str, problem: bool, meaning: str, advice: str) -> Finding:
        return Finding(feed.service, check, found, problem, meaning, advice if problem else "-")

    def count(check: str, number: int, total: int, meaning: str, advice: str) -> Finding:
        return line(check, _share_of(number, total), number > 0, meaning, advice)

    yield line(
        "sessions, reports",
        f"{feed.sessions:,} sessions, {feed.reports:,} reports",
        feed.reports == 0,
        "accepted",
        "no reports: compare the topics of the recording with mqtt.topics, its paths with collector.paths",
    )
    if feed.reports == 0 and not feed.repeated and not feed.refused:
        return
    yield count(
        "lost reports",
        feed.lost,
        feed.lost + feed.reports - feed.without_seq,
        "gaps in the seq of a session; cumulative counters lose nothing by them, response times do",
        "send with QoS 1; look at the broker's queue limits (mosquitto: max_queued_messages)",
    )
    yield count(
        "repeated reports",
        feed.repeated,
        feed.repeated + feed.reports,
        "a seq not above the previous one, a duplicate or out of order: dropped",
        "a few are normal with QoS 1; if many, a client resets seq in a session, or two share a session id",
    )
    yield count(
        "resets",
        feed.resets,
        feed.reports,
        "a cumulative counter decreased: counted from zero",
        "use a new session id for each playback, or set counters: delta if clients send differences",
    )
    yield count(
        "reports without seq",
        feed.without_seq,
        feed.reports,
        "repeated and lost reports cannot be detected",
        "have clients send seq",
    )
    yield line(
        "reports without ts",
        _share_of(feed.without_ts, feed.reports),
        feed.without_ts > 0 and timing.clock is not Clock.ARRIVAL,
        "placed by their arrival time"
        + (": a backlog of them counts when it arrives" if timing.clock is not Clock.ARRIVAL else ""),
        "have clients send ts",
    )
    yield _clock_finding(feed, timing)
    yield count(
        "sessions that report too seldom",
        feed.infrequent,
        feed.with_gaps,
        f"most gaps between their reports exceed the rating interval ({duration.text(timing.interval_s)}): "
        "some intervals are rated from part of the data, or not at all",
        "have clients report at least twice per rating interval, or raise sessions.rating_interval",
    )
    yield count(
        "sessions that came back",
        feed.returned,
        feed.sessions,
        f"silent for longer than sessions.timeout ({duration.text(timing.session_timeout_s)}), then active again: "
        "counted as new sessions, what happened in between is unknown",
        "have clients report while paused, or raise sessions.timeout",
    )
    if feed.refused:
        yield line(
            "reports beyond the limit",
            f"{feed.refused:,}",
            True,
            "reports of sessions beyond limits.sessions: not rated",
            "raise limits.sessions",
        )


def _clock_finding(feed: Feed, timing: Timing) -> Finding:
    if math.isnan(feed.skew_median_s):
        return Finding(feed.service, "clock skew", "no report has ts", False, "not known", "-")
    effect = {
        Clock.AUTO: "harmless, since sessions.clock is auto: only differences of ts count",
        Clock.ARRIVAL: "harmless, since sessions.clock is arrival",
        Clock.REPORT: "since sessions.clock is report, reports are placed at the wrong time",
    }[timing.clock]
    wrong = abs(feed.skew_median_s) > SKEW_S
    problem = wrong and timing.clock is Clock.REPORT
    return Finding(
        feed.service,
        "clock skew",
        f"median {feed.skew_median_s:+.2g} s, worst {feed.skew_worst_s:+,.6g} s",
        problem,
        "ts minus arrival time, + is ahead, network delay included" + (f"; {effect}" if wrong else ""),
        "use sessions.clock: auto, or synchronise the clients' clocks (NTP)" if problem else "-",
    )


def doubt_findings(quality: FeedQuality) -> list[Finding]:
    """A line for each kind of doubtful reports, of all services; one without a problem if there are none."""
    events = quality.events
    # Reports that conflict are not among the accepted ones.
    total = events.get(Event.REPORT, 0) + events.get(Event.CONFLICT, 0)
    found = [
        Finding("all", check, _share_of(events[event], total), True, meaning, advice)
        for event, (check, meaning, advice) in DOUBTFUL.items()
        if events.get(event)
    ]
    clean = "no report claims more than the time that passed, or is of a second player with the same session id"
    return found or [Finding("all", "impossible or conflicting reports", "none", False, clean, "-")]


def _late_finding(quality: FeedQuality) -> Finding:
    late, total = quality.events.get(Event.LATE, 0), quality.events.get(Event.REPORT, 0)
    meaning = "of a time before the base window, such as a backlog: counted in the rating interval of their time"
    return Finding("all", "late reports", _share_of(late, total), False, meaning, "-")


def _reject_findings(quality: FeedQuality) -> Iterator[Finding]:
    for reason in Reject:
        if number := quality.rejected[reason]:
            sample = quality.sample.get(reason, "")[:300]
            yield Finding(
                "any", f"rejected, {reason}", f"{number:,}; one: {sample}", True, "dropped", REJECTS[reason]
            )
    if not quality.rejected.total():
        yield Finding("any", "rejected reports", "none", False, "all reports were valid", "-")


def _share_of(number: int, total: int) -> str:
    if number == 0:
        return "none"
    return f"{number:,} of {total:,} ({number / max(total, 1):.1%})"


REMEMBERED = f"A session that was silent for {REMEMBERED_TIMEOUTS} times sessions.timeout counts as a new one."
