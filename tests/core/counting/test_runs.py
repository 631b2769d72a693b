"""What a report is to its session: the next one of its run, a repeated one, a new run, or another player's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.runs import Judged, Kind, Reports, Runs, digests
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Service
from qoemon.core.wire.batch import Batch, batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.core import DELTAS, T0, VIDEO, WEB, OneShard, base, levels, plan
from tests.support.oracle import bin_of, level_of

EU = ("eu",)
INTERVAL_MS = 60_000
PERFECT = level_of(0, 0, 10_000)


def columns(at_s: float, service: str = "video", **fields: Any) -> Batch:
    """One report of session s."""
    batch, bad = batch_of([Report(**{"session": "s", **fields})], [0], [T0 + at_s], [Route(service, EU)])
    assert not len(bad)
    return batch


def counters(stalls: int, stall_s: float, play_s: float) -> dict[str, Any]:
    """A report's counters, as a/b/c."""
    return {"stall_count": stalls, "stall_s": stall_s, "play_s": play_s}


class Run:
    """The run of one session, which hears what it is told."""

    def __init__(self, service: Service = VIDEO) -> None:
        self._service, self.table = service, SessionTable(10)
        self.runs = Runs(self.table, service)
        self.rows = self.table.find_or_create(["s"])

    def judge(self, at_s: float, **fields: Any) -> Judged:
        batch = columns(at_s, **fields)
        return self.runs.judge(self._reports(at_s), batch, digests(batch), INTERVAL_MS)

    def hear(self, at_s: float, **fields: Any) -> Kind:
        """Judge, and record what counts; a new run gets a row of its own."""
        batch, judged = columns(at_s, **fields), self.judge(at_s, **fields)
        kind = Kind(judged.kind[0])
        if kind in {Kind.REPEATED, Kind.CONFLICTS}:
            return kind
        if kind is Kind.NEW_RUN:
            old, self.rows = self.rows, self.table.renew(self.rows)
            self.runs.renew(old, self.rows)
        self.runs.record(self._reports(at_s), batch, digests(batch), judged.values)
        self.table.hear(self.rows, np.array([float(at_s)]), batch.end, np.zeros(1, np.int64))
        return kind

    def reload(self) -> None:
        """Continue from a dump."""
        table, runs = self.table.dump(), self.runs.dump()
        self.table = SessionTable(10)
        rows = self.table.load(table)
        self.runs = Runs(self.table, self._service)
        self.runs.load(runs, rows)
        self.rows = self.table.find_or_create(["s"])

    def _reports(self, at_s: float) -> Reports:
        last_s = self.table.last_s[self.rows]
        gap_ms = np.where(np.isnan(last_s), -1, np.rint((at_s - last_s) * 1000)).astype(np.int64)
        return Reports(np.zeros(1, np.int64), self.rows, np.array([float(at_s)]), gap_ms)


def heard(*, seq: bool = True, service: Service = VIDEO) -> Run:
    """Reports at 0 s and 10 s, the second with seq 5 and the counters 2/3/60."""
    run = Run(service)
    for at_s, number, told in ((0, 4, counters(1, 1, 52)), (10, 5, counters(2, 3, 60))):
        assert run.hear(at_s, **told, **({"seq": number} if seq else {})) is Kind.CONTINUES
    return run


