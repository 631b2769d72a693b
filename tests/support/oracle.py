"""A second core, slow and plain: one report, one session, one rating at a time.

Written from the design (a feed one can trust: time cannot be faked; docs: from reports to a histogram, and the
mathematics), not from the structure of qoemon.core, and without importing it. Times are whole milliseconds and
conditions exact fractions; where a span is divided, its earlier part is rounded down. The ratings come from
scipy.stats, quadrature and root finding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction
from itertools import pairwise

from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

Group = tuple[str, ...]
Level = tuple[Group, int]
"""A group and the number of a MOS level."""
Cell = tuple[Group, int, int]
"""A group and the bins of n and t."""
Amounts = tuple[int, int, int]
"""Stalls, stall milliseconds, play milliseconds; in a span, thousandths of stalls."""
NOTHING: Amounts = (0, 0, 0)
MOS_STEP = 0.005
MEDIA_MS = 60_000
PARTS = 1000
"""Stalls are divided into thousandths when they are spread over time."""
QUALITY_PARTS = 10_000
"""Quality is counted in this many parts of the scale."""

# How far time is trusted; the values are the design's.
SLACK_MS = 4_000
"""Delivery may be late by that much: so much more than the time that passed is believed, once."""
JITTER_MS = 1_000
"""Two reports may be closer together at arrival than when they were sent, by that much."""
SPEED = 2
"""No player plays faster."""
UNUSED_MS = 3_600_000
"""Time that was neither played nor stalled may be reported later: at most an hour of it."""
MILLISECONDS = (200, 5000)
"""So many times too fast, seconds are likely to be milliseconds."""
FIRST_SEQ = (0, 1)
"""Clients begin to number with one of these."""
OVERTAKEN = 64
"""Differences with a `seq` may arrive after so many newer ones."""


@dataclass(frozen=True)
class Said:
    """A good report as the oracle hears it; None where a counter is left out."""

    session: str
    at_ms: int
    group: Group = ("eu",)
    seq: int | None = None
    stalls: int | None = None
    stall_ms: int | None = None
    play_ms: int | None = None
    stalled: bool = False
    end: bool = False
    quality: int | None = None
    """Of what was shown, in QUALITY_PARTS of the scale; None if the report has no measures."""

    @property
    def in_stall(self) -> bool:
        return self.stalled and not self.end

    @property
    def told(self) -> tuple[int | None, int | None, int | None]:
        return self.stalls, self.stall_ms, self.play_ms

    @property
    def content(self) -> tuple[object, ...]:
        """What a report that is sent again has in common with the first."""
        return self.seq, *self.told, self.stalled, self.end, self.quality


@dataclass(frozen=True)
class Span:
    """What happened evenly from a time to another; all of it at once if they are the same."""

    start_ms: int
    end_ms: int
    amounts: Amounts
    quality: int | None = None
    held: int | None = None
    """The newest quality when it was heard."""

    def before(self, time_ms: int) -> Amounts:
        length = self.end_ms - self.start_ms
        if not length:
            return self.amounts if self.start_ms < time_ms else NOTHING
        passed = min(max(time_ms - self.start_ms, 0), length)
        parts, stall_ms, play_ms = (amount * passed // length for amount in self.amounts)
        return parts, stall_ms, play_ms

    def since(self, time_ms: int) -> Span:
        """The part from a time on: nothing counts for longer than a session may be silent."""
        rest = minus(self.amounts, self.before(time_ms))
        return replace(self, start_ms=max(self.start_ms, time_ms), end_ms=max(self.end_ms, time_ms), amounts=rest)


def quality_within(spans: Iterable[Span], begin_ms: int, end_ms: int, last: int | None) -> int | None:
    """The mean quality over the media time of [begin_ms, end_ms) of which it is known, else the last one.

    It is rounded to whole QUALITY_PARTS, half up.
    """
    known_ms = total = 0
    for span in spans:
        if span.quality is not None:
            played_ms = span.before(end_ms)[2] - span.before(begin_ms)[2]
            known_ms, total = known_ms + played_ms, total + played_ms * span.quality
    return last if not known_ms else math.floor(Fraction(total, known_ms) + Fraction(1, 2))


def within(spans: Iterable[Span], begin_ms: int, end_ms: int) -> Amounts:
    """What of the spans lies in [begin_ms, end_ms)."""
    found = [minus(span.before(end_ms), span.before(begin_ms)) for span in spans]
    parts, stall_ms, play_ms = (sum(each[axis] for each in found) for axis in range(3))
    return parts, stall_ms, play_ms


def minus(one: Amounts, other: Amounts) -> Amounts:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def exact_condition(n: Fraction | int, t_ms: int, p_ms: int) -> tuple[Fraction, Fraction] | None:
    """(stalls, stall seconds) per minute of media; None if nothing was played."""
    if p_ms == 0:
        return None
    return Fraction(n * MEDIA_MS, p_ms), Fraction(t_ms * MEDIA_MS, p_ms * 1000)


def bin_of(n: Fraction | int, t_ms: int, p_ms: int) -> tuple[int, int]:
    """The bins that people read: stalls rounded to 0..20, and the 1-s slot in which the stall time ends, 0..61.

    Stalls are per minute of playing and stalling. Where nothing was played there is at least the one that is open.
    """
    condition = exact_condition(n, t_ms, p_ms)
    if condition is None:
        return min(max(round(n), 1), 20), 61
    return min(round(Fraction(n * MEDIA_MS, p_ms + t_ms)), 20), min(math.ceil(condition[1]), 61)


def level_of(n: Fraction | int, t_ms: int, p_ms: int, quality: int = QUALITY_PARTS) -> int:
    """The level nearest to the condition's MOS; nothing played is as bad as it gets."""
    condition = exact_condition(n, t_ms, p_ms)
    best = float(1 + Fraction(4 * quality, QUALITY_PARTS))
    mos = 1.5 if condition is None else media_mos(best, *map(float, condition))
    return round((mos - 1) / MOS_STEP)


