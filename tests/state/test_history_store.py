"""The history answers for any time range and any roll-up what counting afresh gives."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.closed_ratings import AddedRatings, ClosedRatings
from qoemon.core.evaluation import Evaluation
from qoemon.core.qoe.scale import ACR5
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.snapshot.past import MOST_CELLS, MOST_POINTS, PastAlert, PastError, PastQuery, PastRatings
from qoemon.core.wire.partition import Partitioner
from qoemon.state.history_rows import DamagedError, Rows, pack, unpack
from qoemon.state.history_store import (
    BEHIND,
    BLOCK_S,
    BLOCKS_AT_ONCE,
    FINE_S,
    MEMORY_S,
    SETTLE,
    HistoryStore,
    Written,
)
from tests.support.history import (
    GROUPS,
    INTERVAL_S,
    LABELS,
    T0,
    WEB_PLAN,
    Core,
    Page,
    Twin,
    pages,
    selects,
    written,
)

MONTH_S = 30 * 86_400
MINUTES = 45
ROUNDING = 1e-4
"""Sums are kept in units of 1 / 10,000 of a user."""


def store_in(directory: Path | None, kept_s: int = MONTH_S) -> HistoryStore:
    return HistoryStore(directory and directory / "history.sqlite3", INTERVAL_S, kept_s)


def filled(store: HistoryStore, told: Sequence[Page], minutes: int = MINUTES) -> Twin:
    twin = Twin(told)
    for counts, snapshot in Core().ticks(told, T0 + 60 * minutes + 600):
        twin.observe(counts)
        store.write(written(snapshot))
    return twin


def questions(number: int) -> list[PastQuery]:
    """Ranges, steps, roll-ups and filters, at random."""
    rng = np.random.default_rng(7)
    asked = []
    for _ in range(number):
        begin, end = np.sort(rng.choice(MINUTES + 1, 2, replace=False)).tolist()
        by = [(), ("cdn",), ("region",), ("cdn", "region"), LABELS][int(rng.integers(5))]
        only = [{}, {"cdn": frozenset({"a"})}, {"region": frozenset({"eu", "us"}), "cdn": frozenset({"b"})}]
        step_s = [60, 300, 600, 3600][int(rng.integers(4))]
        span = T0 + 60 * begin, T0 + 60 * end
        asked.append(PastQuery("web", ACR5, *span, step_s, by, only[int(rng.integers(3))]))
    return asked


def assert_right(past: PastRatings, twin: Twin, rounding: float = ROUNDING) -> None:
    """Every step of every series, and the whole range, are what the twin counts."""
    query, size = past.query, past.observations.shape[1]
    assert size == len(past.times_s)
    steps, overall = past.rated(0.95), past.rated_overall(0.95)
    for number, series in enumerate(past.series):
        selected = selects(query, series)
        spans = [(end_s - past.step_s, end_s) for end_s in past.times_s]
        cases = [(steps, number * size + at, span) for at, span in enumerate(spans)]
        for rated, at, span in [*cases, (overall, number, (past.from_s, past.to_s))]:
            wanted = twin.rated(*span, selected)
            assert rated.observations[at] == wanted.observations[0]
            assert rated.users[at] == len(twin.users(*span, selected)), (span, series)
            for name in ("mos", "gob", "pow", "ratings"):
                ours, theirs = getattr(rated, name)[at], getattr(wanted, name)[0]
                assert ours == pytest.approx(theirs, abs=10 * rounding, nan_ok=True), name
            for name in ("pow_bounds", "gob_bounds", "mos_bounds"):
                # Users who come back now and then: how much they weigh in a range is known to some percent.
                ours, theirs = getattr(rated, name)[at], getattr(wanted, name)[0]
                accuracy = 0.15 * np.ptp(np.nan_to_num(theirs)) + 10 * rounding
                assert ours == pytest.approx(theirs, abs=accuracy, nan_ok=True), name
            assert rated.sos[at] == pytest.approx(wanted.sos[0], abs=100 * rounding, nan_ok=True)
    everywhere = {group for group in GROUPS if selects(replace(query, by=()), ())(group)}
    with_data = {
        tuple(dict(zip(LABELS, group, strict=True))[name] for name in query.by)
        for group in everywhere
        if twin.users(past.from_s, past.to_s, lambda other, group=group: other == group)
    }
    assert set(past.series) == with_data


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_every_range_and_roll_up_is_what_counting_afresh_gives(
    tmp_path: Path, *, late: bool, in_memory: bool
) -> None:
    store = store_in(None if in_memory else tmp_path)
    told = pages(MINUTES, 40, seed=1, late=late)
    twin = filled(store, told)
    for query in questions(40):
        assert_right(store.ratings(query), twin)
    store.close()


def test_late_page_loads_are_added_to_intervals_that_are_stored(tmp_path: Path) -> None:
    """Several closes have added to the same interval."""
    store, late = store_in(tmp_path), 0
    for _, snapshot in Core().ticks(pages(10, 40, seed=1, late=True), T0 + 1200):
        late += sum(len(closed.added) - 1 for closed in snapshot.closed)
        store.write(written(snapshot))
    assert late > 5
    whole = store.ratings(PastQuery("web", ACR5, T0 - 600, T0 + 1200, by=()))
    assert whole.observations.sum() == 400
    store.close()


def test_a_replay_of_the_journal_changes_nothing(tmp_path: Path) -> None:
    """A close that is written again, after a crash and also in another order of groups, counts once."""
    told = pages(MINUTES, 40, seed=2, late=True)
    store, twin = store_in(tmp_path), Twin(told)
    ticks = [(counts, snapshot) for counts, snapshot in Core().ticks(told, T0 + 60 * MINUTES + 600)]
    for number, (counts, snapshot) in enumerate(ticks):
        twin.observe(counts)
        store.write(written(snapshot))
        if number % 50 == 49:  # A crash: the last minutes are replayed, by a store that knows nothing.
            store.close()
            store = store_in(tmp_path)
            for _, again in ticks[number - 30 : number + 1]:
                store.write(written(again))
    for query in questions(20):
        assert_right(store.ratings(query), twin)
    store.close()


def test_an_interval_that_is_in_the_checkpoint_but_not_in_the_history_is_written_after_the_restart(
    tmp_path: Path,
) -> None:
    """Each time, the process dies after a checkpoint that has the close, and before the history is written."""
    told, store, core = pages(MINUTES, 40, seed=6, late=True), store_in(tmp_path), Core()
    twin, deaths = Twin(told), 0
    for counts, snapshot in core.ticks(told, T0 + 60 * MINUTES + 600):
        twin.observe(counts)
        if snapshot.closed and counts.time_s % 180 == 0:
            deaths += 1
            again = Evaluation(WEB_PLAN, (), RegimeRules())
            again.load({name: array.copy() for name, array in core.evaluation.dump().items()})
            core.evaluation = again
        else:
            store.write(written(snapshot))
    assert deaths > 10
    for query in questions(20):
        assert_right(store.ratings(query), twin)
    store.close()


def test_shards_give_the_history_of_the_whole_to_the_last_digit(tmp_path: Path) -> None:
    told, whole, divided = pages(MINUTES, 40, seed=5, late=True), store_in(None), store_in(tmp_path)
    filled(whole, told)
    shards, partitioner = [ShardPipeline(WEB_PLAN, retain=True) for _ in range(3)], Partitioner(3, WEB_PLAN)
    evaluation, waiting = Evaluation(WEB_PLAN, (), RegimeRules()), list(told)
    for tick_s in range(T0 + 10, T0 + 60 * MINUTES + 601, 10):
        while waiting and waiting[0].at_s < tick_s:
            message = waiting.pop(0).message
            for shard, payload in partitioner.split(message.topic, message.payload):
                shards[shard].apply([message._replace(payload=payload)])
        snapshot = evaluation.tick([sparse_counts(shard.tick(tick_s)) for shard in shards]).snapshot
        divided.write(written(snapshot))
    for query in questions(20):
        one, other = whole.ratings(query), divided.ratings(query)
        assert one.series == other.series
        for column in ("sums", "observations", "users", "users_overall"):
            assert np.array_equal(getattr(one, column), getattr(other, column)), column
    whole.close()
    divided.close()


def test_what_is_rolled_up_is_the_sum_of_its_intervals(tmp_path: Path) -> None:
    """Two days later; users of several intervals and blocks are still one user."""
    store, told = store_in(tmp_path), pages(MINUTES, 40, seed=3)
    twin = filled(store, told)
    query = PastQuery("web", ACR5, T0, T0 + 60 * MINUTES, 300, by=("region",))
    before = store.ratings(query)
    age(store, T0 + 3 * FINE_S)
    after = store.ratings(query)
    assert after.kept.oldest_s == T0
    for column in ("sums", "observations", "users", "users_overall"):
        assert np.array_equal(getattr(after, column), getattr(before, column)), column
    assert_right(after, twin)
    for longer_s in (600, 900, 3600):
        assert_right(store.ratings(replace(query, step_s=longer_s)), twin)
    with pytest.raises(PastError, match="multiple of 300s"):
        store.ratings(replace(query, step_s=60))
    store.close()


def test_a_replay_of_what_is_rolled_up_counts_once(tmp_path: Path) -> None:
    """The daemon was down for days, and crashed again before it could forget its old journal."""
    store, told = store_in(tmp_path), pages(10, 40, seed=3)
    twin = Twin(told)
    ticks = list(Core().ticks(told, T0 + 1200))
    for counts, snapshot in ticks:
        twin.observe(counts)
        store.write(written(snapshot))
    age(store, T0 + 3 * FINE_S)
    for _, snapshot in ticks:
        store.write(written(snapshot))
    assert_right(store.ratings(PastQuery("web", ACR5, T0, T0 + 600, 300)), twin)
    store.close()


def age(store: HistoryStore, time_s: int) -> None:
    """Let time pass, with closes in which nobody is there but one user."""
    for minute in range(20 + SETTLE):
        store.write(closing(time_s + 60 * minute, 1))


def closing(closed_s: int, groups: int, at_once: float = 1.0) -> Written:
    """The close of an interval with so many groups, each of one user with one page load."""
    sums = np.tile([0, 0, 0, 0, 1.0, 5, 25, 25, 1, 0], (groups, 1)) * at_once
    ones = np.ones(groups, np.int64)
    labels = tuple((f"region {number}", "a") for number in range(groups))
    closed = ClosedRatings(
        "web",
        ACR5,
        closed_s,
        labels,
        (AddedRatings(closed_s, sums, ones, ones, {}, ones, np.zeros((len(ones), 0), np.int64)),),
    )
    return Written(closed_s, LABELS, (closed,), (), ())


def test_old_rows_are_removed_and_the_file_does_not_grow_any_more(tmp_path: Path) -> None:
    """A history of ten blocks, over a hundred of them."""
    store, sizes, begin_s = store_in(tmp_path, 10 * BLOCK_S), [], T0
    for minute in range(500):
        store.write(closing(begin_s + 60 * minute, 20))
        sizes.append(store.size_bytes())
    newest_s = begin_s + 60 * 499
    kept = store.kept()
    assert kept.newest_s == newest_s
    assert kept.oldest_s == newest_s - 10 * BLOCK_S
    # The write-ahead log is copied when it has WAL_PAGES, after a transaction of some pages.
    assert max(sizes[250:]) <= 1.02 * max(sizes[:250])
    store.close()


def test_intervals_are_kept_two_days_and_blocks_until_the_end(tmp_path: Path) -> None:
    store = store_in(tmp_path, FINE_S + 3600)
    for end_s in range(T0, T0 + FINE_S + 3 * 3600, 1200):
        store.write(closing(end_s, 1))
    kept = store.kept()
    assert kept.newest_s is not None
    assert kept.oldest_s is not None
    assert kept.newest_s - FINE_S - 3600 - 1200 <= kept.oldest_s <= kept.newest_s - FINE_S - 1800
    old = store.ratings(PastQuery("web", ACR5, kept.oldest_s, kept.newest_s, 3600))
    assert old.observations.sum() == (kept.newest_s - kept.oldest_s) // 1200 + 1
    store.close()


def test_a_clock_that_was_wrong_at_the_start_deletes_nothing(tmp_path: Path) -> None:
    store, told = store_in(tmp_path), pages(MINUTES, 40, seed=2)
    twin = filled(store, told)
    store.close()
    store = store_in(tmp_path)
    wrong_s = T0 + 5 * 365 * 86_400
    for minute in range(SETTLE - 1):
        store.write(closing(wrong_s + 60 * minute, 1))
    for minute in range(SETTLE + 1):
        store.write(closing(T0 + 60 * (MINUTES + 20 + minute), 1))
    kept = store.kept()
    assert (kept.newest_s, kept.oldest_s) == (T0 + 60 * (MINUTES + 20 + SETTLE), T0)
    assert_right(store.ratings(PastQuery("web", ACR5, T0, T0 + 60 * MINUTES, 60)), twin)
    store.close()


@pytest.mark.parametrize("ahead_s", [5 * 365 * 86_400, -5 * 365 * 86_400])
def test_a_clock_that_is_wrong_for_an_hour_deletes_little(tmp_path: Path, ahead_s: int) -> None:
    """After one deletes nothing: that is too short to be taken for the present."""
    store = store_in(tmp_path)
    for hour in range(100):
        store.write(closing(T0 + 3600 * hour, 1))
    newest_s = T0 + 3600 * 99
    for minute in range(10):
        store.write(closing(newest_s + ahead_s + 60 * minute, 1))
    for minute in range(1, 11):
        store.write(closing(newest_s + 60 * minute, 1))
    past = store.ratings(PastQuery("web", ACR5, T0 - 3600, newest_s, 3600))
    assert past.observations.sum() >= 100 - 10 * BLOCKS_AT_ONCE * BLOCK_S // 3600
    store.close()


def test_what_follows_a_clock_that_was_days_ahead_is_kept(tmp_path: Path) -> None:
    """Blocks reach into the future then."""
    store = store_in(tmp_path)
    for hour in range(24 * 3):
        store.write(closing(T0 + 30 * 86_400 + 3600 * hour, 1))
    for minute in range(1, 101):
        store.write(closing(T0 + 60 * minute, 1))
    past = store.ratings(PastQuery("web", ACR5, T0, T0 + 6000, 60))
    assert past.observations.sum() == 100 - BEHIND, "the first may be a replay"
    store.close()


def test_a_group_takes_one_number_however_long_it_is_seen(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for hour in range(50):
        store.write(closing(T0 + 3600 * hour, 10))
    store.write(closing(T0 + 3600 * 50, 11))
    with store._reading() as database:
        numbers = [number for (number,) in database.execute("SELECT id FROM labels ORDER BY id")]
    assert numbers == list(range(1, 12))
    store.close()


def test_numbers_that_are_far_apart_cost_no_memory(tmp_path: Path) -> None:
    """As versions before this one gave them. Rows of groups that are not known any more are left out."""
    store = store_in(tmp_path)
    store.write(closing(T0, 2))
    with store._reading() as database:
        database.execute("UPDATE sqlite_sequence SET seq = 1000000000 WHERE name = 'labels'")
    store.write(closing(T0 + 60, 4))
    tracemalloc.start()
    past = store.ratings(PastQuery("web", ACR5, T0 - 60, T0 + 60, 60, LABELS))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert past.series == tuple((f"region {number}", "a") for number in range(4))
    assert past.observations.tolist() == [[1, 1], [1, 1], [0, 1], [0, 1]]
    with store._reading() as database:
        database.execute("DELETE FROM labels WHERE id IN (1, 1000000001)")
    past = store.ratings(PastQuery("web", ACR5, T0 - 60, T0 + 60, 60, LABELS))
    assert past.observations.tolist() == [[1, 1], [0, 1]]
    store.close()


def test_groups_keep_their_numbers_over_restarts_and_lose_them_when_nothing_of_them_is_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path, 3600)
    store.write(closing(T0, 3))
    store.close()
    store = store_in(tmp_path, 3600)
    store.write(closing(T0 + 60, 3))
    both = store.ratings(PastQuery("web", ACR5, T0 - 60, T0 + 60, 120, LABELS))
    assert both.series == tuple((f"region {number}", "a") for number in range(3))
    assert both.observations.tolist() == [[2], [2], [2]]
    for minute in range(4 * 60):
        store.write(closing(T0 + 120 + 60 * minute, 1))
    now = store.ratings(PastQuery("web", ACR5, by=LABELS))
    assert now.series == (("region 0", "a"),)
    with store._reading() as database:
        assert database.execute("SELECT count(*) FROM labels").fetchone() == (1,)
    store.close()


def test_ratings_on_another_scale_are_not_added_up(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(closing(T0, 2))
    store.close()
    store = store_in(tmp_path)
    store.write(closing(T0 + 60, 2))
    other = store.ratings(PastQuery("web", replace(ACR5, good=5), T0 - 60, T0 + 60, 60))
    assert other.series == ()
    store.close()


def test_steps_that_are_too_many_or_no_multiple_are_refused_with_one_that_is_possible(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for end_s in (T0, T0 + 86_400):
        store.write(closing(end_s, 100))
    day = PastQuery("web", ACR5, T0 - 60, T0 + 86_400, 60)
    with pytest.raises(PastError, match="multiple of 60s, the resolution of this range: use step=300s"):
        store.ratings(replace(day, step_s=90))
    assert len(store.ratings(day).times_s) == 1441 <= MOST_POINTS
    with pytest.raises(PastError, match=f"100 series of 1441 points are 144100, at most {MOST_CELLS}"):
        store.ratings(replace(day, by=("region",)))
    automatic = store.ratings(replace(day, by=("region",), step_s=None))
    assert automatic.step_s == 300
    assert automatic.observations.shape == (100, 289)
    store.close()


def test_without_data_there_are_no_series_and_without_rows_no_times() -> None:
    store = store_in(None)
    empty = store.ratings(PastQuery("web", ACR5))
    assert (empty.series, empty.times_s, empty.kept.newest_s) == ((), [], None)
    store.write(closing(T0, 1))
    assert store.ratings(PastQuery("video", ACR5)).series == ()
    ahead = store.ratings(PastQuery("web", ACR5, T0 + 3600, T0 + 7200))
    assert (ahead.series, ahead.times_s) == ((), [])
    store.close()


def test_in_memory_the_last_hour_is_kept() -> None:
    store = store_in(None)
    for minute in range(200):
        store.write(closing(T0 + 60 * minute, 1))
    kept = store.kept()
    assert (kept.kept_s, kept.fine_s) == (MEMORY_S, MEMORY_S)
    assert kept.oldest_s == T0 + 60 * 199 - MEMORY_S
    store.close()


def test_a_damaged_file_is_set_aside_and_a_new_history_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.sqlite3").write_bytes(b"this is no database, but a text of some length" * 100)
    store = store_in(tmp_path)
    with pytest.raises(OSError, match="not a database"):
        store.write(closing(T0, 1))
    store.write(closing(T0, 1))
    assert store.ratings(PastQuery("web", ACR5)).observations.sum() == 1
    assert len(list(tmp_path.glob("history.sqlite3.corrupt-*"))) == 1
    assert "cannot be read" in caplog.text
    store.close()


def test_rows_come_back_as_they_were_packed() -> None:
    rng = np.random.default_rng(1)
    group = np.unique(rng.integers(1, 5000, 300))
    values = rng.integers(0, 2**40, (len(group), 12))
    links = np.column_stack([np.arange(40), rng.integers(60, 3600, 40), rng.integers(1, 9, 40)])
    squares, pairs = rng.integers(0, 2**30, len(group)), links + 1
    full, none = Rows(group, values, links, squares, pairs), (group, values, links, squares, pairs)
    for rows in (full, Rows(*(column[:0] for column in none)), full._replace(pairs=pairs[:0])):
        again = unpack(pack(rows))
        assert all(np.array_equal(one, other) for one, other in zip(rows, again, strict=True))
    for damaged in (b"", b"short", pack(full)[:-20]):
        with pytest.raises(DamagedError):
            unpack(damaged)


def test_rows_of_an_earlier_version_have_no_squares() -> None:
    """They end with the links: their bounds count sessions."""
    group, values, links = np.array([3, 9]), np.arange(24).reshape(2, 12), np.array([[1, 60, 5]])
    numbers = np.concatenate([np.diff(group, prepend=0), values.T.ravel(), links.T.ravel()])
    planes = np.ascontiguousarray(numbers.astype("<i8").view(np.uint8).reshape(-1, 8).T)
    rows = unpack(struct.pack("<III", 2, 12, 1) + zlib.compress(planes.tobytes()))
    assert all(np.array_equal(one, other) for one, other in zip(rows[:3], (group, values, links), strict=True))
    assert (rows.squares.tolist(), rows.pairs.tolist()) == ([0, 0], [])


def alert(fired_s: int, ended_s: int | None = None, peak: float = 0.5, **more: object) -> PastAlert:
    ended = None if ended_s is None else "recovered"
    numbers = {"threshold": 0.25, "recovery": 0.18, "value": 0.4, "users": 100}
    told = {"began_s": fired_s - 180, "fired_s": fired_s, "ended_s": ended_s, "reason": "past_threshold"}
    rest = {"alert": "Poor", "service": "web", "labels": {"cdn": "a"}, "severity": "page", "metric": "pow"}
    return PastAlert(**{**rest, **numbers, **told, "ended_reason": ended, "peak": peak, **more})


def test_past_alerts_survive_a_restart_with_their_reasons_and_peaks(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(Written(T0, LABELS, (), (alert(T0),), ()))
    store.write(Written(T0 + 60, LABELS, (), (alert(T0, peak=0.9),), ()))
    store.close()
    store = store_in(tmp_path)
    # The process knows only the peak since its start; and the tick before the crash is replayed.
    store.write(Written(T0, LABELS, (), (alert(T0),), ()))
    store.write(Written(T0 + 120, LABELS, (), (), (alert(T0, T0 + 120, peak=0.3),)))
    store.write(Written(T0 + 600, LABELS, (), (alert(T0 + 600, alert="Other"),), ()))
    past = store.alerts(T0, T0 + 600, None)
    assert past.alerts == (alert(T0 + 600, alert="Other"), alert(T0, T0 + 120, peak=0.9))
    assert store.alerts(T0 + 121, T0 + 599, None).alerts == ()
    assert store.alerts(T0 + 60, T0 + 61, "web").alerts[0].ended_s == T0 + 120
    assert store.alerts(T0, T0 + 600, "video").alerts == ()
    store.close()


def test_an_alert_that_the_daemon_no_longer_knows_is_ended_at_the_next_close(tmp_path: Path) -> None:
    """But not by the replay of a close from before it fired."""
    store = store_in(tmp_path)
    store.write(Written(T0 + 30, LABELS, (), (alert(T0 + 30),), ()))
    store.write(closing(T0, 1))
    assert store.alerts(0, T0 + 60, None).alerts[0].ended_s is None
    store.write(closing(T0 + 60, 1))
    ended = store.alerts(0, T0 + 60, None).alerts[0]
    assert (ended.ended_s, ended.ended_reason) == (T0 + 60, "reset")
    store.close()
