"""Quality and stalls at once: by hand, against a computation of every session, over shards and restarts."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.quality import UNMEASURED
from qoemon.core.plan.plan import Clock, Counters, Service
from qoemon.core.qoe.mapping import LOGISTIC, MEDIA_STALL, TABLE
from tests.support.core import MEDIA, T0, VIDEO, WINDOWS_S, OneShard, batch, levels, plan, same_tally
from tests.support.oracle import QUALITY_PARTS, Mixture, Said, media_mos
from tests.support.streams import FEWER, Step, streams

ALWAYS_5 = Service("video", MEDIA_STALL.with_quality(TABLE.with_inputs(["q"]).with_points([(0, 5), (9, 5)])), 0.3)


def parts(mos: float) -> int:
    return round((mos - 1) / 4 * QUALITY_PARTS)


def heard(monitor: OneShard, at_s: float, q: float | None = None, **counters: object) -> None:
    """One report of session a, at at_s after T0; q is its quality as MOS."""
    at_ms = T0 * 1000 + round(at_s * 1000)
    said = Said(**{"session": "a", "at_ms": at_ms, "stalls": 0, "stall_ms": 0, **counters})
    said = Said(**{**vars(said), "quality": None if q is None else parts(q)})
    monitor.apply(batch([said]), at_ms / 1000)


def mos(monitor: OneShard, at_s: float, window_s: int = 60) -> float:
    service = monitor.snapshot(T0 + at_s).services[0]
    return float(service.distributions[window_s].mos[0])


@pytest.fixture
def monitor() -> OneShard:
    return OneShard(plan(MEDIA))


def test_quality_is_weighted_by_what_each_report_played(monitor: OneShard) -> None:
    heard(monitor, 0, play_ms=0)
    heard(monitor, 10, 2.0, play_ms=10_000)
    heard(monitor, 40, 4.0, play_ms=40_000)
    assert mos(monitor, 50) == pytest.approx((10 * 2 + 30 * 4) / 40, abs=0.005)


def test_time_of_reports_without_measures_does_not_weigh(monitor: OneShard) -> None:
    heard(monitor, 0, play_ms=0)
    heard(monitor, 10, 2.0, play_ms=10_000)
    heard(monitor, 40, play_ms=40_000)
    heard(monitor, 45, 4.0, play_ms=45_000)
    assert mos(monitor, 50) == pytest.approx((10 * 2 + 5 * 4) / 15, abs=0.005)


def test_the_last_quality_holds_in_an_interval_without_measures(monitor: OneShard) -> None:
    heard(monitor, 0, play_ms=0)
    heard(monitor, 5, 3.2, play_ms=5_000)
    for at_s in range(15, 120, 10):
        heard(monitor, at_s, play_ms=at_s * 1000)
    assert mos(monitor, 120) == pytest.approx(3.2, abs=0.003)


def test_stalls_lower_the_quality(monitor: OneShard) -> None:
    heard(monitor, 0, play_ms=0)
    heard(monitor, 50, 4.2, stalls=2, stall_ms=8_000, play_ms=40_000)
    assert mos(monitor, 60) == pytest.approx(media_mos(4.2, 2 * 60 / 40, 8 * 60 / 40), abs=0.003)


def test_media_that_stands_still_is_worst_whatever_it_looked_like(monitor: OneShard) -> None:
    heard(monitor, 5, 5.0, stalls=1, stall_ms=5_000, play_ms=0)
    assert mos(monitor, 10) == pytest.approx(1.5)


def test_a_session_without_measures_is_not_rated_and_counted(monitor: OneShard) -> None:
    heard(monitor, 0, play_ms=0)
    heard(monitor, 30, stalls=1, stall_ms=3_000, play_ms=27_000)
    (total,) = monitor.counts(T0 + 60)
    assert levels(total, 60) == levels(total, 300) == Counter()
    assert total.quality[0, UNMEASURED] == 1
    assert total.active_sessions.tolist() == [1]
    heard(monitor, 70, 4.0, stalls=1, stall_ms=3_000, play_ms=67_000)
    (total,) = monitor.counts(T0 + 80)
    assert total.quality[0, UNMEASURED] == 0
    assert sum(levels(total, 60).values()) == 1


def test_an_older_report_does_not_replace_the_last_quality() -> None:
    late = OneShard(plan(Service("video", MEDIA.mapping, 0.3, counters=Counters.DELTA)))
    heard(late, 0, 5.0, seq=1, play_ms=0)
    heard(late, 30, 2.0, seq=3, play_ms=10_000)
    heard(late, 20, 5.0, seq=2, play_ms=0)
    heard(late, 100, seq=4, play_ms=50_000)
    assert mos(late, 120) == pytest.approx(2.0, abs=0.003)


def test_the_only_quality_holds_also_if_its_report_was_overtaken() -> None:
    late = OneShard(plan(Service("video", MEDIA.mapping, 0.3, counters=Counters.DELTA)))
    heard(late, 0, seq=1, play_ms=0)
    heard(late, 30, seq=3, play_ms=10_000)
    heard(late, 20, 2.0, seq=2, play_ms=0)
    heard(late, 100, seq=4, play_ms=50_000)
    assert mos(late, 120) == pytest.approx(2.0, abs=0.003)


@pytest.mark.parametrize("tick_s", [60, 300, 600])
def test_quality_is_that_of_the_whole_interval_in_long_ticks_too(tick_s: int) -> None:
    timing = {"tick_s": tick_s, "interval_s": 600, "windows_s": (600,), "session_timeout_s": 600}
    monitor = OneShard(plan(MEDIA, timing=timing))
    start_s = -T0 % 600  # where an interval begins
    heard(monitor, start_s, play_ms=0)
    for at_s, q in ((250, 2.0), (599, 4.0)):
        heard(monitor, start_s + at_s, q, play_ms=at_s * 1000)
    assert mos(monitor, start_s + 600, 600) == pytest.approx((250 * 2 + 349 * 4) / 599, abs=0.005)


def backlog() -> list[tuple[int, float | None]]:
    """Times and quality of reports: measures in the first and in the last minute only."""
    return [(at_s, {1: 2.0, 10: 2.0, 250: 5.0}.get(at_s)) for at_s in (1, *range(10, 260, 10))]


@pytest.mark.parametrize("together", [False, True])
def test_what_comes_late_has_the_quality_of_its_time(*, together: bool) -> None:
    """Minutes without measures: those that follow are not theirs, whether reports wait for a network or not."""
    monitor = OneShard(plan(MEDIA, timing={"clock": Clock.REPORT}))
    for at_s, q in backlog():
        now_s = T0 + (255 if together else at_s)
        told = None if q is None else parts(q)
        said = Said("a", now_s * 1000, seq=at_s, stalls=0, stall_ms=0, play_ms=at_s * 1000, quality=told)
        monitor.apply(replace(batch([said]), ts_s=np.array([T0 + at_s], np.float64)), now_s)
        monitor.snapshot(now_s)
    for at_s in (260, 300):
        (service,) = monitor.snapshot(T0 + at_s).services
        rated, last = service.distributions[300], at_s == 300
        assert rated.observations[0] == 4 + last
        assert rated.mos[0] == pytest.approx((4 * 2.0 + last * 5.0) / (4 + last), abs=0.005)


@FEWER
@given(streams())
def test_the_best_quality_gives_video_stall_bit_for_bit(steps: list[Step]) -> None:
    media, video = OneShard(plan(ALWAYS_5)), OneShard(plan(VIDEO))
    for now_ms, said in steps:
        now_s = now_ms / 1000
        if said:
            media.apply(batch([Said(**{**vars(each), "quality": 0}) for each in said]), now_s)
            video.apply(batch(said), now_s)
        for one, other in zip(media.snapshot(now_s).services, video.snapshot(now_s).services, strict=True):
            for length in WINDOWS_S:
                assert np.array_equal(one.counts.windows[length], other.counts.windows[length])
                for figure in ("mos", "sos", "gob", "pow"):
                    mine, theirs = (getattr(each.distributions[length], figure) for each in (one, other))
                    assert np.array_equal(mine, theirs, equal_nan=True)
            assert np.array_equal(one.counts.qos, other.counts.qos)
            assert np.array_equal(one.counts.expected_ratings, other.counts.expected_ratings)


@FEWER
@given(streams(measured=True), st.integers(0, 13))
def test_a_restart_changes_nothing(steps: list[Step], at: int) -> None:
    whole = restarted = OneShard(plan(MEDIA))
    for index, (now_ms, said) in enumerate([*steps, (steps[-1][0] + 90_000, [])]):
        if index == at and whole.tick is not None:
            state = whole.dump()
            restarted = OneShard(plan(MEDIA))
            assert restarted.load(state) == ()
        for each in {id(whole): whole, id(restarted): restarted}.values():
            if said:
                each.apply(batch(said), now_ms / 1000)
        assert same_tally(whole.counts(now_ms / 1000)[0], restarted.counts(now_ms / 1000)[0])


def test_poor_ratings_are_divided_by_the_exact_shapley_values(monitor: OneShard) -> None:
    """Of each session all six orders of the three factors, from the Betas of scipy."""
    conditions = [(2.2, 0, 0), (4.6, 3, 12), (3.0, 1, 4), (5.0, 0, 0), (1.8, 6, 20)]
    for number, (quality, stalls, stall_s) in enumerate(conditions):
        name = f"s{number}"
        heard(monitor, 0, play_ms=0, session=name)
        heard(monitor, 50, quality, stalls=stalls, stall_ms=stall_s * 1000, play_ms=30_000, session=name)
    service = monitor.snapshot(T0 + 60).services[0]
    assert service.factors == ("media_quality", "stall_count", "stall_time")
    expected = np.mean([_shapley(quality, 2 * n, 2 * t) for quality, n, t in conditions], axis=0)
    assert service.contributions[0] == pytest.approx(expected, abs=0.002)
    excess = service.distributions[60].pow[0] - _poor(5, 0, 0)
    assert service.contributions[0].sum() == pytest.approx(excess, abs=1e-12)
    assert service.quality_mos[0] == pytest.approx(np.mean([each[0] for each in conditions]), abs=1e-3)


def _shapley(*condition: float) -> list[float]:
    best, values = (5.0, 0.0, 0.0), [0.0, 0.0, 0.0]
    for order in permutations(range(3)):
        present = list(best)
        for factor in order:
            before = _poor(*present)
            present[factor] = condition[factor]
            values[factor] += (_poor(*present) - before) / 6
    return values


def _poor(quality: float, n: float, t: float) -> float:
    return Mixture([(media_mos(quality, n, t), 1)], MEDIA.theta).pow


def test_a_report_that_is_hardly_played_does_not_spoil_the_mean(monitor: OneShard) -> None:
    """A slice holds times and qualities of the same milliseconds, however a report is cut into slices."""
    rng = np.random.default_rng(3)
    at_s, played_ms, total, weight = 0.0, 0, 0.0, 0
    heard(monitor, 0, play_ms=0)
    while at_s < 55:
        more_ms = int(rng.choice([1, 7, 333, 4_001]))
        at_s += more_ms / 1000
        quality = 1 + 4 * int(rng.integers(0, QUALITY_PARTS + 1)) / QUALITY_PARTS
        played_ms += more_ms
        total, weight = total + quality * more_ms, weight + more_ms
        heard(monitor, at_s, quality, play_ms=played_ms)
    assert mos(monitor, 60) == pytest.approx(total / weight, abs=0.0035)


@pytest.mark.parametrize("seed", range(3))
def test_a_service_gives_what_every_session_by_itself_gives(seed: int) -> None:
    """Formula by formula, from what 300 viewers saw: MOS within .005 and shares within .002, in every window."""
    quality = LOGISTIC.with_inputs(["q"]).with_parameters({"floor": 1, "scale": 4, "slope": 1.3, "middle": 3})
    media = Service("video", MEDIA_STALL.with_quality(quality), 0.2)
    rng, service = np.random.default_rng(seed), OneShard(plan(media))
    reports, ratings = [], []
    for viewer in range(300):
        stalls = stall_ms = play_ms = 0
        for minute in range(5):
            seen = total = 0.0
            began = stalls, stall_ms, play_ms
            for at_s in range(minute * 60 + 10, minute * 60 + 70, 10):
                stalled_ms = int(rng.choice([0, 0, 0, 500, 3_000]))
                stalls, stall_ms = stalls + (stalled_ms > 0), stall_ms + stalled_ms
                play_ms += 10_000 - stalled_ms
                q = parts(float(rng.uniform(1, 5))) if rng.random() < 0.7 or at_s == 10 else None
                if q is not None:
                    shown = 1 + 4 / (1 + math.exp(-1.3 * (1 + 4 * q / QUALITY_PARTS - 3)))
                    seen, total = seen + (10_000 - stalled_ms), total + shown * (10_000 - stalled_ms)
                    last = shown
                at_ms = (T0 + at_s) * 1000 - 1
                reports.append(Said(f"v{viewer}", at_ms, ("eu",), None, stalls, stall_ms, play_ms, quality=q))
            n, t_ms, p_ms = stalls - began[0], stall_ms - began[1], play_ms - began[2]
            mean = total / seen if seen else last
            ratings.append((minute, media_mos(mean, n * 60_000 / p_ms, t_ms * 60 / p_ms)))
    reports.sort(key=lambda each: each.at_ms)
    for at_ms in sorted({each.at_ms for each in reports}):
        service.apply(batch([each for each in reports if each.at_ms == at_ms]), at_ms / 1000)
        service.evaluate(at_ms / 1000)
    snapshot = service.snapshot(T0 + 300)
    for length, first in ((60, 4), (300, 0)):
        found = snapshot.services[0].distributions[length]
        expected = Mixture([(mos, 1) for minute, mos in ratings if minute >= first], media.theta)
        assert found.observations[0] == 300 * (5 - first)
        assert found.mos[0] == pytest.approx(expected.mos, abs=0.005)
        assert (found.gob[0], found.pow[0]) == pytest.approx((expected.gob, expected.pow), abs=0.002)
