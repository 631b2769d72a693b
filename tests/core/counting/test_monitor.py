"""The daemon minus its I/O: outages, clocks, gaps, restarts."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import Event
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.plan.plan import Clock, Counters, Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.qoe.mapping import MEDIA_STALL, TABLE, VIDEO_STALL, QosMapping
from qoemon.core.qoe.scale import Scale
from qoemon.core.wire.batch import Batch
from tests.support.core import (
    MEDIA,
    T0,
    VIDEO,
    WEB,
    WINDOWS_S,
    OneShard,
    base,
    batch,
    levels,
    plan,
    responses,
    same_tally,
)
from tests.support.oracle import Said, bin_of, level_of
from tests.support.streams import FEW, FEWER, Step, streams

EU = ("eu",)
YEAR_S = 365 * 86_400
REPORT_CLOCK = {"clock": Clock.REPORT}


def said(session: str, at_s: float, **counters: object) -> Said:
    return Said(**{"session": session, "at_ms": T0 * 1000 + round(at_s * 1000), **counters})


def hear(monitor: OneShard, *reports: Said, arrival_s: float | None = None) -> None:
    """Apply them at their time; arrival_s after T0 where it differs from what they say."""
    columns = batch(reports)
    if arrival_s is not None:
        columns = replace(columns, ts_s=columns.arrival_s, arrival_s=np.full(len(columns), T0 + arrival_s))
    monitor.apply(columns, float(columns.arrival_s.max()))


def one(n: int, t_ms: int, p_ms: int) -> Counter:
    return Counter({(EU, *bin_of(n, t_ms, p_ms)): 1})


def same_now(a: OneShard, b: OneShard, now_s: float) -> bool:
    return all(same_tally(x, y) for x, y in zip(a.counts(now_s), b.counts(now_s), strict=True))


def bits(distribution: Distribution) -> list[bytes]:
    return [getattr(distribution, field.name).tobytes() for field in fields(distribution)]


def audience(monitor: OneShard, size: int, until_s: int) -> None:
    """Viewers without a stall, each with a report every 10 s."""
    for at_s in range(1, until_s, 10):
        hear(monitor, *(said(f"v{i}", at_s, stalls=0, stall_ms=0, play_ms=at_s * 1000) for i in range(size)))


def test_in_a_total_outage_poor_or_worse_rises_at_once_and_stays_until_the_timeout() -> None:
    """All clients stop reporting during a stall, so its end is never reported: the most important case."""
    monitor = OneShard(plan(VIDEO))
    audience(monitor, 50, 121)
    before = monitor.snapshot(T0 + 120).services[0].distributions[60].pow[0]
    hear(monitor, *(said(f"v{i}", 123, stalls=1, stall_ms=0, play_ms=121_000, stalled=True) for i in range(50)))
    poor = [monitor.snapshot(T0 + at_s).services[0].distributions[60].pow[0] for at_s in range(130, 430, 10)]
    assert before < 0.01
    assert poor[1] > before + 0.25
    assert np.all(np.diff(poor) >= 0)
    assert poor[-1] == pytest.approx(0.8915, abs=5e-5)
    service = monitor.snapshot(T0 + 420).services[0]
    assert (service.counts.open_stalls.tolist(), service.counts.oldest_stall_s.tolist()) == ([50], [297])
    empty = monitor.snapshot(T0 + 440)
    assert empty.services[0].distributions[60].observations.tolist() == [0]
    assert empty.services[0].counts.active_sessions.tolist() == [0]
    assert (empty.sessions, empty.events[Event.EXPIRED]) == (0, 50)


def test_silence_without_a_stall_just_leaves() -> None:
    monitor = OneShard(plan(VIDEO))
    audience(monitor, 5, 60)
    assert base(monitor, T0 + 60).total() == 5
    # The newest 10 s of playing are 41..51: the interval 40..100 has 11 s of it, 50..110 has 1 s, too little.
    assert [base(monitor, T0 + at_s).total() for at_s in (70, 100, 110, 120)] == [5, 5, 0, 0]
    assert monitor.sessions == 5


def test_a_snapshot_covers_what_was_reported_before_its_tick() -> None:
    monitor = OneShard(plan(VIDEO))
    hear(monitor, said("a", 9.999, play_ms=10_000), said("b", 9.999, play_ms=10_000))
    hear(monitor, said("c", 10, play_ms=10_000))
    assert base(monitor, T0 + 19.999).total() == 2
    assert base(monitor, T0 + 20).total() == 3
    assert monitor.snapshot(T0 + 29.9).time_s == T0 + 20


def test_each_session_counts_once_per_interval_in_the_longer_windows() -> None:
    monitor = OneShard(plan(VIDEO))
    audience(monitor, 3, 300)
    (total,) = monitor.counts(T0 + 300)
    assert [total.windows[length].sum() for length in WINDOWS_S] == [3, 15, 15]
    (total,) = monitor.counts(T0 + 349)
    assert [total.windows[length].sum() for length in WINDOWS_S] == [3, 15, 15]
    (total,) = monitor.counts(T0 + 360)
    assert [total.windows[length].sum() for length in WINDOWS_S] == [0, 12, 15]


def test_expected_ratings_grow_by_every_session_at_each_close() -> None:
    monitor = OneShard(plan(VIDEO))
    audience(monitor, 3, 300)
    (total,) = monitor.counts(T0 + 299)
    assert total.expected_ratings.sum() == pytest.approx(12, abs=1e-9)
    (total,) = monitor.counts(T0 + 300)
    assert total.expected_ratings[0].tolist() == pytest.approx([0, 0, 0, 0, 15], abs=1e-9)
    assert [axis.sum() for axis in total.marginals] == [15, 15]


@FEWER
@given(streams())
def test_an_emptied_monitor_equals_a_fresh_one_bit_for_bit(steps: list[Step]) -> None:
    monitor, fresh = OneShard(plan(VIDEO, WEB)), OneShard(plan(VIDEO, WEB))
    for now_ms, reports in steps:
        monitor.apply(batch(reports), now_ms / 1000)
        monitor.apply(responses(now_ms / 1000, [0.5], seq=now_ms), now_ms / 1000)
    now_s = steps[-1][0] / 1000 + 300 + 600 + 120
    used = monitor.snapshot(now_s)
    for group in used.services[0].counts.groups:
        fresh.apply(batch([said("x", 0, group=group)]), T0)
    fresh.apply(responses(T0, []), T0)
    new = fresh.snapshot(now_s)
    assert used.sessions == 0
    for mine, theirs in zip(used.services, new.services, strict=True):
        assert mine.counts.groups == theirs.counts.groups
        for length in WINDOWS_S:
            assert mine.counts.windows[length].tobytes() == theirs.counts.windows[length].tobytes()
            assert bits(mine.distributions[length]) == bits(theirs.distributions[length])
            assert not mine.counts.windows[length].any()
        for column in ("qos", "active_sessions", "open_stalls", "oldest_stall_s"):
            assert not getattr(mine.counts, column).any(), column
        assert not mine.visible.any()


@contextlib.contextmanager
def counting_calls() -> Iterator[Counter[str]]:
    """Counts calls of Python functions, by name."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        calls[frame.f_code.co_name] += event == "call"

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def test_a_gap_of_a_year_is_passed_quickly_and_leaves_nothing() -> None:
    monitor = OneShard(plan(VIDEO, WEB, timing={"windows_s": (60, 300, 86_400)}))
    audience(monitor, 20, 300)
    hear(monitor, *(said(f"v{i}", 301, stalls=1, stall_ms=0, play_ms=300_000, stalled=True) for i in range(20)))
    monitor.apply(responses(T0 + 302, [1.0, 2.0]), T0 + 302)
    with counting_calls() as calls:
        tallies = monitor.counts(T0 + YEAR_S)
    assert calls.total() < YEAR_S / 10, "a call for each tick of the year"
    assert not any(counts.any() for tally in tallies for counts in (*tally.windows.values(), tally.qos))
    assert (monitor.sessions, tallies[0].open_stalls.tolist()) == (0, [0])
    hear(monitor, said("new", YEAR_S + 1, play_ms=9_000))
    assert base(monitor, T0 + YEAR_S + 10) == one(0, 0, 9_000)


