"""The session table: rows for runs of sessions, expiry, dumps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.session_table import NO_GROUP, Key, SessionTable
from tests.support.core import T0, VIDEO, OneShard, base, batch, plan
from tests.support.oracle import Said, bin_of

EU = ("eu",)


def hear(table: SessionTable, *keys: Key, at_s: float = 0, end: bool = False) -> list[int]:
    """A report of each of these distinct keys; their rows, -1 for refused ones."""
    rows = np.array(found(table, *keys)[0])
    heard = rows[rows >= 0]
    size = len(heard)
    table.hear(heard, np.full(size, float(at_s)), np.full(size, end), np.zeros(size, np.int64))
    return rows.tolist()


def found(table: SessionTable, *keys: Key) -> tuple[list[int], list[int]]:
    """Rows of the keys, and of the former runs that new ones succeed."""
    rows = table.find_or_create(keys)
    former = table.former_runs(keys, rows)
    new = former >= 0
    table.succeed(former[new], rows[new])
    return rows.tolist(), former[new].tolist()


def loaded(table: SessionTable, limit: int = 100) -> tuple[SessionTable, list[int]]:
    """A table with the state of another, and the new rows."""
    other = SessionTable(limit)
    return other, other.load({name: array.copy() for name, array in table.dump().items()}).tolist()


def said(session: str, at_s: float, **counters: object) -> Said:
    return Said(**{"session": session, "at_ms": T0 * 1000 + round(at_s * 1000), **counters})


def test_a_session_has_one_row_in_a_batch_and_in_the_next() -> None:
    table = SessionTable(10)
    assert found(table, "a", "b", "a", "c", "b") == ([0, 1, 0, 2, 1], [])
    assert found(table, "c", "d", "a") == ([2, 3, 0], [])
    assert [table.key(row) for row in range(4)] == ["a", "b", "c", "d"]
    assert (len(table), table.rows) == (4, 4)


def test_a_state_with_more_sessions_than_a_limit_that_was_lowered_is_loaded() -> None:
    """Nobody new is taken until enough have gone."""
    table = SessionTable(2000)
    rows = hear(table, *(f"s{number}" for number in range(1200)))
    other, restored = loaded(table, limit=1100)
    assert (len(other), other.rows, restored) == (1200, 1200, rows)
    assert hear(other, "s7", "new", at_s=1) == [7, -1]
    other.remove(np.arange(101))
    assert hear(other, "new", at_s=2) != [-1]


def test_rows_are_those_of_a_dictionary_up_to_the_limit() -> None:
    rng = np.random.default_rng(1)
    table, rows = SessionTable(30), {}
    for size in (1, 2, 7, 100, 300):
        names = [f"{name}" for name in rng.integers(0, 40, size)]
        for name in names:
            if name not in rows and len(rows) < 30:
                rows[name] = len(rows)
        assert hear_all(table, names) == [rows.get(name, -1) for name in names]


def hear_all(table: SessionTable, names: Sequence[str]) -> list[int]:
    """Rows of names that may repeat; each session is heard once."""
    rows = table.find_or_create(names)
    distinct = np.unique(rows[rows >= 0])
    size = len(distinct)
    table.hear(distinct, np.zeros(size), np.zeros(size, np.bool_), np.zeros(size, np.int64))
    return rows.tolist()


def test_the_last_report_and_the_usual_pause_are_recorded() -> None:
    """The pause moves half of the way to each new one: 30 s, then (30 s + 10 s) / 2. The first report has none."""
    table = SessionTable(10)
    pauses = []
    for at_s in (3, 33, 43):
        (row,) = hear(table, "a", at_s=at_s)
        pauses.append(int(table.pause_s[row]))
    assert pauses == [0, 30, 20]
    assert table.last_s[row] == 43


def test_a_report_of_an_earlier_time_does_not_move_the_last_one_back() -> None:
    table = SessionTable(10)
    hear(table, "a", at_s=50)
    (row,) = hear(table, "a", at_s=20)
    assert (table.last_s[row], table.pause_s[row]) == (50, 0)


def test_beyond_the_limit_sessions_are_refused() -> None:
    table = SessionTable(2)
    assert found(table, "a", "b", "c", "c", "a") == ([0, 1, -1, -1, 0], [])
    assert len(table) == 2


def test_rows_are_used_again_and_come_clean() -> None:
    table = SessionTable(5_000)
    for round_ in range(4):
        names = [f"{round_}-{i}" for i in range(1_500)]
        rows = table.find_or_create(names)
        assert np.isnan(table.last_s[rows]).all()
        assert (table.group[rows] == NO_GROUP).all()
        assert not table.ended[rows].any()
        assert not table.pause_s[rows].any()
        for at_s in (round_, round_ + 1):
            hear(table, *names, at_s=at_s, end=True)
        table.remove(table.expired(at_s=round_ + 61, timeout_s=300, interval_s=60))
        assert len(table) == 0
    assert table.rows == 1_500


@pytest.mark.parametrize(("end", "leaves_s"), [(False, 300), (True, 60)])
def test_sessions_leave_after_the_timeout_or_an_interval_after_their_end(*, end: bool, leaves_s: int) -> None:
    table = SessionTable(10)
    hear(table, "a", at_s=10, end=end)
    assert len(table.expired(10 + leaves_s - 0.001, 300, 60)) == 0
    assert len(table.expired(10 + leaves_s, 300, 60)) == 1


def test_a_session_that_speaks_after_its_end_is_there_again() -> None:
    table = SessionTable(10)
    hear(table, "a", end=True)
    hear(table, "a")
    assert len(table.expired(100, 300, 60)) == 0


def test_a_new_run_has_a_row_of_its_own_and_the_former_one_leaves_as_an_ended_session() -> None:
    table = SessionTable(10)
    (old,) = hear(table, "a", at_s=10)
    (new,) = table.renew(np.array([old])).tolist()
    assert new != old
    assert len(table) == 2
    assert table.last_s[new] == 10  # The session was last heard then.
    assert hear(table, "a", at_s=20) == [new]
    assert table.expired(70, 300, 60).tolist() == [old]
    table.remove(np.array([old]))
    assert hear(table, "a", at_s=75) == [new]
    assert [table.key(row) for row in table.occupied.tolist()] == ["a"]


def test_a_new_run_beyond_the_limit_is_refused_and_the_present_one_stays() -> None:
    table = SessionTable(1)
    (old,) = hear(table, "a")
    assert table.renew(np.array([old])).tolist() == [-1]
    assert not table.ended[old]
    assert found(table, "a") == ([old], [])


def test_a_session_whose_two_runs_have_left_comes_back_as_a_new_one() -> None:
    table = SessionTable(10)
    (old,) = hear(table, "a", at_s=10)
    table.renew(np.array([old]))
    hear(table, "a", at_s=20)
    table.remove(table.expired(400, 300, 60))
    assert len(table) == 0
    (row,) = found(table, "a")[0]
    assert np.isnan(table.last_s[row])


def test_a_run_that_the_client_names_is_a_row_of_its_own_and_replaces_the_one_before() -> None:
    """The one before may still be heard, such as in a report that was overtaken: it replaces nothing."""
    table = SessionTable(10)
    assert found(table, ("a", "1")) == ([0], [])
    hear(table, ("a", "1"))
    assert found(table, ("a", "2"), ("a", "2")) == ([1, 1], [0])
    assert table.ended.tolist()[:2] == [True, False]
    assert table.last_s[1] == 0  # The session was last heard in the former run.
    hear(table, ("a", "2"), at_s=9)
    assert found(table, ("a", "1"), ("a", "2")) == ([0, 1], [])
    assert table.outdated([("a", "1"), ("a", "2"), "a"]).tolist() == [True, False, False]
    assert found(table, ("a", "3"), "a", ("b", "3")) == ([2, 3, 4], [1])


def test_the_newest_run_is_forgotten_with_its_row() -> None:
    table = SessionTable(10)
    hear(table, ("a", "1"), at_s=0)
    table.remove(table.expired(300, 300, 60))
    assert found(table, ("a", "2")) == ([0], [])


def test_a_named_run_that_began_in_a_full_table_replaces_nothing() -> None:
    table = SessionTable(1)
    hear(table, ("a", "1"))
    assert found(table, ("a", "2")) == ([-1], [])
    assert found(table, ("a", "1")) == ([0], [])


def test_a_dump_gives_every_session_back() -> None:
    table = SessionTable(100)
    for at_s in (7, 9):
        hear(table, "ä€😀", "b", "c", at_s=at_s, end=at_s == 9)
    table.remove(np.array([1]))
    other, rows = loaded(table)
    assert len(other) == 2
    assert found(other, "ä€😀", "c")[0] == rows
    for name in ("group", "last_s", "ended", "pause_s"):
        assert getattr(other, name)[rows].tolist() == getattr(table, name)[[0, 2]].tolist(), name
    (row,) = found(other, "b")[0]
    assert np.isnan(other.last_s[row])


def test_a_dump_gives_detached_runs_and_named_ones_back() -> None:
    """What the table would do next, it does after loading: the same rows are found, expire and are replaced."""
    table = SessionTable(100)
    hear(table, "gone", "a", ("b", "ü1"), ("b", ""), at_s=10)
    table.renew(np.array([1]))
    hear(table, "a", at_s=20)
    table.remove(np.array([0]))
    other, rows = loaded(table)
    of = dict(zip(table.occupied.tolist(), rows, strict=True))
    assert [other.key(of[row]) for row in (1, 2, 3, 4)] == ["a", ("b", "ü1"), ("b", ""), "a"]
    assert found(other, "a", ("b", "ü1"), ("b", "")) == ([of[4], of[2], of[3]], [])
    assert other.expired(70, 300, 60).tolist() == [of[1]]
    other.remove(np.array([of[1]]))
    assert found(other, "a") == ([of[4]], [])
    assert found(other, ("b", "2"))[1] == [of[3]]


def test_a_state_of_version_2_has_no_runs_and_every_session_is_found() -> None:
    table = SessionTable(100)
    hear(table, "a", "b", at_s=7)
    state = table.dump()
    for name in ("row", "run", "run_length", "found", "newest", "pause_s"):
        del state[name]
    other = SessionTable(100)
    rows = other.load(state).tolist()
    assert found(other, "a", "b") == (rows, [])
    assert other.last_s[rows].tolist() == [7, 7]


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
    events = monitor.events
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
