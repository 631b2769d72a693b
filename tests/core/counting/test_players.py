"""What players tell comes to what they did, whatever the network made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import Event
from qoemon.core.counting.monitor import Monitor
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.counting.starts import FAILURES, STARTUP_MS
from qoemon.core.plan.plan import Plan, Players
from tests.support.core import DELTAS, T0, VIDEO, WEB
from tests.support.players import Word, columns, in_ticks, numbered, of_player, stories, truth
from tests.support.streams import FEW

SILENCE_S = 1500
TWO = st.tuples(stories("a"), stories("b")).map(lambda two: sorted([*two[0], *two[1]], key=lambda w: w.at_ms))


class Feed:
    """A monitor, what it handed on of each run, and its starts."""

    def __init__(self, told: Plan | None = None) -> None:
        self.plan = told or of_player()
        self.records: list[SessionRecord] = []
        self.monitor = Monitor(self.plan, self.records.append)
        self.starts: Counter[tuple[str, tuple[str, ...], str]] = Counter()
        self.tallies: list[Any] = []

    def hear(self, *words: Word, cut: Sequence[int] = ()) -> np.ndarray:
        """Take the words in batches of these sizes, all those of a tick together at most; then tick by tick."""
        sizes, too_many = iter(cut), []
        for _, some in in_ticks(words):
            begin = 0
            while begin < len(some):
                end = begin + (next(sizes, 0) or len(some))
                batch = columns(some[begin:end])
                too_many += self.monitor.apply_players(batch, float(batch.arrival_s[-1])).tolist()
                begin = end
        return np.array(too_many)

    def until(self, at_s: float) -> Feed:
        """Enter the ticks up to a time after T0."""
        for tick in range((self.monitor.tick or T0 // 10) + 1, int(T0 + at_s) // 10 + 1):
            counts = self.monitor.counts(tick * 10)
            self.tallies.append([a.tolist() for c in counts for a in (c.levels, c.users, c.open_stalls)])
        for interval in self.monitor.drain_closed():
            for service, counts in zip(self.plan.services, interval.services, strict=True):
                for group, row in zip(self.monitor.counts(0)[0].groups, counts.starts, strict=False):
                    self.starts[service.name, group, "ms"] += int(row[STARTUP_MS])
                    self.starts[service.name, group, "number"] += int(row[:STARTUP_MS].sum())
                    self.starts[service.name, group, "failed"] += int(row[FAILURES])
        return self

    def over(self) -> Feed:
        self.until((self.monitor.tick or 0) * 10 - T0 + SILENCE_S)
        self.monitor.hand_on_sessions()
        return self

    @property
    def counted(self) -> list[tuple[int, int, int]]:
        """Stalls, stall ms and play ms of each run."""
        runs = sorted(self.records, key=lambda each: (each.session, int(each.run)))
        return [(each.stalls, each.stall_ms, each.play_ms) for each in runs]

    def start(self, of: str) -> int:
        return self.starts["video", ("eu",), of]


def heard(*words: Word, **more: Any) -> Feed:
    feed = Feed(of_player(players=Players(**more)))
    feed.hear(*words)
    return feed.over()


def counted(*words: Word, **more: Any) -> list[tuple[int, int, int]]:
    return heard(*words, **more).counted


def test_stalls_and_play_are_differences_of_ts():
    words = numbered(Word(0, "s"), Word(1000, "p"), Word(9000, "r"), Word(12_500, "p"), Word(20_000, "e"))
    assert counted(*words) == [(1, 3500, 15_500)]


def test_a_viewing_has_one_record_with_its_end_and_nothing_implausible():
    words = numbered(Word(0, "s"), Word(1000, "p"), Word(11_000, "r"), Word(30_000, "p"), Word(40_000, "e"))
    (record,) = heard(*words).records
    assert (record.run, record.ended, record.implausible_ms, record.duplicates) == ("1", True, 0, 0)
    assert record.last_heard_s - record.first_heard_s == pytest.approx(40)


@pytest.mark.parametrize("unready", ["k", "s", "d"])
def test_waiting_for_the_start_or_after_a_seek_is_no_stall(unready):
    words = [
        Word(0, unready),
        Word(500, "r"),
        Word(3000, "p"),
        Word(8000, unready),
        Word(8004, "r"),
        Word(9900, "p"),
    ]
    assert counted(*numbered(*words, Word(11_000, "p"))) == [(0, 0, 6100)]


def test_a_pause_closes_a_stall_and_leaves_the_player_ready():
    words = [
        Word(0, "p"),
        Word(5000, "r"),
        Word(7000, "a"),
        Word(20_000, "r"),
        Word(21_000, "p"),
        Word(22_000, "p"),
    ]
    assert counted(*numbered(*words)) == [(2, 3000, 6000)]


def test_the_playback_rate_counts_from_the_word_that_tells_it():
    words = [Word(0, "p"), Word(5000, e="pr", pr=2), Word(10_000, "p", pr=0.5), Word(20_000, "e")]
    assert counted(*numbered(*words)) == [(0, 0, 5000 + 10_000 + 5000)]


def test_a_stall_of_a_moment_is_none():
    words = numbered(Word(0, "p"), Word(5000, "r"), Word(5022, "p"), Word(8000, "p"))
    assert counted(*words) == [(0, 0, 8000)]
    assert counted(*words, shortest_stall_s=0.0) == [(1, 22, 7978)]


def test_a_stall_is_open_while_it_runs_until_the_session_times_out():
    feed = Feed()
    feed.hear(*numbered(Word(0, "p"), Word(15_000, "r")))
    assert [tick[2] for tick in feed.until(310).tallies] == [[1]] * 30
    assert feed.until(320).tallies[-1][2] == [0]


def test_play_goes_on_for_two_heartbeats_without_a_word_and_a_heartbeat_is_learnt():
    words = [Word(0, "p", e="t"), Word(4000, "p", e="t"), Word(5000, "p"), Word(65_000, "p")]
    assert counted(*numbered(*words)) == [(0, 0, 5000 + 8000)]
    assert counted(*numbered(Word(0, "p"), Word(70_000, "p")), heartbeat_s=30.0) == [(0, 0, 60_000)]


def test_nothing_is_played_in_a_long_gap_and_its_time_is_told():
    words = [Word(0, "p", 0), Word(40_000, "p", 2), Word(90_000, "p", 4), Word(91_000, "e", 5)]
    feed = heard(*words)
    assert feed.counted == [(0, 0, 40_000 + 1000)]
    assert feed.monitor.events[Event.UNKNOWN_MS] == 50_000


def test_a_record_without_state_keeps_the_state_going():
    words = [
        Word(0, e="t"),
        Word(0, "s"),
        Word(1000, "p"),
        Word(6000, e="t"),
        Word(11_000, "r"),
        Word(14_000, e="t"),
    ]
    assert counted(*numbered(*words, Word(15_000, "p"))) == [(1, 4000, 10_000)]


# What real players do, numbered: docs/players-reported.md.


def test_trap_2_records_overtake_each_other():
    words = numbered(Word(0, "s"), Word(700, "p"), Word(9000, "r"), Word(9900, "p"), Word(14_000, "e"))
    late = [
        replace(word, at_ms=word.ts_ms + late) for word, late in zip(words, (900, 150, 1500, 20, 0), strict=True)
    ]
    shuffled = sorted(late, key=lambda word: word.at_ms)
    assert [word.sn for word in shuffled] != [0, 1, 2, 3, 4]
    assert counted(*shuffled) == counted(*words) == [(1, 900, 12_400)]


def test_trap_2_after_an_outage_all_come_at_once_in_any_order():
    words = numbered(
        Word(0, "p"),
        *(Word(second * 1000, "p", e="t") for second in (5, 10, 15)),
        Word(17_000, "r"),
        Word(25_000, "p"),
    )
    late = [replace(words[i], at_ms=26_000 + 10 * n) for n, i in enumerate((2, 1, 5, 3, 4))]
    assert counted(words[0], *late) == [(1, 8000, 17_000)]


def test_traps_1_and_3_a_reload_under_the_same_session_is_a_run_that_is_not_ready():
    first = numbered(Word(0, "s"), Word(1000, "p"), Word(8000, "r"), Word(9000, "p"), Word(15_000, "p"))
    second = numbered(Word(20_000, e="t"), Word(20_050, "r"), Word(22_000, "p"), Word(26_000, "e"))
    feed = heard(*first, *second)
    assert feed.counted == [(1, 1000, 13_000), (0, 0, 4000)]
    assert [(each.run, each.ended) for each in feed.records] == [("1", False), ("2", True)]


def test_a_record_that_is_sent_again_counts_once():
    words = numbered(Word(0, "s"), Word(1000, "p"), Word(9000, "r"), Word(12_500, "p"), Word(20_000, "e"))
    again = [replace(word, at_ms=word.ts_ms + 4000) for word in words]
    feed = heard(*sorted([*words, *again], key=lambda word: word.arrival_s))
    assert feed.counted == [(1, 3500, 15_500)]
    assert feed.monitor.events[Event.REPEATED_RECORD] == 5
    assert feed.monitor.events[Event.REPORT] == 5


def test_a_record_that_comes_too_late_is_left_out():
    words = numbered(Word(0, "p"), Word(10_000, "r"), Word(12_000, "p"), Word(20_000, "e"))
    feed = heard(words[0], words[2], words[3], replace(words[1], at_ms=25_000))
    assert feed.counted == [(0, 0, 20_000)]
    assert feed.monitor.events[Event.LATE_RECORD] == 1


def test_trap_4_a_record_about_a_request_moves_neither_state_nor_clock():
    words = numbered(
        Word(0, "s"), Word(1000, "p"), Word(500, "p", e="rr"), Word(6000, "r"), Word(5000, "p", e="rr"),
        Word(9000, "p"), Word(8000, "r", e="rr"), Word(10_000, "p"),
    )  # fmt: skip
    at = [replace(word, at_ms=max(word.ts_ms, 0) if word.e != "rr" else word.ts_ms + 1500) for word in words]
    assert counted(*sorted(at, key=lambda word: word.at_ms)) == [(1, 3000, 6000)]


def test_trap_8_a_closed_tab_is_silence_and_leaves_its_stall_open():
    feed = Feed()
    feed.hear(*numbered(Word(0, "p"), Word(12_000, "r"), Word(15_000, "r", e="t")))
    assert feed.until(30).tallies[-1][2] == [1]
    assert feed.over().counted == [(1, 3000, 12_000)]


def test_trap_9_a_batch_that_comes_late_counts_in_full():
    words = numbered(Word(0, "p"), Word(1000, "p"), Word(2000, "r"), Word(5000, "p"), Word(9000, "p"))
    assert counted(*(replace(word, at_ms=9500) for word in words)) == [(1, 3000, 6000)]


@pytest.mark.parametrize("wrong_ms", [-86_400_000, 86_400_000 * 365])
def test_trap_11_the_clock_of_a_player_may_be_wrong_by_years(wrong_ms):
    words = numbered(Word(0, "p"), Word(10_000, "r"), Word(14_000, "p"), Word(20_000, "e"))
    (record,) = heard(*(replace(word, ts_ms=word.ts_ms + wrong_ms, at_ms=word.ts_ms) for word in words)).records
    assert (record.stalls, record.stall_ms, record.play_ms) == (1, 4000, 16_000)
    assert record.last_heard_s == pytest.approx(T0 + 20)


def test_records_without_a_number_are_ordered_by_their_time():
    words = [
        Word(0, "p", at_ms=900),
        Word(9000, "r"),
        Word(12_000, "p", at_ms=12_900),
        Word(12_500, "p"),
        Word(14_000),
    ]
    assert counted(*sorted(words, key=lambda word: word.arrival_s)) == [(1, 3000, 11_000)]


def test_a_player_that_ended_and_plays_again_begins_a_run():
    words = numbered(
        Word(0, "p"), Word(5000, "e"), Word(5004, "a"), Word(5010, "e"), Word(9000, "e", e="t"), Word(90_000, "k"),
        Word(90_500, "p"), Word(95_500, "e"),
    )  # fmt: skip
    assert counted(*words) == [(0, 0, 5000), (0, 0, 5000)]


def test_a_run_that_its_service_has_forgotten_is_counted_from_zero():
    """Records about requests keep the player, and its service has removed the run in the meantime."""
    words = numbered(Word(0, "p"), Word(5000, "r"), Word(8000, "p"), Word(20_000, "a"))
    requests = [Word(second * 1000, e="rr", sn=4 + n) for n, second in enumerate(range(100, 800, 100))]
    words += [*requests, Word(800_000, "p", 11), Word(810_000, "e", 12)]
    feed = Feed()
    for word in words:
        feed.hear(word)
        feed.until(word.arrival_s - T0)
    assert feed.over().counted == [(1, 3000, 17_000), (0, 0, 10_000)]


# Startup.


def test_the_startup_time_is_from_s_to_the_first_picture_once_a_run():
    words = [
        Word(0, "d"),
        Word(1000, "s", msd=134),
        Word(1200, "r"),
        Word(3500, "p"),
        Word(9000, "s"),
        Word(9500, "p"),
    ]
    feed = heard(*numbered(*words))
    assert (feed.start("number"), feed.start("ms"), feed.start("failed")) == (1, 2500, 0)


def test_without_s_the_startup_time_is_what_the_player_says_if_that_can_be():
    words = [Word(0, "r"), Word(900, "p"), Word(5000, "p", e="t", msd=981)]
    assert heard(*numbered(*words)).start("ms") == 981
    words[2] = replace(words[2], msd=90)
    assert heard(*numbered(*words)).start("number") == 0
    words[2:] = [Word(700, "p", e="rr", msd=981, at_ms=1000), Word(5000, "p")]
    assert heard(*numbered(*words)).start("ms") == 981


def test_a_startup_time_across_missing_records_is_none():
    assert heard(Word(0, "s", 0), Word(20_000, "p", 2)).start("number") == 0


def test_the_time_of_a_viewer_before_the_first_picture_is_no_startup_time():
    words = [Word(0, "s"), Word(20, "a"), Word(60_000, "s"), Word(61_000, "p")]
    assert heard(*numbered(*words)).start("ms") == 1000


@pytest.mark.parametrize("last", ["f", "q", "", "new run"])
def test_a_run_that_tried_and_never_played_is_a_failed_start(last):
    words = numbered(Word(0, "s"), Word(500, "r"), *([Word(9000, last)] if last in {"f", "q"} else []))
    after = numbered(Word(15_000, "s"), Word(16_000, "p")) if last == "new run" else []
    feed = heard(*words, *after)
    assert (feed.start("failed"), feed.start("number")) == (1, len(after) // 2)


def test_who_leaves_before_trying_or_after_playing_has_not_failed():
    assert heard(*numbered(Word(0, "d"))).start("failed") == 0
    assert heard(*numbered(Word(0, "s"), Word(500, "p"), Word(900, "k"), Word(1000, "f"))).start("failed") == 0


def test_startup_times_and_failures_are_responses_of_the_service_that_rates_them():
    players = Players(startup_service="web", failed_worst=True)
    feed = Feed(of_player(VIDEO, WEB, players=players))
    feed.hear(
        *numbered(Word(0, "s"), Word(2500, "p")),
        *numbered(Word(3000, "s", session="b"), Word(4000, "f", session="b")),
    )
    feed.until(10)
    assert feed.monitor.counts(T0 + 10)[1].qos.sum() == 2
    feed.over()
    web = [(r.session, r.run, r.measurements, r.implausible_ms) for r in feed.records if r.service == "web"]
    assert sorted(web) == [("b", "1", 1, 0), ("s", "1", 1, 0)]


def test_the_record_of_a_run_has_its_startup_time_if_there_is_one():
    feed = heard(
        *numbered(Word(0, "s"), Word(2500, "p"), Word(5000, "e"), Word(6000, "s"), Word(6100, "p")),
        *numbered(Word(10_000, "s", session="b"), Word(11_000, "f", session="b")),
    )
    assert sorted((each.session, each.run, each.startup_ms) for each in feed.records) == [
        ("b", "1", None),
        ("s", "1", 2500),
        ("s", "2", 100),
    ]


# Who is hidden, who says nothing, who says too much.


def test_hidden_players_count_unless_they_are_left_out():
    words = numbered(
        Word(0, "p"), Word(5000, "p", bg=True), Word(9000, "r", bg=True), Word(15_000, "p"), Word(20_000)
    )
    assert counted(*words) == [(1, 6000, 14_000)]
    assert counted(*words, hidden=False) == [(0, 0, 10_000)]


def test_a_start_that_nobody_sees_is_neither_timed_nor_failed():
    words = numbered(Word(0, "s", bg=True), Word(500, "p", bg=True), Word(9000, "p"), Word(10_000, "e"))
    feed = heard(*words, hidden=False)
    assert (feed.start("number"), feed.start("failed"), feed.counted) == (0, 0, [(0, 0, 1000)])


def test_players_that_never_tell_a_state_are_counted_once_each():
    words = numbered(*(Word(second * 1000, e="t", msd=1444 if second == 5 else None) for second in range(0, 60, 5)))
    feed = heard(*words)
    assert feed.monitor.events[Event.STATELESS] == 1
    ((service, event, finding),) = feed.monitor.drain_findings()
    assert (service, event, finding.session, finding.labels) == ("video", Event.STATELESS, "s", ("eu",))
    assert (feed.counted, feed.start("ms")) == ([(0, 0, 0)], 1444)
    assert (
        heard(*numbered(Word(0, e="t"), Word(10, e="bc"), Word(15_000, "r"))).monitor.events[Event.STATELESS] == 0
    )


def test_a_flood_of_one_session_is_rejected_and_disturbs_no_other():
    flood = numbered(*(Word(ms, "p", e="t") for ms in range(0, 1000, 10)))
    quiet = numbered(Word(5, "p", session="b"), Word(30_000, "e", session="b"))
    feed = Feed()
    too_many = feed.hear(*sorted([*flood, *quiet], key=lambda word: word.ts_ms))
    assert len(too_many) == 80
    assert feed.over().counted == [(0, 0, 29_995), (0, 0, 190)]


def test_what_is_held_of_a_session_is_bounded():
    words = [Word(ms, "p", 2 * ms) for ms in range(1, 200)]
    feed = heard(*words, records_per_s=1000)
    assert feed.monitor.events[Event.UNORDERED] > 100
    assert feed.counted == [(0, 0, 198)]


def test_a_record_about_a_request_fills_its_gap_while_the_first_word_waits():
    words = [Word(150, "p", 1), Word(300, "", 2, e="rr"), Word(70_300, "d", 3)]
    feed = heard(*words)
    assert (feed.counted, feed.monitor.events[Event.UNKNOWN_MS]) == ([(0, 0, 60_000)], 0)


def test_a_record_about_a_request_of_the_next_run_takes_no_number_from_a_stall_that_waits():
    words = [Word(0, "p", 0), Word(150, "r", 1), Word(450, "", 1, e="rr")]
    assert heard(*words).counted == [(1, 0, 150)]


def test_what_strangers_hold_does_not_hurry_those_who_wait_for_less_long(monkeypatch):
    monkeypatch.setattr("qoemon.core.counting.player_order.MOST_HELD", 100)
    words = numbered(Word(0, "s"), Word(700, "p"), Word(4000, "r"), Word(4900, "p"), Word(9000, "e"))
    late = [replace(word, at_ms=word.ts_ms + at) for word, at in zip(words, (0, 0, 990, 0, 0), strict=True)]
    flood = [Word(20 * number, "p", 5, session=f"flood-{number}") for number in range(500)]
    feed = Feed()
    feed.hear(*sorted([*late, *flood], key=lambda word: word.arrival_s), cut=[10] * 60)
    assert that_count(feed.over().counted) == [(1, 900, 7400)]
    assert feed.monitor.events[Event.UNORDERED] == 400


def test_a_clock_that_jumps_makes_no_time_up():
    """No state lasts for longer than a session may be silent."""
    words = [Word(0, "p", 0), Word(10**14, "p", 2), Word(10**14 + 1000, "r", 3), Word(2 * 10**14, "p", 4)]
    feed = Feed()
    feed.hear(*(replace(word, at_ms=5000 * number) for number, word in enumerate(words)))
    assert feed.monitor.events[Event.UNKNOWN_MS] == 300_000
    ((stalls, stall_ms, play_ms),) = feed.over().counted
    assert (stalls, stall_ms <= 300_000, play_ms) == (1, True, 1000)


def test_sessions_beyond_the_limit_are_refused():
    feed = Feed(of_player(sessions=1))
    feed.hear(Word(0, "p", 0, session="a"), Word(1, "p", 0, session="b"))
    assert (feed.monitor.events[Event.REFUSED], len(feed.over().records)) == (1, 1)


# Identities.


def by_truth(words: Sequence[Word]) -> list[tuple[int, int, int]]:
    names = sorted({word.session for word in words})
    return [run for name in names for run in truth([word for word in words if word.session == name])]


def that_count(runs: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    return [run for run in runs if any(run)]


def everything(feed: Feed) -> tuple[Any, ...]:
    """What came out of a feed that is over."""
    events = {event: number for event, number in feed.monitor.events.items() if number}
    return sorted(feed.records), feed.starts, feed.tallies, events


@pytest.mark.parametrize("service", [VIDEO, DELTAS], ids=["cumulative", "differences"])
@given(words=stories())
@FEW
def test_whatever_arrives_in_time_counts_as_the_rules_say(service, words):
    feed = Feed(of_player(service))
    feed.hear(*words)
    assert that_count(feed.over().counted) == that_count(by_truth(words))
    assert not any(record.implausible_ms or record.duplicates for record in feed.records)


@given(words=TWO, cut=st.lists(st.integers(1, 4), max_size=30))
@FEW
def test_the_result_does_not_depend_on_how_records_are_cut_into_batches(words, cut):
    one, other = Feed(), Feed()
    one.hear(*words, cut=[1] * len(words))
    other.hear(*words, cut=cut)
    assert everything(one.over()) == everything(other.over())


@given(words=TWO, after=st.integers(0, 28))
@FEW
def test_a_restart_in_the_middle_changes_nothing(words, after):
    whole, before, later = Feed(), Feed(), Feed()
    whole.hear(*words)
    before.hear(*words[:after])
    later.monitor.load(before.monitor.dump())
    later.starts.update(before.until(0).starts)
    later.hear(*words[after:])
    for feed in (whole, later):
        feed.over()
    assert whole.starts == later.starts
    assert whole.monitor.events == later.monitor.events
    assert whole.tallies[-50:] == later.tallies[-50:]


@given(words=TWO)
@FEW
def test_two_shards_count_what_one_does(words):
    whole, parts = Feed(), [Feed(), Feed()]
    whole.hear(*words)
    for number, part in enumerate(parts):
        part.hear(*(word for word in words if word.session == "ab"[number]))
        if part.monitor.tick is None:
            part.monitor.counts(T0)
    for feed in (whole, *parts):
        feed.over()
    assert sorted(whole.records) == sorted(record for part in parts for record in part.records)
    assert +whole.starts == +sum((part.starts for part in parts), Counter())
    events = sum((part.monitor.events for part in parts), Counter())
    assert +whole.monitor.events == +events


def test_a_shift_of_the_clock_moves_what_is_held():
    feed = Feed()
    feed.hear(Word(0, "p", 0), Word(9000, "r", 1))
    feed.monitor.shift(-3600)
    feed.hear(Word(12_000, "p", 2, at_ms=12_000 - 3_600_000), Word(20_000, "e", 3, at_ms=20_000 - 3_600_000))
    assert feed.over().counted == [(1, 3000, 17_000)]


def test_a_state_of_before_has_no_players():
    feed = Feed()
    feed.hear(Word(0, "p", 0))
    old = {name: array for name, array in feed.monitor.dump().items() if not name.startswith("/players/")}
    later = Feed()
    later.monitor.load(old)
    later.hear(Word(5000, "p", 1), Word(10_000, "p", 2))
    assert sorted(later.over().counted) == [(0, 0, 5000)]
    assert later.monitor.events[Event.REPORT] == 3