@dataclass(frozen=True)
class Rating:
    """One condition of one run: what the oracle counts."""

    group: Group
    amounts: Amounts
    quality: int = QUALITY_PARTS

    @property
    def level(self) -> Level:
        return self.group, level_of(Fraction(self.amounts[0], PARTS), *self.amounts[1:], self.quality)

    @property
    def cell(self) -> Cell:
        return self.group, *bin_of(Fraction(self.amounts[0], PARTS), *self.amounts[1:])


class Kind(Enum):
    """What a report is to the run that is under way."""

    NEXT = "the next one"
    OLD = "says nothing new"
    NEW_RUN = "the first of a new run"
    FOREIGN = "another player's"


@dataclass(frozen=True)
class Judged:
    """What a report is, what it adds, and whether play_s fell as a position does."""

    kind: Kind
    added: Amounts = NOTHING
    backward: bool = False


@dataclass(frozen=True)
class Other:
    """The last word of a player that is not the run's."""

    counters: Amounts
    at_ms: int

    def goes_on_with(self, now: Amounts, at_ms: int) -> bool:
        """Whether these counters may be its next ones: later, more, and no more than time allows."""
        grown, passed_ms = minus(now, self.counters), at_ms - self.at_ms
        possible = grown[1] + grown[2] <= passed_ms + JITTER_MS
        return passed_ms >= JITTER_MS and min(grown) >= 0 and max(grown) > 0 and possible


