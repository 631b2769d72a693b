"""The session table: admission, duplicates, expiry."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.session_table import Admitted, SessionTable
from qoemon.core.wire.report import ABSENT_INT
from tests.support.core import T0, VIDEO, OneShard, base, batch, plan
from tests.support.oracle import Said, bin_of

EU = ("eu",)


def admit(table: SessionTable, *reports: tuple[str, int], at_s: float = 0, end: bool = False) -> Admitted:
    names, seq = zip(*reports, strict=True)
    size = len(reports)
    admitted = table.admit(names, np.array(seq), np.full(size, at_s), np.full(size, end))
    table.assign_group(admitted, np.zeros(size, np.int64))
    return admitted


def said(session: str, at_s: float, **counters: object) -> Said:
    return Said(**{"session": session, "at_ms": T0 * 1000 + round(at_s * 1000), **counters})


def test_reports_count_in_the_order_of_their_seq_and_once() -> None:
    table = SessionTable(10)
    admitted = admit(table, ("a", 5), ("b", 1), ("a", 4), ("a", 5), ("b", 1))
    assert admitted.row.tolist() == [0, 0, 1]
    assert admitted.position.tolist() == [2, 0, 1]
    assert admitted.first.tolist() == [True, False, True]
    assert admitted.last.tolist() == [1, 2]
    assert admitted.duplicates == 2
    assert admit(table, ("a", 5), ("a", 3), ("a", 6)).position.tolist() == [2]


def test_reports_of_any_order_come_by_session_then_seq_then_arrival() -> None:
    """Reports of sessions beyond the limit are not admitted."""
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 100):
        names, seq = rng.integers(0, 40, size).tolist(), rng.integers(0, 5, size).tolist()
        admitted = admit(SessionTable(30), *((f"{name}", each) for name, each in zip(names, seq, strict=True)))
        rows = {name: row for row, name in enumerate(list(dict.fromkeys(names))[:30])}
        sort = sorted((rows[name], seq[i], i) for i, name in enumerate(names) if name in rows)
        kept = [each for number, each in enumerate(sort) if not number or each[:2] != sort[number - 1][:2]]
        assert list(zip(admitted.row.tolist(), admitted.position.tolist(), strict=True)) == [
            (row, i) for row, _, i in kept
        ]
        assert admitted.refused == size - len(sort)
        assert admitted.duplicates == len(sort) - len(kept)


def test_before_a_report_comes_the_one_before_of_its_session() -> None:
    table = SessionTable(10)
    admit(table, ("a", 1), at_s=3)
    times_s = np.array([30.0, 10.0, 20.0])
    admitted = table.admit(["a", "a", "b"], np.array([3, 2, 1]), times_s, np.zeros(3, np.bool_))
    assert admitted.position.tolist() == [1, 0, 2]
    assert admitted.before_s.tolist()[:2] == [3, 10]
    assert np.isnan(admitted.before_s[2])


def test_reports_without_seq_always_count() -> None:
    table = SessionTable(10)
    admit(table, ("a", 7))
    assert admit(table, ("a", ABSENT_INT), ("a", ABSENT_INT)).duplicates == 0
    assert admit(table, ("a", 7)).duplicates == 1


def test_seq_zero_counts_the_first_time() -> None:
    table = SessionTable(10)
    assert admit(table, ("a", 0)).duplicates == 0
    assert admit(table, ("a", 0)).duplicates == 1


def test_beyond_the_limit_sessions_are_refused_and_counted() -> None:
    table = SessionTable(2)
    admitted = admit(table, ("a", 1), ("b", 1), ("c", 1), ("c", 2), ("a", 2))
    assert (admitted.refused, len(table)) == (2, 2)
    assert sorted(admitted.position.tolist()) == [0, 1, 4]


def test_rows_are_used_again_and_come_clean() -> None:
    table = SessionTable(5_000)
    for round_ in range(4):
        names = [f"{round_}-{i}" for i in range(1_500)]
        admitted = admit(table, *((name, 9 - round_) for name in names), at_s=round_, end=True)
        assert np.isnan(admitted.before_s).all()
        assert admitted.duplicates == 0
        table.remove(table.expired(at_s=round_ + 60, timeout_s=300, interval_s=60))
        assert len(table) == 0
    assert table.rows == 1_500


@pytest.mark.parametrize(("end", "leaves_s"), [(False, 300), (True, 60)])
def test_sessions_leave_after_the_timeout_or_an_interval_after_their_end(*, end: bool, leaves_s: int) -> None:
    table = SessionTable(10)
    admit(table, ("a", 1), at_s=10, end=end)
    assert len(table.expired(10 + leaves_s - 0.001, 300, 60)) == 0
    assert len(table.expired(10 + leaves_s, 300, 60)) == 1


def test_a_session_that_speaks_after_its_end_is_there_again() -> None:
    table = SessionTable(10)
    admit(table, ("a", 1), end=True)
    admit(table, ("a", 2))
    assert len(table.expired(100, 300, 60)) == 0


def test_a_dump_gives_every_session_back() -> None:
    table, loaded = SessionTable(100), SessionTable(100)
    admit(table, ("ä€😀", 3), ("b", 4), ("c", ABSENT_INT), at_s=7)
    table.remove(np.array([1]))
    loaded.load(table.dump())
    assert len(loaded) == 2
    assert admit(loaded, ("ä€😀", 3)).duplicates == 1
    assert np.isnan(admit(loaded, ("b", 4)).before_s).all()
    assert admit(loaded, ("c", 1)).before_s.tolist() == [7]


def test_more_sessions_than_the_limit_leave_the_others_their_windows() -> None:
    monitor = OneShard(plan(VIDEO, sessions=3))
    monitor.apply(batch([said(f"s{i}", 5, play_ms=10_000) for i in range(5)]), T0 + 5)
    assert base(monitor, T0 + 10) == Counter({(EU, 0, 0): 3})
    snapshot = monitor.snapshot(T0 + 10)
    assert (snapshot.events[Event.REFUSED], snapshot.events[Event.REPORT], snapshot.sessions) == (2, 3, 3)


def test_a_session_that_left_makes_room_and_its_id_comes_back_as_a_new_one() -> None:
    """It is new: its seq may begin again, and its counters have no baseline from the old session."""
    monitor = OneShard(plan(VIDEO, sessions=1))
    monitor.apply(batch([said("a", 5, seq=9, stalls=3, stall_ms=9_000, play_ms=40_000)]), T0 + 5)
    monitor.apply(batch([said("b", 304, play_ms=10_000)]), T0 + 304)
    assert monitor.snapshot(T0 + 304).events[Event.REFUSED] == 1
    monitor.apply(batch([said("a", 315, seq=0, stalls=1, stall_ms=2_000, play_ms=20_000)]), T0 + 315)
    assert base(monitor, T0 + 320) == Counter({(EU, *bin_of(1, 2_000, 20_000)): 1})
    events = monitor.snapshot(T0 + 320).events
    assert (events[Event.EXPIRED], events[Event.DUPLICATE], events[Event.RESET]) == (1, 0, 0)


def test_an_ended_session_is_not_active_and_does_not_expire() -> None:
    monitor = OneShard(plan(VIDEO))
    monitor.apply(batch([said("a", 5, play_ms=10_000, stalled=True), said("b", 5, play_ms=10_000)]), T0 + 5)
    monitor.apply(batch([said("a", 6, play_ms=11_000, stalled=True, end=True)]), T0 + 6)
    (tally,) = monitor.counts(T0 + 10)
    assert (tally.active_sessions.tolist(), tally.open_stalls.tolist()) == ([1], [0])
    assert tally.windows[60].sum() == 2
    assert monitor.snapshot(T0 + 70).sessions == 1
    assert monitor.snapshot(T0 + 310).events[Event.EXPIRED] == 1