@pytest.mark.parametrize("gap_s", [400, 430, 1_000, 1_200, 4_000])
def test_a_gap_changes_what_steps_through_it_would(gap_s: int) -> None:
    """Skipped ticks are those without any effect."""
    stepped, leapt = OneShard(plan(VIDEO)), OneShard(plan(VIDEO))
    for monitor in (stepped, leapt):
        audience(monitor, 3, 130)
        hear(monitor, said("v0", 131, stalls=1, stall_ms=0, play_ms=130_000, stalled=True))
    for at_s in range(140, 140 + gap_s, 10):
        stepped.counts(T0 + at_s)
    for at_s in (140 + gap_s, 200 + gap_s, 800 + gap_s):
        assert same_now(stepped, leapt, T0 + at_s)


def test_a_clock_set_back_an_hour_crashes_nothing_and_leaves_the_windows_working() -> None:
    """Ticks stop until the clock has caught up; reports in between count, and later nothing has changed."""
    monitor = OneShard(plan(VIDEO))
    audience(monitor, 4, 121)
    monitor.counts(T0 + 130)
    for at_s in range(-3_480, 120, 10):
        hear(monitor, *(said(f"v{i}", at_s, play_ms=3_601_000 + at_s * 1000) for i in range(4)))
        snapshot = monitor.snapshot(T0 + at_s)
        assert snapshot.time_s == T0 + 130
        assert (snapshot.sessions, snapshot.services[0].counts.active_sessions.tolist()) == (4, [4])
    for at_s in range(131, 200, 10):
        hear(monitor, *(said(f"v{i}", at_s, play_ms=3_601_000 + at_s * 1000) for i in range(4)))
    assert base(monitor, T0 + 200) == Counter({(EU, 0, 0): 4})
    assert base(monitor, T0 + 260) == Counter()
    assert monitor.snapshot(T0 + 260).events.get(Event.RESET, 0) == 0