KINDS: dict[str, tuple[float, dict[str, Any], Kind, list[int]]] = {
    # Name: time, report, kind, stalls and ms added.
    "the next one": (20, {"seq": 6, **counters(3, 4, 69)}, Kind.CONTINUES, [1, 1_000, 9_000]),
    "the next one, without seq": (20, counters(3, 4, 69), Kind.CONTINUES, [1, 1_000, 9_000]),
    "a number was lost": (20, {"seq": 9, **counters(2, 3, 70)}, Kind.CONTINUES, [0, 0, 10_000]),
    "what is left out has not changed": (20, {"seq": 6, "play_s": 65}, Kind.CONTINUES, [0, 0, 5_000]),
    "nothing at all": (20, {"seq": 6}, Kind.CONTINUES, [0, 0, 0]),
    "the last one again": (11, {"seq": 5, **counters(2, 3, 60)}, Kind.REPEATED, [0, 0, 0]),
    "the last one again, long after": (900, {"seq": 5, **counters(2, 3, 60)}, Kind.REPEATED, [0, 0, 0]),
    "the one before it": (11, {"seq": 4, **counters(1, 1, 52)}, Kind.REPEATED, [0, 0, 0]),
    "the one before it, long after": (900, {"seq": 4, **counters(1, 1, 52)}, Kind.REPEATED, [0, 0, 0]),
    "the one before it, without seq, long after": (900, counters(1, 1, 52), Kind.REPEATED, [0, 0, 0]),
    # 0.5 + 40 s cannot have happened in the 10 s since then: an older report that was overtaken.
    "older than allowed": (20, {"seq": 3, **counters(1, 0.5, 40)}, Kind.REPEATED, [0, 0, 0]),
    "a reload": (20, {"seq": 0, **counters(0, 0, 0)}, Kind.NEW_RUN, [0, 0, 0]),
    "a reload that has played": (20, {"seq": 1, **counters(1, 2, 8)}, Kind.NEW_RUN, [1, 2_000, 8_000]),
    # A second report must show that it is one: see below.
    "a reload without seq": (20, counters(0, 0, 4), Kind.REPEATED, [0, 0, 0]),
    "a reload of which the first report was lost": (20, {"seq": 2, **counters(0, 0, 8)}, Kind.REPEATED, [0, 0, 0]),
    "a reload after a long time": (250, {"seq": 0, **counters(1, 20, 40)}, Kind.NEW_RUN, [1, 20_000, 40_000]),
    "a reload whose seq goes on": (20, {"seq": 6, **counters(0, 0, 4)}, Kind.NEW_RUN, [0, 0, 4_000]),
    # As seq begins anew while no counter fell, the counters decide.
    "seq from 0, the counters go on": (20, {"seq": 0, **counters(3, 4, 69)}, Kind.CONTINUES, [1, 1_000, 9_000]),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_report_is_judged_by_its_seq_its_counters_and_the_time(name: str) -> None:
    """What began anew and can have happened since the last report is a new run; what was said before is not."""
    at_s, told, kind, added = KINDS[name]
    judged = heard(seq="without seq" not in name).judge(at_s, **told)
    assert Kind(judged.kind[0]) is kind
    if kind in {Kind.CONTINUES, Kind.NEW_RUN}:
        assert judged.added[:, 0].tolist() == added
        assert not judged.backward[0]


@pytest.mark.parametrize("name", KINDS)
def test_a_report_is_judged_alike_after_a_restart(name: str) -> None:
    at_s, told, kind, _ = KINDS[name]
    run = heard(seq="without seq" not in name)
    run.reload()
    assert run.hear(at_s, **told) is kind


def test_a_position_that_falls_is_no_new_run() -> None:
    """Case 3: the viewer seeks back. play_s falls, the stalls go on: 1/1/1800 and 2/3/1801 after 0/0/3600."""
    run = Run()
    run.hear(0, seq=1, **counters(0, 0, 3600))
    run.hear(1, seq=2, **counters(1, 1, 3601))
    judged = run.judge(2, seq=3, **counters(2, 2, 1800))
    assert Kind(judged.kind[0]) is Kind.CONTINUES
    assert judged.backward[0]
    assert judged.added[:2, 0].tolist() == [1, 1_000]


def test_the_first_report_of_a_long_run_is_its_baseline() -> None:
    """A run that has stalled and played for more than the rating interval began before anything was heard of it."""
    run = Run()
    assert run.judge(0, **counters(3, 10, 50)).added[:, 0].tolist() == [3, 10_000, 50_000]
    assert run.judge(0, **counters(3, 10, 50.001)).added[:, 0].tolist() == [0, 0, 0]


def test_counters_that_come_later_have_a_baseline_then() -> None:
    """The first report has no counters, so the age of the run is not known before the second."""
    run = Run()
    run.hear(0, seq=1)
    assert run.judge(10, seq=2, **counters(4, 90, 900)).added[:, 0].tolist() == [0, 0, 0]
    run.hear(10, seq=2, **counters(4, 90, 900))
    assert run.judge(20, seq=3, **counters(5, 91, 909)).added[:, 0].tolist() == [1, 1_000, 9_000]


def test_a_new_run_is_counted_from_zero_also_if_its_first_report_had_no_counters() -> None:
    run = heard()
    assert run.hear(70, seq=0, **counters(0, 0, 0)) is Kind.NEW_RUN
    assert run.judge(130, seq=1, **counters(2, 10, 45)).added[:, 0].tolist() == [2, 10_000, 45_000]


@pytest.mark.parametrize("restart", [False, True])
def test_two_players_that_alternate_are_one_run_and_the_other_is_left_out(*, restart: bool) -> None:
    """Case 12: 10/50/1000+k and 0/0/1+k. The second might be a new run, until the first is heard again."""
    run = Run()
    kinds = []
    for k in range(0, 100, 10):
        kinds.append((run.hear(k, **counters(10, 50, 1000 + k)), run.hear(k + 2, **counters(0, 0, 1 + k))))
        if restart:
            run.reload()
    assert kinds[0] == (Kind.CONTINUES, Kind.REPEATED)
    assert set(kinds[1:]) == {(Kind.CONTINUES, Kind.CONFLICTS)}


def test_of_two_players_the_one_that_remains_is_the_run() -> None:
    """The first has closed its page: what was left out before is a run from then on."""
    run = Run()
    for k in range(0, 30, 10):
        run.hear(k, **counters(10, 50, 1000 + k))
        run.hear(k + 2, **counters(0, 0, 1 + k))
    kinds = [run.hear(at_s, **counters(0, 0, at_s - 1)) for at_s in range(32, 80, 10)]
    assert set(kinds[:1]) <= {Kind.NEW_RUN, Kind.CONTINUES}
    assert set(kinds[1:]) == {Kind.CONTINUES}


@pytest.mark.parametrize("restart", [False, True])
def test_without_seq_a_second_report_shows_that_a_new_run_has_begun(*, restart: bool) -> None:
    """It continues the first one in the time between the two; a resend does not. The run counts from zero."""
    run = heard(seq=False)
    assert run.hear(20, **counters(0, 0, 4)) is Kind.REPEATED
    if restart:
        run.reload()
    judged = run.judge(30, **counters(1, 2, 12))
    assert Kind(judged.kind[0]) is Kind.NEW_RUN
    assert judged.added[:, 0].tolist() == [1, 2_000, 12_000]
    assert run.hear(20.1, **counters(0, 1, 9)) is Kind.REPEATED


@pytest.mark.parametrize("numbered", [False, True])
def test_the_first_and_the_last_two_reports_of_a_run_are_known_when_they_are_sent_again(*, numbered: bool) -> None:
    run = Run()
    told = [counters(k, k, 9 * k) | ({"seq": k} if numbered else {}) for k in range(6)]
    for k, each in enumerate(told):
        run.hear(10 * k, **each)
    run.reload()
    assert [run.hear(51 + k / 10, **told[k]) for k in (0, 1, 4, 5)][:3] == [Kind.REPEATED] * 3
    assert run.judge(60, **(counters(6, 6, 54) | ({"seq": 6} if numbered else {}))).added[:, 0].tolist() == [
        1,
        1000,
        9000,
    ]


NUMBERED = {"web": WEB, "deltas": DELTAS}


def told(service: str, number: int) -> dict[str, Any]:
    """A report of a service without cumulative counters, different for each number."""
    return {"response_s": number / 1000} if service == "web" else counters(1, 1 + number / 1000, 2)


@pytest.mark.parametrize("service", NUMBERED)
@pytest.mark.parametrize("restart", [False, True])
def test_of_differences_each_of_the_last_64_numbers_counts_once_in_any_order(
    service: str, *, restart: bool
) -> None:
    """Overtaken by at most 63 others, a report counts, and once."""
    run = Run(NUMBERED[service])
    order = [1, 64, *range(63, 1, -1)]
    for at_s, number in enumerate(order):
        assert run.hear(at_s / 10, seq=number, **told(service, number)) is Kind.CONTINUES, number
        if restart:
            run.reload()
    for number in order:
        assert run.hear(7, seq=number, **told(service, number + 1000)) is Kind.REPEATED, number


@pytest.mark.parametrize("service", NUMBERED)
@pytest.mark.parametrize(
    ("seq", "kind"),
    [
        (101, Kind.CONTINUES),
        (100, Kind.REPEATED),
        (37, Kind.CONTINUES),
        (36, Kind.REPEATED),
        (1, Kind.NEW_RUN),
        (0, Kind.NEW_RUN),
    ],
)
def test_of_differences_the_first_number_after_a_much_larger_one_begins_a_new_run(
    service: str, seq: int, kind: Kind
) -> None:
    run = Run(NUMBERED[service])
    run.hear(0, seq=100, **told(service, 0))
    assert run.hear(1, seq=seq, **told(service, 1)) is kind


@pytest.mark.parametrize("service", NUMBERED)
def test_of_differences_what_is_sent_again_is_known_by_its_content(service: str) -> None:
    run = Run(NUMBERED[service])
    run.hear(0, seq=1, **told(service, 1))
    run.hear(0, seq=900, **told(service, 2))
    assert run.hear(1, seq=1, **told(service, 1)) is Kind.REPEATED
    assert run.hear(1, seq=900, **told(service, 2)) is Kind.REPEATED


@pytest.mark.parametrize("service", NUMBERED)
def test_of_differences_a_jump_of_numbers_forgets_those_before(service: str) -> None:
    """By 63 numbers the first is still remembered, by 64 it is not: then it may be of a new run."""
    for by, kind in ((63, Kind.REPEATED), (64, Kind.NEW_RUN)):
        run = Run(NUMBERED[service])
        run.hear(0, seq=1, **told(service, 1))
        run.hear(1, seq=1 + by, **told(service, 2))
        run.hear(2, seq=1 + by, **told(service, 3))
        assert run.hear(3, seq=1, **told(service, 4)) is kind


@pytest.mark.parametrize("service", NUMBERED)
def test_of_differences_without_seq_every_report_counts(service: str) -> None:
    """Case 14: that is the one thing for which a seq is needed."""
    run = Run(NUMBERED[service])
    assert [run.hear(at_s, **told(service, 1)) for at_s in (0, 1)] == [Kind.CONTINUES] * 2


@pytest.mark.parametrize("service", NUMBERED)
def test_of_differences_an_ended_session_begins_anew_with_any_older_number(service: str) -> None:
    """Case 10."""
    run = Run(NUMBERED[service])
    run.hear(0, seq=3, end=True, **told(service, 1))
    assert [run.hear(5 + number, seq=number, **told(service, 10 + number)) for number in range(4)] == [
        Kind.NEW_RUN,
        *[Kind.CONTINUES] * 3,
    ]


class Feed:
    """Reports to a whole shard, of session s unless told otherwise; fields as on the wire."""

    def __init__(self, service: Service = VIDEO) -> None:
        self.service = service
        self.monitor = OneShard(plan(service))

    def say(self, at_s: float, **fields: Any) -> None:
        self.monitor.apply(columns(at_s, self.service.name, **fields), T0 + at_s)

    def rated(self, at_s: float, window_s: int = 60) -> Counter:
        return levels(self.monitor.counts(T0 + at_s)[0], window_s)

    def restart(self) -> None:
        state = {name: array.copy() for name, array in self.monitor.dump().items()}
        self.monitor = OneShard(plan(self.service))
        self.monitor.load(state)

    def events(self, *some: Event) -> list[int]:
        counted: Counter[Event] = Counter(self.monitor.events)
        return [counted[event] for event in some]


def reloaded(again: str, *, end: bool, restart: bool) -> Counter:
    """Cases 9 and 10: a stall is reported at 60 s, the page is loaded anew at 69 s, all well; rated at 180 s."""
    feed = Feed()
    for number in range(6):
        feed.say(5 + 10 * number, seq=number, **counters(0, 0, 10 * number))
    feed.say(60, seq=6, stalled=not end, end=end, **counters(1, 0.1, 55))
    if restart:
        feed.restart()
    for number in range(6):
        feed.say(69 + 10 * number, session=again, seq=number, **counters(0, 0, 10 * number))
    reports, duplicates = feed.events(Event.REPORT, Event.DUPLICATE)
    # Its first report may be that of the run before, sent again, until a second one continues it.
    assert (reports + duplicates, duplicates) in {(13, 0), (13, 0 if end or again != "s" else 1)}
    return feed.rated(180) + feed.rated(180, 300) + feed.rated(240) + feed.rated(240, 300)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_a_page_that_is_loaded_anew_under_the_same_id_counts_as_with_a_new_id(*, end: bool, restart: bool) -> None:
    """But for the stall that was open: of the same id it is known that it has ended."""
    same, new = reloaded("s", end=end, restart=restart), reloaded("t", end=True, restart=restart)
    if end:
        assert same == new
    assert same[(EU, PERFECT)] == new[(EU, PERFECT)] > 0


def test_a_new_run_ends_the_open_stall_of_the_one_before() -> None:
    feed = Feed()
    feed.say(5, seq=1, **counters(0, 0, 5))
    feed.say(10, seq=2, stalled=True, **counters(1, 0, 10))
    assert feed.monitor.counts(T0 + 20)[0].open_stalls.tolist() == [1]
    feed.say(22, seq=0, **counters(0, 0, 2))
    assert feed.monitor.counts(T0 + 30)[0].open_stalls.tolist() == [0]
    assert feed.events(Event.RESET) == [1]


@pytest.mark.parametrize("end", [{"seq": 0, "end": True}, {"end": True}, {"seq": 99, "end": True}])
def test_the_end_is_believed_whatever_its_seq(end: dict[str, Any]) -> None:
    """Case 13: a last will that was written when the session began."""
    feed = Feed()
    for number in range(5, 9):
        feed.say(
            10 * number - 45, seq=number, stalled=number == 8, **counters(int(number == 8), 0, 10 * number - 50)
        )
    assert feed.monitor.counts(T0 + 40)[0].open_stalls.tolist() == [1]
    feed.say(41, **end)
    (tally,) = feed.monitor.counts(T0 + 50)
    assert (tally.open_stalls.tolist(), tally.active_sessions.tolist()) == ([0], [0])
    assert feed.events(Event.REPORT, Event.DUPLICATE) == [5, 0]
    assert feed.monitor.snapshot(T0 + 110).sessions == 0
    assert feed.events(Event.EXPIRED) == [0]


def test_an_end_that_is_sent_again_does_not_end_the_session_that_goes_on() -> None:
    """It was heard before, so it is a repeated report like any other."""
    feed = Feed()
    feed.say(5, seq=1, **counters(0, 0, 5))
    feed.say(6, seq=2, end=True, **counters(0, 0, 6))
    feed.say(16, seq=3, **counters(0, 0, 16))
    feed.say(17, seq=2, end=True, **counters(0, 0, 6))
    assert feed.monitor.counts(T0 + 20)[0].active_sessions.tolist() == [1]
    assert feed.events(Event.REPORT, Event.DUPLICATE) == [3, 1]


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_reports_that_are_sent_again_after_a_reconnect_change_nothing(*, numbered: bool, restart: bool) -> None:
    """Case 11: the last two reports again, with QoS 1, before the session goes on."""
    once, again = Feed(), Feed()
    for feed in (once, again):
        for number in range(1, 6):
            if feed is again and number == 5:
                if restart:
                    feed.restart()
                for old in (3, 4):
                    feed.say(49, **counters(old, 5 * old, 5 * old), **({"seq": old} if numbered else {}))
            feed.say(
                10 * number, **counters(number, 5 * number, 5 * number), **({"seq": number} if numbered else {})
            )
    assert (
        base(again.monitor, T0 + 60)
        == base(once.monitor, T0 + 60)
        == Counter({(EU, *bin_of(5, 25_000, 25_000)): 1})
    )
    assert again.events(Event.RESET, Event.CONFLICT) == [0, 0]


def test_two_players_under_one_id_bring_no_phantom_stalls_and_are_named() -> None:
    """Case 12, once a minute in the log: the finding has the session and its labels."""
    feed = Feed()
    for k in range(0, 120, 10):
        feed.say(5 + k, **counters(10, 50, 1000 + k))
        feed.say(7 + k, **counters(0, 0, 1 + k))
    assert feed.rated(120) == Counter({(EU, PERFECT): 1})
    assert feed.rated(120, 300) == Counter({(EU, PERFECT): 2})
    assert feed.events(Event.CONFLICT, Event.RESET) == [11, 0]
    ((service, event, finding),) = feed.monitor.monitor.drain_findings()
    assert (service, event, finding.session, finding.labels) == ("video", Event.CONFLICT, "s", EU)
    assert feed.monitor.monitor.drain_findings() == []


@pytest.mark.parametrize("run", [("1", "2"), (1, 2), ("", "x"), (0, "0.5")])
@pytest.mark.parametrize("restart", [False, True])
def test_with_run_a_client_says_exactly_which_run_it_is(run: tuple[Any, Any], *, restart: bool) -> None:
    """Its seq goes on, and only play_s is smaller: without `run` it would be a position that fell."""
    feed = Feed()
    feed.say(25, run=run[0], seq=1, stalled=True, **counters(1, 0, 20))
    if restart:
        feed.restart()
    feed.say(52, run=run[1], seq=2, **counters(2, 10, 14))
    (tally,) = feed.monitor.counts(T0 + 60)
    assert tally.open_stalls.tolist() == [0]
    # The first run has played for 20 s; its stall has ended, of unknown length. The second counts from zero.
    assert feed.rated(60) == Counter({(EU, level_of(1, 0, 20_000)): 1, (EU, level_of(2, 10_000, 14_000)): 1})
    assert (feed.monitor.sessions, tally.active_sessions.tolist()) == (2, [1])
    feed.say(61, run=run[0], seq=3, end=True)
    assert feed.monitor.counts(T0 + 70)[0].active_sessions.tolist() == [1]
    assert feed.monitor.snapshot(T0 + 130).sessions == 1
    assert feed.events(Event.EXPIRED) == [0]


@pytest.mark.parametrize("numbered", [False, True])
def test_a_new_run_of_a_viewer_that_reports_seldom_counts_in_full(*, numbered: bool) -> None:
    """4 stalls, 120 s and 120 s each 240 s, then 3/100/100 after a reload: all of it is possible, and from zero."""
    feed = Feed()
    for number in range(3):
        run = {} if numbered else {"run": 1}
        feed.say(240 * number, seq=number, **counters(4 * number, 120 * number, 120 * number), **run)
    feed.say(720, **({"seq": 0} if numbered else {"run": 2}), **counters(3, 100, 100))
    (tally,) = feed.monitor.counts(T0 + 780)
    assert feed.events(Event.TOO_FAST, Event.CONFLICT) == [0, 0]
    # The new run is 200 s old at 720 s: three intervals and 20 s; the one before has eight intervals.
    assert tally.expected_ratings.sum() == pytest.approx(12)
    assert set(levels(tally, 600)) == {(EU, level_of(4, 120_000, 120_000)), (EU, level_of(3, 100_000, 100_000))}


def test_two_players_that_tell_their_run_are_both_rated() -> None:
    feed = Feed()
    for k in range(0, 60, 10):
        feed.say(1 + k, run="a", seq=k, **counters(k // 10, k // 10, k - k // 10))
        feed.say(2 + k, run="b", seq=k, **counters(0, 0, k))
    assert feed.rated(60) == Counter({(EU, level_of(5, 5_000, 45_000)): 1, (EU, PERFECT): 1})
    assert feed.events(Event.CONFLICT, Event.RESET, Event.DUPLICATE) == [0, 0, 0]


def test_runs_told_by_some_reports_of_a_batch_are_those_of_these_reports_only() -> None:
    reports = [Report("a", play_s=9.0), Report("b", play_s=9.0, run=7), Report("b", play_s=9.0, run="7")]
    batch, _ = batch_of(reports, [0] * 3, [T0 + 5.0] * 3, [Route("video", EU)])
    monitor = OneShard(plan(VIDEO))
    monitor.apply(batch, T0 + 5)
    monitor.apply(replace(batch.take(np.array([0])), arrival_s=np.array([T0 + 6.0])), T0 + 6)
    assert monitor.sessions == 2
    assert base(monitor, T0 + 10) == Counter({(EU, 0, 0): 2})