@dataclass
class Run:
    """One stretch of counting from zero by one player, with everything that was believed of it."""

    counters: Amounts = NOTHING
    has_counted: bool = False
    """Whether the counters are known: from a report, or because the run began after another."""
    seq: int = -1
    numbers: set[int] = field(default_factory=set)
    contents: list[tuple[object, ...]] = field(default_factory=list)
    last_ms: int | None = None
    group: Group = ()
    ended: bool = False
    pause_s: int = 0
    credit_ms: int = 0
    stalling_since_ms: int | None = None
    rated_ms: int = 0
    """End of the newest interval in which it was rated."""
    spans: list[Span] = field(default_factory=list)
    late: list[Span] = field(default_factory=list)
    """Those of them that reach into closed intervals, until these are rated."""
    last_condition: Amounts | None = None
    """Of runs that report seldom."""
    last_quality: int | None = None
    """That of the newest report with one."""
    kept_quality: int | None = None
    """That of the last condition."""
    other: Other | None = None

    def gap_ms(self, at_ms: int) -> int | None:
        """Time since it was last heard; None before its first report."""
        return None if self.last_ms is None else max(at_ms - self.last_ms, 0)

    def repeats_last(self, said: Said) -> bool:
        return said.content in self.contents[-2:]

    def repeats_first(self, said: Said) -> bool:
        return said.content in self.contents[:2]

    def repeats(self, said: Said) -> bool:
        """Whether its content is that of one of the reports that a run remembers."""
        return self.repeats_last(said) or self.repeats_first(said)

    def now(self, said: Said) -> Amounts:
        """Its counters with this report; one that is left out has not changed."""
        n, t, p = (old if new is None else new for new, old in zip(said.told, self.counters, strict=True))
        return n, t, p

    def condition(self, at_ms: int, interval_ms: int) -> Amounts:
        """What happened in the interval that ends at at_ms; an open stall goes on since the last report."""
        parts, stall_ms, play_ms = within(self.spans, at_ms - interval_ms, at_ms)
        if self.stalling_since_ms is not None:
            assert self.last_ms is not None
            stall_ms += min(max(at_ms - self.last_ms, 0), interval_ms)
        return parts, stall_ms, play_ms

    def judge_counters(self, said: Said, interval_ms: int) -> Judged:
        """What a report with counters since the beginning is; time decides what counters and seq leave open."""
        gap_ms, now = self.gap_ms(said.at_ms), self.now(said)
        grown = minus(now, self.counters)
        added = NOTHING if not self.has_counted and now[1] + now[2] > interval_ms else grown
        if gap_ms is None:
            return Judged(Kind.NEXT, added)
        newer, fell = said.seq is None or said.seq > self.seq, min(added) < 0
        possible = grown[1] + grown[2] <= gap_ms + JITTER_MS
        hurried = self.other is not None and added[1] + added[2] > gap_ms + JITTER_MS
        if newer and not fell and not hurried:
            return Judged(Kind.NEXT, added)
        if fell and self.repeats_last(said):
            return Judged(Kind.OLD)
        # The first words of two runs are often the same: then the second report shows that one has begun.
        if fell and self._begins_anew(said, newer=newer) and (self.ended or not self.repeats_first(said)):
            return Judged(Kind.NEW_RUN, now)
        if not fell and not newer and possible:  # only its numbers begin again, unless it says nothing new
            return Judged(Kind.NEXT if max(grown) > 0 else Kind.OLD, added)
        return self._judge_impossible(said, now, added, newer=newer)

    def _begins_anew(self, said: Said, *, newer: bool) -> bool:
        """Whether it is numbered like the first report of a run, or just goes on, and time allows a new run."""
        grown = minus(self.now(said), self.counters)
        # A player's position falls without its stalls: no new run would have as many stalls at once.
        like_a_position = grown[0] >= 0 and grown[1] >= 0 and self.counters[1] > 0
        goes_on = newer and said.seq is not None and not like_a_position
        return (said.seq in FIRST_SEQ or goes_on) and self._has_time_for(said)

    def _has_time_for(self, said: Said) -> bool:
        """Whether a run that began after the last report can have counted so much."""
        _, stall_ms, play_ms = self.now(said)
        return stall_ms + play_ms <= (self.gap_ms(said.at_ms) or 0) + JITTER_MS // 2

    def _judge_impossible(self, said: Said, now: Amounts, added: Amounts, *, newer: bool) -> Judged:
        """What a report is that no player with these counters could send now, new or not."""
        grown = minus(now, self.counters)
        fell = min(grown) < 0
        n, t, p = (max(each, 0) for each in added)
        guess = (n, t, now[2] if fell else p)  # what a position stands for is anyone's guess, up to the time passed
        if self.other is not None and self.other.goes_on_with(now, said.at_ms):
            assert self.last_ms is not None
            silent = self.last_ms <= self.other.at_ms  # since the other was heard
            self.other = Other(now, said.at_ms)
            if not silent:
                return Judged(Kind.FOREIGN)
            return Judged(Kind.NEW_RUN, now) if self._has_time_for(said) else Judged(Kind.NEXT, guess, fell)
        if self.other is not None and max(minus(now, self.other.counters)) <= 0:
            return Judged(Kind.OLD)  # the other one had said that
        if newer and (not fell or said.seq is not None or max(grown) > 0):
            return Judged(Kind.NEXT, guess, fell)
        if fell:
            self.other = Other(now, said.at_ms)
        return Judged(Kind.OLD)

    def judge_differences(self, said: Said) -> Judged:
        """What a report with differences is: only its seq and its content tell."""
        n, t, p = (new or 0 for new in said.told)
        if said.seq is None or said.seq > self.seq:
            return Judged(Kind.NEXT, (n, t, p))
        if self.repeats(said):
            return Judged(Kind.OLD)
        far_behind = self.seq - said.seq >= OVERTAKEN
        if said.seq in FIRST_SEQ and (self.ended or far_behind):
            return Judged(Kind.NEW_RUN, (n, t, p))
        old = far_behind or said.seq in self.numbers
        return Judged(Kind.OLD) if old else Judged(Kind.NEXT, (n, t, p))

    def record(self, said: Said, *, cumulative: bool) -> None:
        """Remember what a report says that counts."""
        self.contents.append(said.content)
        if said.seq is not None:
            self.numbers.add(said.seq)
            self.seq = said.seq if cumulative else max(self.seq, said.seq)
        if cumulative:
            self.has_counted |= any(each is not None for each in said.told)
            self.counters = self.now(said)

    def believe(self, judged: Judged, at_ms: int, interval_ms: int) -> tuple[Amounts, str | None]:
        """The possible part of what a report adds, and why the rest is not."""
        gap_ms, (n, stall_ms, play_ms) = self.gap_ms(at_ms), judged.added
        reported_ms = stall_ms + play_ms
        if gap_ms is not None and gap_ms >= 500 and self.pause_s == 0:
            # Only what arrived at once with the first report may tell of the time before it.
            self.credit_ms = min(self.credit_ms, SLACK_MS)
        if gap_ms is None:
            allowed_ms, too_much = interval_ms, reported_ms > interval_ms
        else:
            allowed_ms = self.credit_ms + gap_ms
            too_much = stall_ms + play_ms // SPEED > allowed_ms
        reason = None
        if too_much:
            if stall_ms > allowed_ms:
                stall_ms = allowed_ms * stall_ms // reported_ms
            rest_ms = allowed_ms - stall_ms
            play_ms = min(play_ms, rest_ms // 2 if judged.backward else rest_ms * SPEED)
            low, high = (factor * ((gap_ms or 0) + SLACK_MS) for factor in MILLISECONDS)
            reason = "milliseconds" if low <= reported_ms <= high else "too_fast"
        # Fast playback takes half of the time, and the other half is not given away: no more than the slack.
        fast_ms = min(max(self.credit_ms, SLACK_MS), allowed_ms - stall_ms - play_ms // SPEED)
        unused_ms = min(max(allowed_ms - stall_ms - play_ms, fast_ms, 0), UNUSED_MS)
        before_ms = max(interval_ms - stall_ms - play_ms, 0) if stall_ms + play_ms else 0
        self.credit_ms = SLACK_MS + before_ms if gap_ms is None else unused_ms
        return (n, stall_ms, play_ms), "position" if judged.backward else reason

    def stalled_in_vain(self, said: Said, added: Amounts) -> bool:
        """Whether the report says that a stall is open, and that the session played meanwhile."""
        n, stall_ms, play_ms = added
        gap_ms = self.gap_ms(said.at_ms)
        if gap_ms is None or not said.in_stall or n:
            return False
        was_open = self.stalling_since_ms is not None
        return play_ms > max(1000, gap_ms // 2) and (was_open or not stall_ms)

    def spread(self, said: Said, added: Amounts, interval_ms: int, *, begins: bool) -> list[Span]:
        """The time to which a report's news belongs: the time since the session was last heard.

        A run that begins is as old as what it has counted. The stall that was open ran on from then; the rest
        happened evenly after it.
        """
        n, stall_ms, play_ms = added
        at_ms, gap_ms = said.at_ms, self.gap_ms(said.at_ms)
        since_ms = interval_ms if gap_ms is None else gap_ms
        start_ms = at_ms - (min(stall_ms + play_ms, since_ms) if begins else since_ms)
        ran_ms = min(stall_ms, since_ms) if self.stalling_since_ms is not None else 0
        held = self.last_quality if said.quality is None else said.quality
        stall = Span(start_ms, start_ms + ran_ms, (0, ran_ms, 0), held=held)
        rest = Span(start_ms + ran_ms, at_ms, (n * PARTS, stall_ms - ran_ms, play_ms), said.quality, held)
        return [stall, rest]

    def hear(self, said: Said) -> None:
        """The report has been counted: now it is the last one."""
        gap_s = (self.gap_ms(said.at_ms) or 0) / 1000
        self.pause_s = round((self.pause_s + gap_s) / 2 if self.pause_s else gap_s)
        self.last_ms = max(said.at_ms, self.last_ms or 0)
        self.group, self.ended = said.group, said.end


@dataclass
class Oracle:
    """Hears reports of one stall service and rates every run tick by tick, from scratch each time."""

    windows_s: tuple[int, ...]
    tick_ms: int = 10_000
    interval_ms: int = 60_000
    timeout_ms: int = 300_000
    min_active_ms: int = 5_000
    cumulative: bool = True
    rates_quality: bool = False
    present: dict[str, Run] = field(default_factory=dict)
    """The run of each session that is under way."""
    runs: list[Run] = field(default_factory=list)
    """These, and former ones that are still rated."""
    base: Counter[Level] = field(default_factory=Counter)
    qos: Counter[Cell] = field(default_factory=Counter)
    shown: list[Rating] = field(default_factory=list)
    """The conditions of the base window."""
    unmeasured: Counter[Group] = field(default_factory=Counter)
    """Runs that are active, and not rated as they never told a quality."""
    owed: list[tuple[Level, int]] = field(default_factory=list)
    """Levels that stand for the newest closed intervals until their runs report again, and for how many."""
    closed: dict[int, list[Rating]] = field(default_factory=dict)
    """By the end of the interval."""
    tick: int | None = None
    events: Counter[str] = field(default_factory=Counter)

    def apply(self, batch: Iterable[Said], now_ms: int) -> None:
        """Hear the reports of a batch in their order."""
        self.advance(now_ms)
        for said in batch:
            self._hear(said, now_ms)

    def advance(self, now_ms: int) -> None:
        """Pass every tick up to now."""
        newest = now_ms // self.tick_ms
        first = newest if self.tick is None else self.tick + 1
        for tick in range(first, newest + 1):
            self._pass(tick * self.tick_ms)
        self.tick = newest if self.tick is None else max(self.tick, newest)

    def window(self, length_s: int) -> Counter[Level]:
        """The conditions of a window: now for the base window, else of its closed intervals.

        What came late is in the window at once, and in the totals when the next interval closes.
        """
        if length_s * 1000 == self.interval_ms:
            return self.base
        newest_ms, length = max(self.closed, default=0), length_s * 1000 // self.interval_ms
        oldest_ms = newest_ms - length_s * 1000
        rated = [rating for end_ms, ratings in self.closed.items() if end_ms > oldest_ms for rating in ratings]
        late = [rating for run in self.runs for end_ms, rating in self._late(run) if end_ms > oldest_ms]
        total = Counter(rating.level for rating in [*rated, *late])
        for level, intervals in self.owed:
            total[level] += min(intervals, length)
        return +total

    @property
    def _seldom_ms(self) -> int:
        """With longer pauses a session may be silent, or nearly so, for a whole interval."""
        return self.interval_ms - self.min_active_ms

    @property
    def totals(self) -> list[Rating]:
        """All conditions of closed intervals so far."""
        return [rating for ratings in self.closed.values() for rating in ratings]

    def active(self) -> Counter[Group]:
        """Runs heard in the base window or in an open stall."""
        heard_ms = (self.tick or 0) * self.tick_ms - self.interval_ms
        return Counter(
            run.group
            for run in self.runs
            if run.stalling_since_ms is not None or (not run.ended and (run.last_ms or 0) >= heard_ms)
        )

    def open_stalls(self) -> Counter[Group]:
        return Counter(run.group for run in self.runs if run.stalling_since_ms is not None)

    def _hear(self, said: Said, now_ms: int) -> None:
        run = self._run_of(said.session)
        judged = run.judge_counters(said, self.interval_ms) if self.cumulative else run.judge_differences(said)
        match judged.kind:
            case Kind.FOREIGN:
                self.events["reports_conflicting"] += 1
                return
            case Kind.OLD if said.end and not run.repeats(said):  # such as a last will
                run.ended, run.stalling_since_ms = True, None
                self._count_report(said)
                return
            case Kind.OLD:
                self.events["reports_duplicate"] += 1
                return
            case Kind.NEW_RUN:
                run = self._begin_after(run, said.session)
                self.events["reports_reset"] += 1
        self._count_report(said)
        run.record(said, cumulative=self.cumulative)
        added, reason = run.believe(judged, said.at_ms, self.interval_ms)
        in_vain = run.stalled_in_vain(said, added)
        gap_ms = run.gap_ms(said.at_ms) or 0
        begins = run.last_ms is None or judged.kind is Kind.NEW_RUN
        longest_ms = self.timeout_ms + self.interval_ms
        spans = [
            span.since(said.at_ms - longest_ms) for span in run.spread(said, added, self.interval_ms, begins=begins)
        ]
        closed_ms = now_ms // self.interval_ms * self.interval_ms
        _, stall_ms, play_ms = within(spans, 0, closed_ms)
        if run.rated_ms < closed_ms < said.at_ms and stall_ms + play_ms < self.min_active_ms:
            # Too little to be rated before the close, so it is not left there.
            spans[-1] = replace(spans[-1], start_ms=max(spans[-1].start_ms, closed_ms))
        run.spans += spans
        if spans[0].start_ms < closed_ms and run.rated_ms < closed_ms:
            run.late += [span for span in spans if any(span.before(closed_ms))]
        if said.quality is not None and (run.last_quality is None or said.at_ms >= (run.last_ms or 0)):
            run.last_quality = said.quality
        if max(gap_ms, run.pause_s * 1000) > self._seldom_ms:
            run.kept_quality = run.last_quality
            enough = added[1] + added[2] >= self.min_active_ms
            run.last_condition = (added[0] * PARTS, added[1], added[2]) if enough else None
        if not said.in_stall or in_vain:
            run.stalling_since_ms = None
        elif run.stalling_since_ms is None:
            run.stalling_since_ms = said.at_ms
        run.hear(said)
        if reason or in_vain:
            self.events[f"reports_implausible_{reason or 'stalled'}"] += 1
        if said.at_ms < (now_ms // self.tick_ms + 1) * self.tick_ms - self.interval_ms:
            self.events["reports_late"] += 1

    def _count_report(self, said: Said) -> None:
        self.events["reports"] += 1
        self.events["reports_undated"] += 1
        if not said.end and not said.stalled and said.told == (None, None, None) and said.quality is None:
            self.events["reports_empty"] += 1

    def _run_of(self, session: str) -> Run:
        if session not in self.present:
            self.present[session] = Run()
            self.runs.append(self.present[session])
        return self.present[session]

    def _begin_after(self, former: Run, session: str) -> Run:
        """A new run of a session: nothing of the former one goes on, but its player may be heard again."""
        former.ended, former.stalling_since_ms = True, None
        assert former.last_ms is not None
        run = Run(
            has_counted=True,
            last_ms=former.last_ms,
            pause_s=former.pause_s,
            credit_ms=SLACK_MS,
            other=Other(former.counters, former.last_ms) if self.cumulative else None,
        )
        self.present[session] = run
        self.runs.append(run)
        return run

    def _late(self, run: Run) -> list[tuple[int, Rating]]:
        """What came late for intervals that have closed and in which the run was not rated, by their ends."""
        found = []
        if run.late:
            now_ms = (self.tick or 0) * self.tick_ms
            first_ms = min(span.start_ms for span in run.late) // self.interval_ms * self.interval_ms
            for end_ms in range(first_ms + self.interval_ms, now_ms + 1, self.interval_ms):
                amounts = within(run.late, end_ms - self.interval_ms, end_ms)
                inside = [span for span in run.late if any(within([span], end_ms - self.interval_ms, end_ms))]
                quality = self._quality(inside, end_ms, inside[-1].held if inside else None)
                if end_ms > run.rated_ms and amounts[1] + amounts[2] >= self.min_active_ms and quality is not None:
                    found.append((end_ms, Rating(run.group, amounts, quality)))
        return found

    def _pass(self, at_ms: int) -> None:
        there = [(run, run.condition(at_ms, self.interval_ms)) for run in self.runs]
        active = [(run, each) for run, each in there if each[1] + each[2] >= self.min_active_ms]
        qualities = [self._quality(run.spans, at_ms, run.last_quality) for run, _ in active]
        rated = [
            (run, Rating(run.group, each, quality))
            for (run, each), quality in zip(active, qualities, strict=True)
            if quality is not None
        ]
        self.unmeasured = Counter(
            run.group for (run, _), quality in zip(active, qualities, strict=True) if quality is None
        )
        found = [run for run, _ in rated]
        silent = [run for run in self.runs if not any(run is each for each in found)]
        kept = [run for run in silent if self._keeps(run, at_ms)]
        last = [Rating(run.group, run.last_condition or NOTHING, self._kept_quality(run)) for run in kept]
        shown = [*(rating for _, rating in rated), *last]
        self.shown = shown
        self.base = Counter(rating.level for rating in shown)
        self.qos = Counter(rating.cell for rating in shown)
        self.owed = [(rating.level, self._owed(run, at_ms)) for run, rating in zip(kept, last, strict=True)]
        if at_ms % self.interval_ms == 0:
            for run in self.runs:
                for end_ms, rating in self._late(run):
                    self.closed.setdefault(end_ms, []).append(rating)
                    run.rated_ms = end_ms
                run.late = []
            self.closed[at_ms] = [rating for _, rating in rated]
            for run, _ in rated:
                run.rated_ms = at_ms
        self._expire(at_ms)

    def _keeps(self, run: Run, at_ms: int) -> bool:
        """Whether a run that says nothing keeps its last condition: until twice its usual pause has gone by."""
        waited_ms = at_ms - (run.last_ms or 0)
        pause_ms = run.pause_s * 1000
        seldom = pause_ms > self._seldom_ms and run.last_condition is not None
        seldom = seldom and not (self.rates_quality and run.kept_quality is None)
        return seldom and waited_ms < 2 * pause_ms and not run.ended

    def _quality(self, spans: Iterable[Span], end_ms: int, last: int | None) -> int | None:
        """The quality of a run in the interval that ends then; None if it has not told any."""
        if not self.rates_quality:
            return QUALITY_PARTS
        return quality_within(spans, end_ms - self.interval_ms, end_ms, last)

    def _kept_quality(self, run: Run) -> int:
        known = run.kept_quality if self.rates_quality else QUALITY_PARTS
        assert known is not None
        return known

    def _owed(self, run: Run, at_ms: int) -> int:
        """The closed intervals since a run was last heard or rated."""
        heard_ms = (run.last_ms or 0) // self.interval_ms * self.interval_ms
        since_ms = max(heard_ms, run.rated_ms)
        return max(at_ms // self.interval_ms - since_ms // self.interval_ms, 0)

    def _expire(self, at_ms: int) -> None:
        for run in list(self.runs):
            assert run.last_ms is not None
            left = run.last_ms + (self.interval_ms if run.ended else self.timeout_ms) <= at_ms
            if left and not run.late:
                self.events["sessions_expired"] += not run.ended
                self.runs.remove(run)
                self.present = {name: each for name, each in self.present.items() if each is not run}


def video_mos(stalls: float, stall_s: float) -> float:
    """Equation (22), both per 60 s of media."""
    return 3.5 * math.exp(-4.5 * stall_s / 60 - 5.7 * stalls / 60) + 1.5


def media_mos(quality: float, stalls: float, stall_s: float) -> float:
    """Equation (22) with the MOS of what is shown in place of 5."""
    return 1.5 + (quality - 1.5) * math.exp(-4.5 * stall_s / 60 - 5.7 * stalls / 60)


def web_mos(x_s: float) -> float:
    """Equation (15)."""
    return 4 * math.exp(-0.25 * x_s) + 1


@dataclass(frozen=True)
class Mixture:
    """What users answer on 1..5 when each (MOS, weight) is the lot of so many; ratings spread as a Beta."""

    parts: Sequence[tuple[float, float]]
    theta: float

    def cdf(self, y: float) -> float:
        """Equations (3) and (13)."""
        total = math.fsum(weight for _, weight in self.parts)
        return math.fsum(weight * self._cdf_at(mos, y) for mos, weight in self.parts) / total

    @property
    def gob(self) -> float:
        return 1 - self.cdf(3.5)

    @property
    def pow(self) -> float:
        return self.cdf(2.5)

    @property
    def ratings(self) -> list[float]:
        """Equations (20) and (21)."""
        cuts = [0.0, self.cdf(1.5), self.cdf(2.5), self.cdf(3.5), self.cdf(4.5), 1.0]
        return [high - low for low, high in pairwise(cuts)]

    @property
    def mos(self) -> float:
        return self._mean(lambda mos: mos)

    @property
    def sos(self) -> float:
        """From the moments of scipy's Betas."""
        second = self._mean(lambda mos: mos**2 + 16 * float(self._beta(mos).var()) if 1 < mos < 5 else mos**2)
        return math.sqrt(max(second - self.mos**2, 0))

    def quantile(self, q: float) -> float:
        return float(brentq(lambda y: self.cdf(y) - q, 1, 5, xtol=1e-10))

    def _mean(self, of: Callable[[float], float]) -> float:
        total = math.fsum(weight for _, weight in self.parts)
        return math.fsum(weight * of(mos) for mos, weight in self.parts) / total

    def _beta(self, mos: float) -> stats.rv_frozen:
        precision = (1 - self.theta) / self.theta
        share = (mos - 1) / 4
        return stats.beta(share * precision, (1 - share) * precision)

    def _cdf_at(self, mos: float, y: float) -> float:
        if mos in {1, 5}:
            return float(y >= mos)
        return float(self._beta(mos).cdf((y - 1) / 4))


@dataclass(frozen=True)
class Waiting:
    """The paper's web case study: lognormal waiting times, by their mean and standard deviation in seconds."""

    mean_s: float
    std_s: float

    @property
    def distribution(self) -> stats.rv_frozen:
        sigma = math.sqrt(math.log(1 + (self.std_s / self.mean_s) ** 2))
        return stats.lognorm(sigma, scale=self.mean_s * math.exp(-(sigma**2) / 2))

    def expected(self, of: Callable[[float], float]) -> float:
        """E[of(X)] by adaptive quadrature over the normal deviate of log X."""
        sigma = math.sqrt(math.log(1 + (self.std_s / self.mean_s) ** 2))
        centre = math.log(self.mean_s) - sigma**2 / 2

        def weighted(z: float) -> float:
            return of(math.exp(centre + sigma * z)) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return float(quad(weighted, -9, 9, limit=400, epsabs=1e-10)[0])
