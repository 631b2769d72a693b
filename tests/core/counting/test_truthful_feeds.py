"""What truthful clients saw is what is counted, however their reports are cut and delivered.

A story is what one viewer saw: the times at which it stalled, and otherwise played. Its truth is judged directly:
the condition of each rating interval from the story itself. Its client reports truthful counters at some times, and
the reports arrive somehow. Claimed are the shares of poor and good ratings, of many sessions together.

What happened between two reports is not known, and taken for even. So a story is steady: the same happens in each
of its periods, and between two reports lie whole periods. Or it has two steady parts, the end of the first is
reported, and all reports are on time.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import Event, ServiceCounts
from tests.support.core import T0, VIDEO, OneShard, batch, levels, plan
from tests.support.oracle import MOS_STEP, Mixture, Said, level_of
from tests.support.streams import FEWER

INTERVAL_MS, TICK_MS, MIN_ACTIVE_MS = 60_000, 10_000, 5_000
MINUTES = 20
SESSIONS = 100
START_MS = T0 * 1000
END_MS = START_MS + MINUTES * INTERVAL_MS
TOLERANCE = 0.005
SLACK_MS = 4_000
"""Beyond the time that passed, as much is believed of a session, once."""

Figures = tuple[float, float]
"""Shares of poor or worse and of good or better ratings."""


@dataclass(frozen=True)
class Story:
    """What a viewer saw: stalls from and to, ms since the epoch, and between them the film.

    marks    between two of these times the same happens as between any other two of the same part
    changes  the marks at which a part ends and another begins
    """

    name: str
    begin_ms: int
    stalls: tuple[tuple[int, int], ...]
    marks: tuple[int, ...]
    changes: tuple[int, ...]

    def counters(self, at_ms: int) -> tuple[int, int, int]:
        at_ms = min(max(at_ms, self.begin_ms), self.marks[-1])
        begun = bisect_left(self._starts_ms, at_ms)
        stalled_ms = self._sums_ms[begun]
        if begun:
            stalled_ms -= max(self.stalls[begun - 1][1] - at_ms, 0)
        return begun, stalled_ms, at_ms - self.begin_ms - stalled_ms

    def report(self, at_ms: int, seq: int | None = None) -> Said:
        begun = bisect_left(self._starts_ms, at_ms)
        stalled = begun > 0 and at_ms < self.stalls[begun - 1][1]
        return Said(self.name, at_ms, ("eu",), seq, *self.counters(at_ms), stalled)

    def levels(self, ends_ms: Iterable[int]) -> list[int]:
        """The levels of its conditions in the intervals that end there, where it is active for 5 s or more."""
        found = []
        for end_ms in ends_ms:
            before, after = self.counters(end_ms - INTERVAL_MS), self.counters(end_ms)
            n, t, p = (new - old for new, old in zip(after, before, strict=True))
            if t + p >= MIN_ACTIVE_MS:
                found.append(level_of(n, t, p))
        return found

    @cached_property
    def _starts_ms(self) -> list[int]:
        return [start_ms for start_ms, _ in self.stalls]

    @cached_property
    def _sums_ms(self) -> list[int]:
        """The length of the first stalls, by their number."""
        return list(accumulate((end_ms - start_ms for start_ms, end_ms in self.stalls), initial=0))


@dataclass(frozen=True)
class Sent:
    """A report with the time at which it was sent; its at_ms is the time at which it arrives."""

    said: Said
    ts_ms: int


def story(chance: random.Random, name: str, parts: int = 1) -> Story:
    """A story of so many steady parts."""
    begin_ms = now_ms = START_MS + chance.randrange(2_000)
    stalls: list[tuple[int, int]] = []
    marks, changes = [begin_ms], []
    for part in range(parts):
        period_ms = chance.choice((10_000, 12_000, 15_000, 20_000, 30_000, 60_000))
        length_ms = chance.choice((0, 0, 500, 2_000, 5_000))
        until_ms = START_MS + (part + 1) * MINUTES * INTERVAL_MS // parts
        offset_ms = chance.randrange(period_ms - length_ms)
        periods = range(now_ms, until_ms, period_ms) if length_ms else range(now_ms, until_ms, 700)
        stalls += [(at_ms + offset_ms, at_ms + offset_ms + length_ms) for at_ms in periods if length_ms]
        marks += [*periods[1:], periods[-1] + periods.step]
        now_ms = marks[-1]
        changes.append(now_ms)
    return Story(name, begin_ms, tuple(stalls), tuple(marks), tuple(changes))


def cut(chance: random.Random, told: Story, longest_ms: int, *, numbered: bool) -> list[Sent]:
    """Its reports, with pauses up to the longest, at marks; the first one within a minute."""
    at_ms, times = told.begin_ms, []
    while at_ms < told.changes[-1]:
        change_ms = min(each for each in told.changes if each > at_ms)
        most_ms = longest_ms if times else min(longest_ms, INTERVAL_MS)
        ahead = [mark for mark in told.marks if at_ms < mark <= min(at_ms + most_ms, change_ms)]
        at_ms = chance.choice(ahead) if ahead else min(mark for mark in told.marks if mark > at_ms)
        times.append(at_ms)
    said = [told.report(each, seq if numbered else None) for seq, each in enumerate(times)]
    return [Sent(each, each.at_ms) for each in said]


def later(sent: Sent, by_ms: int) -> Sent:
    return replace(sent, said=replace(sent.said, at_ms=sent.said.at_ms + by_ms))


def resent(chance: random.Random, sent: Sequence[Sent]) -> list[Sent]:
    """Now and then the last reports arrive again, after a reconnect."""
    again = []
    for number, each in enumerate(sent):
        again.append(each)
        if chance.random() < 0.2:
            newest = sent[max(number + 1 - chance.randint(1, 2), 0) : number + 1]
            wait_ms = chance.randint(0, 3_000)
            again += [replace(old, said=replace(old.said, at_ms=each.said.at_ms + wait_ms)) for old in newest]
    return again


def batched(sent: Iterable[Sent], every_ms: int) -> list[Sent]:
    """Reports that a client or a gateway sends together."""
    return [later(each, -each.said.at_ms % every_ms) for each in sent]


def counted(sent: Iterable[Sent], until_ms: int, *, with_ts: bool = False) -> tuple[ServiceCounts, OneShard]:
    """What the core counts of these reports, tick by tick."""
    monitor = OneShard(plan(VIDEO, timing={"windows_s": (60, 300, 3600)}))
    by_tick: dict[int, list[Sent]] = {}
    for each in sorted(sent, key=lambda each: each.said.at_ms):
        by_tick.setdefault(each.said.at_ms // TICK_MS, []).append(each)
    for tick, some in by_tick.items():
        columns = batch([each.said for each in some])
        if with_ts:
            columns = replace(columns, ts_s=np.array([each.ts_ms / 1000 for each in some]))
        monitor.apply(columns, ((tick + 1) * TICK_MS - 1) / 1000)
    return monitor.counts(until_ms / 1000)[0], monitor


def truth(stories: Iterable[Story], first_ms: int, last_ms: int) -> Figures:
    """The figures of all intervals that end in (first_ms, last_ms]."""
    ends = range(first_ms + INTERVAL_MS, last_ms + 1, INTERVAL_MS)
    return figures(Counter(level for told in stories for level in told.levels(ends)))


def figures(numbers: Counter[int]) -> Figures:
    """Of sessions by level."""
    ratings = sum((number * ratings_at(level) for level, number in numbers.items()), np.zeros(5))
    return shares(ratings)


def shares(ratings: np.ndarray) -> Figures:
    return float(ratings[:2].sum() / ratings.sum()), float(ratings[3:].sum() / ratings.sum())


@cache
def ratings_at(level: int) -> np.ndarray:
    """What a user answers on 1..5 at a level of MOS."""
    return np.array(Mixture([(1 + level * MOS_STEP, 1)], VIDEO.theta).ratings)


def window(total: ServiceCounts, length_s: int) -> Figures:
    return figures(Counter({level: number for (_, level), number in levels(total, length_s).items()}))


def in_totals(total: ServiceCounts) -> Figures:
    return shares(total.expected_ratings[0])


def assert_true(total: ServiceCounts, stories: Sequence[Story], until_ms: int) -> None:
    """Totals until then, and the last five minutes if they are of the stories."""
    last_ms = until_ms // INTERVAL_MS * INTERVAL_MS
    assert in_totals(total) == pytest.approx(truth(stories, START_MS, last_ms), abs=TOLERANCE)
    if last_ms <= END_MS:
        assert window(total, 300) == pytest.approx(truth(stories, last_ms - 300_000, last_ms), abs=TOLERANCE)


seeds = st.integers(0, 2**32 - 1)


def a_crowd(seed: int) -> tuple[random.Random, list[Story]]:
    """Sessions whose stories are steady."""
    chance = random.Random(seed)
    return chance, [story(chance, f"s{number}") for number in range(SESSIONS)]


def doubts(monitor: OneShard) -> Counter[str]:
    """Reports that are taken for something else than the next or a repeated one of a truthful client."""
    return Counter({event: monitor.events[event] for event in DOUBTS if monitor.events.get(event)})


DOUBTS = (Event.TOO_FAST, Event.MILLISECONDS, Event.POSITION, Event.STALLED, Event.CONFLICT, Event.RESET)


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_reports_at_any_times_tell_what_happened(seed: int, *, numbered: bool) -> None:
    """Stories of two parts: a report a minute or more, on time, in any cut."""
    chance = random.Random(seed)
    stories = [story(chance, f"s{number}", 2) for number in range(SESSIONS)]
    sent = [each for told in stories for each in cut(chance, told, INTERVAL_MS, numbered=numbered)]
    total, monitor = counted(sent, END_MS)
    assert_true(total, stories, END_MS)
    assert not doubts(monitor)


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_reports_that_are_repeated_and_batched_tell_what_happened(seed: int, *, numbered: bool) -> None:
    """The last two reports arrive again now and then, and all of them in batches each 5 to 50 s.

    A session looks too fast once, if its second report comes sooner after the first than it was sent. Two
    repetitions that come after two newer reports look like a second player's: nothing of them is counted.
    """
    chance, stories = a_crowd(seed)
    sent = []
    for told in stories:
        each = cut(chance, told, INTERVAL_MS, numbered=numbered)
        sent += batched(resent(chance, each), chance.choice((1, 5_000, 20_000, 50_000)))
    total, monitor = counted(sent, END_MS + INTERVAL_MS - 1)
    assert_true(total, stories, END_MS + INTERVAL_MS - 1)
    assert doubts(monitor).keys() <= {Event.TOO_FAST, Event.CONFLICT}
    assert doubts(monitor)[Event.CONFLICT] <= SESSIONS / 20
    assert doubts(monitor).total() <= SESSIONS / 4


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_delays_of_less_than_an_interval_change_no_figure(seed: int, *, numbered: bool) -> None:
    """Each report has a delay of its own, up to 59 s, so that some are overtaken."""
    chance, stories = a_crowd(seed)
    sent = [
        later(each, chance.randrange(59_000))
        for told in stories
        for each in cut(chance, told, INTERVAL_MS, numbered=numbered)
    ]
    total, _ = counted(sent, END_MS)
    assert window(total, 300) == pytest.approx(truth(stories, END_MS - 300_000, END_MS), abs=TOLERANCE)
    total, _ = counted(sent, END_MS + 3 * INTERVAL_MS)
    assert_true(total, stories, END_MS + 3 * INTERVAL_MS)


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_a_backlog_with_ts_is_counted_where_it_belongs(seed: int, *, numbered: bool) -> None:
    """An outage of up to an hour at any time: what was sent in it arrives after it, each with its ts."""
    chance, stories = a_crowd(seed)
    from_ms = START_MS + chance.randrange(5 * INTERVAL_MS, MINUTES * INTERVAL_MS)
    until_ms = from_ms + chance.randrange(10_000, 3_000_000)
    sent = [each for told in stories for each in cut(chance, told, INTERVAL_MS, numbered=numbered)]
    sent = [later(each, max(until_ms - each.ts_ms, 0)) if from_ms <= each.ts_ms else each for each in sent]
    after_ms = max(until_ms, END_MS) + 2 * INTERVAL_MS
    total, monitor = counted(sent, after_ms, with_ts=True)
    assert_true(total, stories, after_ms)
    assert not doubts(monitor)


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_sessions_that_report_seldom_weigh_like_others(seed: int, *, numbered: bool) -> None:
    """Steady stories: half of the sessions report each 10 s, half of them once in 90 to 250 s."""
    chance, stories = a_crowd(seed)
    sent = []
    for number, told in enumerate(stories):
        longest_ms = 10_000 if number % 2 else chance.randrange(90_000, 250_000)
        sent += cut(chance, told, longest_ms, numbered=numbered)
    total, monitor = counted(sent, END_MS + INTERVAL_MS - 1)
    assert_true(total, stories, END_MS + INTERVAL_MS - 1)
    assert not doubts(monitor)


@dataclass
class Liar:
    """A client under its own id whose counters have nothing to do with the time that passes."""

    chance: random.Random
    numbered: bool
    counters: tuple[int, int, int] = (0, 0, 0)

    def reports(self) -> list[Sent]:
        at_ms, sent = START_MS + 5_000, []
        while at_ms < END_MS:
            self.counters = self._next()
            seq = len(sent) if self.numbered else None
            sent.append(Sent(Said("liar", at_ms, ("eu",), seq, *self.counters, self.chance.random() < 0.3), at_ms))
            at_ms += self.chance.choice((0, 1_000, 10_000, 60_000, 200_000))
        return sent

    def _next(self) -> tuple[int, int, int]:
        most_ms = self.chance.choice((100, 10_000, 60_000, 10**7, 10**11))
        stalls, stall_ms, play_ms = self.counters
        match self.chance.randrange(3):
            case 0:
                return stalls + 1, stall_ms + self.chance.randrange(1, most_ms), play_ms
            case 1:
                return stalls, stall_ms, max(play_ms + self.chance.randrange(-most_ms, most_ms), 0)
            case _:
                return self.chance.randrange(3), self.chance.randrange(1, most_ms), self.chance.randrange(most_ms)


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_a_liar_moves_no_figure_of_others(seed: int, *, numbered: bool) -> None:
    """It has one condition an interval like anyone else, and all other conditions are what they are without it."""
    chance, stories = a_crowd(seed)
    sent = [each for told in stories[:5] for each in cut(chance, told, INTERVAL_MS, numbered=numbered)]
    lies = Liar(chance, numbered).reports()
    for until_ms in range(START_MS + 5 * INTERVAL_MS, END_MS + 1, 5 * INTERVAL_MS):
        honest, _ = counted([each for each in sent if each.said.at_ms < until_ms], until_ms)
        total, _ = counted([each for each in sent + lies if each.said.at_ms < until_ms], until_ms)
        for length_s in (60, 300, 3600):
            more = levels(total, length_s)
            more.subtract(levels(honest, length_s))
            assert min(more.values(), default=0) >= 0
            assert more.total() <= MOST_RUNS * length_s // 60


MOST_RUNS = 3
"""A run that begins is a viewer of its own, for as long as the one before it is still in the window."""


@FEWER
@given(seed=seeds, numbered=st.booleans())
def test_a_liar_stalls_and_plays_no_longer_than_the_time_that_passed(seed: int, *, numbered: bool) -> None:
    """Nor than the slack, and the interval that its first report may stand for; it may play twice as fast."""
    chance = random.Random(seed)
    monitor, begin_ms = OneShard(plan(VIDEO)), START_MS + 5_000
    now_ms, stall_ms, play_ms, believed_ms = begin_ms, 1_000, 1_000, 0.0
    for seq in range(60):
        monitor.counts(now_ms / 1000)
        before_ms = seconds_in_slices(monitor)
        said = Said("liar", now_ms, ("eu",), seq if numbered else None, 1, stall_ms, play_ms)
        monitor.apply(batch([said]), now_ms / 1000)
        believed_ms += seconds_in_slices(monitor) - before_ms
        assert believed_ms <= now_ms - begin_ms + SLACK_MS + INTERVAL_MS
        now_ms += chance.choice((0, 1_000, 10_000, 45_000))
        stall_ms += chance.choice((0, 1_000, 100_000, 10**8))
        play_ms += chance.choice((0, 1_000, 100_000, 10**8))


def seconds_in_slices(monitor: OneShard) -> float:
    """What has been counted as stalled, and played at the greatest speed, in the last interval, ms."""
    slices = monitor.monitor.dump().get("video/conditions/slices", np.zeros((3, 0, 0)))
    return float(slices[1].sum() + slices[2].sum() / 2)