def test_what_arrives_while_the_clock_stands_still_happens_now() -> None:
    monitor = OneShard(plan(VIDEO))
    monitor.counts(T0 + 130)
    hear(monitor, said("a", -3_000, stalls=1, stall_ms=2_000, play_ms=10_000))
    assert base(monitor, T0 + 140) == one(1, 2_000, 10_000)
    assert monitor.snapshot(T0 + 140).events[Event.LATE] == 0


@FEW
@given(
    st.lists(
        st.tuples(*[st.integers(-4_000, 4_000)] * 3, st.integers(0, 3), st.booleans(), st.booleans()),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from(Clock),
)
def test_no_order_of_clocks_crashes_or_invents_sessions(
    told: list[tuple[int, int, int, int, bool, bool]], clock: Clock
) -> None:
    """With arbitrary steps of the daemon's clock, arrival times and clients' clocks, forwards and backwards."""
    monitor = OneShard(plan(VIDEO, timing={"clock": clock}))
    for seq, (now_s, arrival_s, ts, who, stalled, end) in enumerate(told):
        counters = {"stalls": seq, "stall_ms": seq * 2_000, "play_ms": seq * 7_000}
        columns = batch([said(f"s{who}", ts, stalled=stalled, end=end, seq=seq, **counters)])
        columns = replace(columns, ts_s=columns.arrival_s, arrival_s=np.array([float(T0 + arrival_s)]))
        monitor.apply(columns, T0 + now_s)
        snapshot = monitor.snapshot(T0 + now_s)
        (total,) = (service.counts for service in snapshot.services)
        assert total.qos.min() >= 0
        assert total.qos.sum() == total.windows[60].sum() <= 4
        assert snapshot.sessions <= 4
        assert np.all((total.oldest_stall_s >= 0) & (total.open_stalls <= total.active_sessions))
    last_s = T0 + 5_000
    assert monitor.counts(last_s)[0].windows[600].sum() == 0


def test_by_the_clock_of_reports_a_late_one_counts_in_the_interval_of_its_time_and_moves_the_baseline() -> None:
    """In 61..120 s it had 4 stalls, stalled for 12 s and played for 47 s: that is in 60..120, which has closed."""
    monitor = OneShard(plan(VIDEO, timing=REPORT_CLOCK))
    hear(monitor, said("a", 61, seq=1, stalls=1, stall_ms=0, play_ms=0, stalled=True), arrival_s=61)
    hear(monitor, said("a", 61, seq=2, stalls=1, stall_ms=1, play_ms=0), arrival_s=62)
    hear(monitor, said("a", 120, seq=3, stalls=5, stall_ms=12_001, play_ms=47_000), arrival_s=200)
    assert base(monitor, T0 + 210) == one(4, 12_000, 47_000)  # Kept, as it pauses for a minute.
    assert monitor.snapshot(T0 + 210).events[Event.LATE] == 1
    hear(monitor, said("a", 205, seq=4, stalls=6, stall_ms=14_001, play_ms=57_000), arrival_s=211)
    (tally,) = monitor.counts(T0 + 240)
    # What follows is spread over 120..205; 120..180 has closed, too.
    late = Counter({(EU, level_of(4, 12_000, 47_000)): 1, (EU, level_of(1, 2_000, 10_000)): 1})
    assert levels(tally, 300) - levels(tally, 60) == late
    assert monitor.snapshot(T0 + 240).events[Event.LATE] == 1


@pytest.mark.parametrize(
    ("ts", "late", "counted"), [(155, 0, 1), (154.999, 0, 0), (150, 0, 0), (149.999, 1, 0), (-1e6, 1, 0)]
)
def test_late_is_what_no_base_window_to_come_covers(ts: float, late: int, counted: int) -> None:
    """In tick 200..210 the next window is [150, 210). Of the 10 s that were played before ts, it needs 5 s."""
    monitor = OneShard(plan(VIDEO, timing=REPORT_CLOCK))
    hear(monitor, said("a", ts, play_ms=10_000), arrival_s=205)
    assert base(monitor, T0 + 210).total() == counted
    assert monitor.snapshot(T0 + 210).events[Event.LATE] == late


def test_a_report_from_the_future_is_taken_as_now_and_counted() -> None:
    monitor = OneShard(plan(VIDEO, timing=REPORT_CLOCK))
    hear(monitor, said("a", 9_999, stalls=1, stall_ms=2_000, play_ms=10_000, stalled=True), arrival_s=5)
    assert base(monitor, T0 + 10) == one(1, 7_000, 10_000)
    assert monitor.snapshot(T0 + 10).events[Event.AHEAD] == 1


def test_a_report_of_long_ago_does_not_end_its_session() -> None:
    """The timestamp is that of the measurement; the session is active because the report has just arrived."""
    monitor = OneShard(plan(VIDEO, timing=REPORT_CLOCK))
    hear(monitor, said("a", 200, seq=1, stalls=1, stall_ms=1_000, play_ms=10_000, stalled=True), arrival_s=200)
    hear(monitor, said("a", -150, seq=2, stalls=1, stall_ms=1_000, play_ms=10_000, stalled=True), arrival_s=201)
    assert base(monitor, T0 + 210) == one(1, 11_000, 10_000)
    assert monitor.snapshot(T0 + 210).sessions == 1


def test_by_the_clock_of_reports_ts_places_what_it_tells() -> None:
    monitor = OneShard(plan(VIDEO, timing=REPORT_CLOCK))
    # It was played in 2..12.
    hear(monitor, said("a", 12, play_ms=10_000), arrival_s=55)
    assert base(monitor, T0 + 60) == one(0, 0, 10_000)
    assert base(monitor, T0 + 70) == Counter()


def test_by_the_clock_of_arrival_ts_means_nothing() -> None:
    monitor = OneShard(plan(VIDEO))
    hear(monitor, said("a", -1e6, play_ms=10_000), said("b", 1e6, play_ms=10_000), arrival_s=5)
    assert base(monitor, T0 + 10).total() == 2
    events = monitor.snapshot(T0 + 10).events
    assert (events[Event.LATE], events[Event.AHEAD]) == (0, 0)


def test_services_do_not_mix() -> None:
    """The same session id, in one batch, under two services."""
    monitor = OneShard(plan(VIDEO, WEB))
    video, web = batch([said("a", 5, play_ms=10_000)]), responses(T0 + 5, [1.0, 2.0], session="a")
    both = Batch(
        routes=video.routes + web.routes,
        session=[*video.session, *web.session],
        response_of=web.response_of + 1,
        response_s=web.response_s,
        measures={},
        **{
            name: np.append(getattr(video, name), getattr(web, name) + (name == "route"))
            for name in ("route", "seq", "arrival_s", "ts_s", "stalls", "stall_ms", "play_ms")
        },
        **{name: np.append(getattr(video, name), getattr(web, name)) for name in ("stalled", "end")},
    )
    monitor.apply(both, T0 + 5)
    stalls, waits = monitor.counts(T0 + 10)
    assert (stalls.windows[60].sum(), waits.windows[60].sum(), monitor.sessions) == (1, 2, 2)
    assert monitor.snapshot(T0 + 10).events[Event.REPORT] == 2


def test_a_constant_of_zero_means_that_its_axis_does_not_matter() -> None:
    """Also if nothing was played, and the condition is infinite."""
    deaf = replace(VIDEO, mapping=VIDEO_STALL.with_parameters({"count": 0}))
    monitor = OneShard(plan(deaf))
    hear(monitor, said("a", 5, stalls=3, stall_ms=8_000, play_ms=0))
    hear(monitor, said("b", 5, stalls=9, stall_ms=10_000, play_ms=20_000))
    played = round((0.5 + 3.5 * math.exp(-4.5 / 60 * 30)) / 0.005)
    assert levels(monitor.counts(T0 + 10)[0], 60) == Counter({(EU, 100): 1, (EU, played): 1})


def saved(monitor: OneShard) -> dict[str, np.ndarray]:
    """Its state, written to a file without pickle and read back."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **monitor.dump())
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded)


@FEWER
@given(
    streams(clients=5, measured=True),
    st.integers(0, 14),
    st.sampled_from([VIDEO, replace(VIDEO, counters=Counters.DELTA), MEDIA]),
)
def test_a_restart_at_any_moment_changes_no_bit(steps: list[Step], at: int, service: Service) -> None:
    whole = OneShard(plan(service, WEB))
    resumed = OneShard(plan(service, WEB))
    for step, (now_ms, reports) in enumerate([*steps, (steps[-1][0] + 60_000, []), (steps[-1][0] + 700_000, [])]):
        if step == min(at, len(steps)):
            state, resumed = saved(resumed), OneShard(plan(service, WEB))
            resumed.load(state)
        now_s = now_ms / 1000
        for monitor in (whole, resumed):
            monitor.apply(batch(reports), now_s)
            monitor.apply(responses(now_s, [0.1 * step, 2.0], session=f"w{step % 3}", seq=step), now_s)
        assert same_now(whole, resumed, now_s)
    one_of, other = whole.snapshot(now_s), resumed.snapshot(now_s)
    assert (one_of.events, one_of.sessions, one_of.time_s) == (other.events, other.sessions, other.time_s)
    for mine, theirs in zip(one_of.services, other.services, strict=True):
        for length in WINDOWS_S:
            assert bits(mine.distributions[length]) == bits(theirs.distributions[length])


def test_a_monitor_that_has_seen_nothing_can_be_dumped_and_loaded() -> None:
    loaded = OneShard(plan())
    loaded.load(saved(OneShard(plan())))
    hear(loaded, said("a", 5, play_ms=10_000))
    assert base(loaded, T0 + 10) == one(0, 0, 10_000)


def test_a_dump_does_not_change_with_the_monitor() -> None:
    monitor = OneShard(plan())
    audience(monitor, 3, 130)
    state = monitor.dump()
    copies = {name: array.copy() for name, array in state.items()}
    hear(monitor, *(said(f"v{i}", 135, stalls=2, stall_ms=5_000, play_ms=135_000, group=("us",)) for i in range(9)))
    monitor.counts(T0 + 300)
    assert all(state[name].tobytes() == array.tobytes() for name, array in copies.items())


OTHER_PLANS: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "tick": (lambda p: replace(p, timing=replace(p.timing, tick_s=20)), "timing"),
    "windows": (lambda p: replace(p, timing=replace(p.timing, windows_s=(60, 300))), "timing"),
    "labels": (lambda p: replace(p, labels=("cdn",)), "labels"),
}

OTHER_SERVICES: dict[str, tuple[tuple[Service, ...], tuple[str, ...]]] = {
    "one is gone": ((VIDEO,), ()),
    "one is new": ((VIDEO, WEB, replace(VIDEO, name="live")), ()),
    "counters": ((replace(VIDEO, counters=Counters.DELTA), WEB), ("video",)),
    "quality": ((MEDIA, WEB), ("video",)),
    "qos": ((VIDEO, replace(VIDEO, name="web")), ("web",)),
    "ratings": ((VIDEO, replace(WEB, scale=Scale(1, 6, 5, 2))), ("web",)),
}


@pytest.mark.parametrize("what", OTHER_PLANS)
def test_a_state_of_another_plan_is_refused_with_words(what: str) -> None:
    change, differ = OTHER_PLANS[what]
    monitor = OneShard(plan())
    audience(monitor, 2, 130)
    other = OneShard(change(plan()))
    with pytest.raises(IncompatibleStateError, match=rf"another configuration: {differ} differ"):
        other.load(saved(monitor))


@pytest.mark.parametrize("what", OTHER_SERVICES)
def test_services_that_are_judged_otherwise_begin_anew_and_the_others_go_on(what: str) -> None:
    services, reset = OTHER_SERVICES[what]
    monitor = OneShard(plan())
    audience(monitor, 2, 130)
    other = OneShard(replace(plan(), services=services))
    assert other.load(saved(monitor)) == reset
    before = {total.service: total for total in monitor.counts(T0 + 130)}
    for total in other.counts(T0 + 130):
        if total.service in reset or total.service not in before:
            assert total.groups == ()
        else:
            assert total.groups == before[total.service].groups
            assert all(np.array_equal(total.windows[w], before[total.service].windows[w]) for w in total.windows)
    audience(other, 5, 200)


@pytest.mark.parametrize("of", [lambda table: table, MEDIA_STALL.with_quality], ids=["mapping", "quality"])
def test_a_table_with_other_points_begins_anew(of: Callable[[QosMapping], QosMapping]) -> None:
    def through(*points: tuple[float, float]) -> Plan:
        return plan(Service("video", of(TABLE.with_inputs(["q"]).with_points(points)), 0.3))

    monitor = OneShard(through((1, 1), (5, 5)))
    audience(monitor, 2, 130)
    state = saved(monitor)
    assert OneShard(through((5, 5), (1, 1))).load(state) == ()
    for other in (((1, 1), (5, 4)), ((1, 1), (6, 5)), ((1, 1), (3, 2), (5, 5))):
        assert OneShard(through(*other)).load(state) == ("video",)


@pytest.mark.parametrize("by_s", [-3600, -60, 60, 86_400])
def test_moved_in_time_it_says_later_what_it_would_have_said(by_s: int) -> None:
    """The same reports with times moved, applied to a OneShard that was shifted in between."""
    still, moved = OneShard(plan()), OneShard(plan())
    audience(still, 2, 130)
    audience(moved, 2, 130)
    moved.shift(by_s)
    for at_s in range(130, 400, 10):
        here, there = still.counts(T0 + at_s), moved.counts(T0 + at_s + by_s)
        for one, other in zip(here, there, strict=True):
            assert np.array_equal(one.active_sessions, other.active_sessions)
            assert np.array_equal(one.oldest_stall_s, other.oldest_stall_s)
            assert all(np.array_equal(one.windows[w], other.windows[w]) for w in one.windows)


def test_only_whole_rating_intervals_can_be_moved() -> None:
    with pytest.raises(ValueError, match="multiple of the rating interval, 60 s"):
        OneShard(plan()).shift(30)


@pytest.mark.parametrize(
    "harmless",
    [
        lambda p: replace(p, topics=(TopicTemplate("other/{service}/{region}"),)),
        lambda p: replace(p, quantiles=(0.5,)),
        lambda p: replace(p, services=(replace(VIDEO, theta=0.2), WEB)),
        lambda p: replace(p, timing=replace(p.timing, session_timeout_s=600)),
        lambda p: replace(p, timing=replace(p.timing, clock=Clock.REPORT)),
    ],
)
def test_a_state_survives_changes_that_leave_its_meaning(harmless: Callable[[Plan], Plan]) -> None:
    monitor = OneShard(plan())
    audience(monitor, 2, 130)
    other = OneShard(harmless(plan()))
    other.load(saved(monitor))
    assert base(other, T0 + 140) == base(monitor, T0 + 140)


def test_a_state_of_another_version_is_refused_with_words() -> None:
    state = saved(OneShard(plan()))
    meta: dict[str, Any] = json.loads(state["meta"].tobytes())
    meta["version"] = 99
    state["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with pytest.raises(IncompatibleStateError, match=r"version 99, this qoemon reads version \d+"):
        OneShard(plan()).load(state)


def test_timing_defaults_are_those_of_the_design() -> None:
    timing = Timing()
    assert (timing.tick_s, timing.interval_s, timing.session_timeout_s, timing.min_active_s) == (10, 60, 300, 5)
    assert timing.slices == 6


def test_a_new_run_for_which_there_is_no_room_is_refused_and_touches_no_other_session() -> None:
    """The table is full with a and b; a is loaded again, and reports twice in one batch."""
    monitor = OneShard(plan(VIDEO, sessions=2))
    hear(monitor, said("a", 5, seq=5, stalls=1, stall_ms=1000, play_ms=20_000), said("b", 5, seq=0, play_ms=5000))
    before = monitor.monitor.dump()
    hear(monitor, said("a", 15, seq=0, play_ms=2000, stall_ms=0, stalls=0), said("a", 15, seq=1, play_ms=9000))
    after = monitor.monitor.dump()
    for name in ("seq", "counters", "last_s", "credit_ms"):
        assert after[f"video/sessions/{name}"].tolist() == before[f"video/sessions/{name}"].tolist(), name
    assert monitor.events[Event.REFUSED] == 2
    assert monitor.events[Event.REPORT] == 2
