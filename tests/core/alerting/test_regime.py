"""Regimes and changes of PoW: detection, dating, and restarts."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qoemon.core.alerting.change_point import TRACK, DetectorRules, Interval
from qoemon.core.alerting.drift import COLUMNS as DRIFT
from qoemon.core.alerting.drift import DriftRules
from qoemon.core.alerting.regime import Reason, Regime, RegimeMonitor, RegimeRules, Regimes, Threshold
from qoemon.core.arrays import Floats

RULES = RegimeRules()
SHARE = 0.4
"""PoW of users with a stall."""


@dataclass
class Series:
    """PoW of groups, interval by interval, with a binomial number of stalled users."""

    rng: np.random.Generator
    at: int = 0

    def next(self, pow_: Floats, users: Floats) -> Interval:
        self.at += 1
        stalled = self.rng.binomial(users.astype(np.int64), np.clip(pow_ / SHARE, 0, 1))
        with np.errstate(invalid="ignore"):
            drawn = stalled / users * SHARE
        return Interval(drawn, drawn * SHARE, users, 60.0 * self.at)


def exact(at: int, *pow_: float, users: float = 1000) -> Interval:
    """An interval with exactly the given PoW."""
    values = np.array(pow_)
    return Interval(values, values * SHARE, np.full(len(pow_), users), 60.0 * at)


def reported(levels: list[float], rules: RegimeRules = RULES, users: float = 1000) -> list[Regimes]:
    monitor = RegimeMonitor(rules)
    return [monitor.close(exact(at + 1, level, users=users)) for at, level in enumerate(levels)]


def regimes(said: list[Regimes]) -> list[int]:
    return [int(each.regime[0]) for each in said]


def test_a_regime_is_entered_at_one_threshold_and_left_at_another():
    slow = [0.08] * 8 + [float(level) for level in np.geomspace(0.08, 0.22, 40)] + [0.22] * 10
    slow += [float(level) for level in np.geomspace(0.22, 0.12, 40)] + [0.12] * 20
    said = reported(slow)
    assert not any(each.direction.any() for each in said)
    assert regimes(said)[-1] == Regime.DEGRADED
    assert said[-1].reason[0] is Reason.WITHIN_HYSTERESIS
    entered = regimes(said).index(Regime.DEGRADED)
    assert slow[entered - RULES.dwell] >= RULES.degraded.threshold > slow[entered - RULES.dwell - 5]
    assert regimes(reported([*slow, *[0.09] * 20]))[-1] == Regime.GOOD


def test_a_creeping_level_moves_the_regime_only_after_the_dwell():
    calm = replace(RULES, detector=DetectorRules(limit=1e6, memory=1, hold=1e6))
    said = reported([0.05] * 10 + [0.2] * 20, calm)
    reasons = [each.reason[0] for each in said]
    moved = reasons.index(Reason.THRESHOLD_PASSED, 10)
    assert reasons[moved - RULES.dwell + 1 : moved] == [Reason.DWELL] * (RULES.dwell - 1)
    assert said[moved].moved[0]
    assert said[moved].since_s[0] == 60.0 * (moved + 1)
    assert not any(each.direction.any() for each in said)


def test_a_shorter_excursion_than_the_dwell_moves_nothing():
    calm = replace(RULES, detector=DetectorRules(limit=1e6, memory=1, hold=1e6))
    said = reported([0.05] * 10 + [0.2] * (RULES.dwell - 1) + [0.05] * 10, calm)
    assert set(regimes(said)) == {Regime.GOOD}


def test_a_jump_worsens_the_regime_at_once_and_is_dated():
    said = reported([0.05] * 20 + [0.35] * 3)
    assert said[20].direction[0] == 1
    assert regimes(said)[19:21] == [Regime.GOOD, Regime.BAD]
    assert said[20].reason[0] is Reason.CHANGE_DETECTED
    assert said[20].changed_s[0] == 60.0 * 20
    assert said[-1].changes.tolist() == [[1, 0]]


def test_recovery_is_counted_at_once_and_believed_after_the_dwell():
    said = reported([0.05] * 20 + [0.35] * 15 + [0.05] * 10)
    down = [at for at, each in enumerate(said) if each.direction[0] < 0]
    assert down == [35]
    assert said[35].changed_s[0] == 60.0 * 35
    assert regimes(said)[35 : 35 + RULES.dwell] == [Regime.BAD] * (RULES.dwell - 1) + [Regime.GOOD]


@pytest.mark.parametrize(("before", "after", "sign"), [(0.05, 0.15, 1), (0.15, 0.05, -1), (0.05, 0.3, 1)])
def test_steps_are_found_soon_and_dated_within_one_interval(before, after, sign):
    groups, at = 200, 40
    series, monitor = Series(np.random.default_rng(3)), RegimeMonitor(RULES)
    users, delay, began = np.full(groups, 300.0), np.full(groups, np.inf), np.full(groups, np.nan)
    for now in range(at + 12):
        said = monitor.close(series.next(np.full(groups, before if now < at else after), users))
        found = (said.direction == sign) & (now >= at) & np.isinf(delay)
        delay[found], began[found] = now - at + 1, said.changed_s[found] / 60 - at
    assert np.median(delay) <= 3
    assert np.mean(np.isinf(delay)) <= 0.02
    assert np.mean(np.abs(began) <= 1) >= 0.98


@pytest.mark.parametrize(("limit", "found"), [(DriftRules().limit, True), (np.inf, False)])
def test_a_slow_ramp_is_found_while_it_rises_and_dated_near_its_beginning(limit, found):
    """From .05 to .3 in 30 intervals; without the detection of slow rises the level learns it."""
    groups, calm = 100, 600
    rng = np.random.default_rng(5)
    series = Series(rng)
    monitor = RegimeMonitor(RegimeRules(detector=DetectorRules(drift=DriftRules(limit=limit))))
    users, delay, began = np.full(groups, 300.0), np.full(groups, np.inf), np.full(groups, np.nan)
    wander, keep = 0.15 * rng.standard_normal(groups), np.exp(-1 / 60)
    for now in range(calm + 30):
        ramp = np.log(6) * np.clip((now - calm + 1) / 30, 0, 1)
        said = monitor.close(series.next(0.05 * np.exp(wander + ramp), users))
        first = (said.direction > 0) & (now >= calm) & np.isinf(delay)
        delay[first], began[first] = now - calm + 1, said.changed_s[first] / 60 - calm
        wander = keep * wander + 0.15 * np.sqrt(1 - keep**2) * rng.standard_normal(groups)
    assert (np.median(delay) <= 15) == found
    assert (np.mean(np.isinf(delay)) <= 0.05) == found
    assert not found or np.median(np.abs(began)) <= 6


def test_a_rise_below_half_of_the_degraded_threshold_is_none():
    level = [0.01] * 100 + [float(pow_) for pow_ in np.geomspace(0.01, 0.07, 30)]
    assert not any(each.direction.any() for each in reported(level))
    on = [*level, *(float(pow_) for pow_ in np.geomspace(0.07, 0.12, 9))]
    assert reported(on)[-1].changes.tolist() == [[1, 0]]


@pytest.mark.parametrize("sessions", [100, 1000])
def test_common_causes_give_hardly_any_alarm(sessions):
    """150 groups for two days: at one false alarm in 30 days there would be 10."""
    groups, intervals = 150, 2880
    rng = np.random.default_rng(sessions)
    series, monitor = Series(rng), RegimeMonitor(RULES)
    wander, keep = 0.25 * rng.standard_normal(groups), np.exp(-1 / 20)
    for now in range(intervals):
        day = np.log1p(0.5 * np.sin(2 * np.pi * now / 1440))
        said = monitor.close(series.next(0.05 * np.exp(day + wander), np.full(groups, float(sessions))))
        wander = keep * wander + 0.25 * np.sqrt(1 - keep**2) * rng.standard_normal(groups)
    assert said.changes.sum() <= 10


@pytest.mark.parametrize(
    ("interval", "reason"),
    [
        (Interval(np.array([np.nan]), np.array([np.nan]), np.array([0.0]), 1260.0), Reason.NO_DATA),
        (Interval(np.array([np.nan]), np.array([np.nan]), np.array([np.nan]), 1260.0), Reason.NO_DATA),
        (exact(21, 0.9, users=RULES.min_sessions - 1), Reason.TOO_FEW_SESSIONS),
        (exact(20, 0.9), Reason.ALREADY_JUDGED),
    ],
)
def test_what_says_nothing_changes_nothing(interval, reason):
    monitor = RegimeMonitor(RULES)
    for at in range(20):
        before = monitor.close(exact(at + 1, 0.05))
    kept = monitor.dump()
    said = monitor.close(interval)
    assert said.reason[0] is reason
    assert said.regime[0] == before.regime[0]
    assert not said.direction.any()
    assert all(kept[name].tobytes() == array.tobytes() for name, array in monitor.dump().items())


@pytest.mark.parametrize("dwell", [1, 5, 12])
def test_a_group_has_no_regime_before_it_is_known_and_its_first_is_no_change(dwell):
    said = reported([0.5] * 20, replace(RULES, dwell=dwell))
    unknown = max(dwell, RULES.detector.learning) - 1
    assert [bool(each.known[0]) for each in said] == [False] * unknown + [True] * (20 - unknown)
    assert [each.reason[0] for each in said[: unknown + 1]] == [Reason.LEARNING] * unknown + [
        Reason.THRESHOLD_PASSED
    ]
    assert set(regimes(said)[unknown:]) == {Regime.BAD}
    assert not said[-1].changes.any()
    assert not any(each.moved.any() for each in said)


@pytest.mark.parametrize("at", range(12))
@pytest.mark.parametrize(("before", "after"), [(0.05, 0.6), (0.0, 0.6), (0.05, 0.32), (1.0, 0.6)])
def test_a_new_group_that_is_badly_served_is_told_as_nothing_else(before, after, at):
    """Also if little was known when it began: its first interval may have any value."""
    said = reported([before] * at + [after] * (30 - at))[at:]
    assert {int(each.regime[0]) for each in said if each.known[0]} == {Regime.BAD}


@pytest.mark.parametrize("at", range(RULES.detector.learning))
@pytest.mark.parametrize(("before", "after"), [(0.6, 0.02), (1.0, 0.05), (0.0, 0.05), (0.6, 0.0)])
def test_a_new_group_that_is_well_served_is_told_as_nothing_else(before, after, at):
    said = reported([before] * at + [after] * (30 - at))
    assert {int(each.regime[0]) for each in said if each.known[0]} == {Regime.GOOD}
    assert not said[-1].changes.any()


@pytest.mark.parametrize("sessions", [30, 100, 1000])
def test_a_new_group_that_is_badly_served_is_told_so_however_it_varies(sessions):
    """500 groups around .6, as low as .45 by common causes; in the first interval it may look better than it is."""
    groups, share = 500, 0.9
    rng = np.random.default_rng(sessions)
    monitor, wander, keep = RegimeMonitor(RULES), 0.25 * rng.standard_normal(groups), np.exp(-1 / 20)
    for now in range(30):
        pow_ = np.maximum(0.6 * np.exp(wander), 0.45) * (rng.random(groups) if now == 0 else 1)
        drawn = rng.binomial(sessions, np.minimum(pow_ / share, 1)) / sessions * share
        said = monitor.close(Interval(drawn, drawn * share, np.full(groups, float(sessions)), 60.0 * (now + 1)))
        assert (said.regime[said.known] == Regime.BAD).all()
        wander = keep * wander + 0.25 * np.sqrt(1 - keep**2) * rng.standard_normal(groups)
    assert said.known.all()


def test_a_group_that_was_away_for_long_begins_anew():
    monitor = RegimeMonitor(RULES)
    for at in range(20):
        monitor.close(exact(at + 1, 0.05))
    later = exact(20, 0.5)._replace(end_s=1200 + RULES.stale_s + 60)
    said = monitor.close(later)
    assert not said.known[0]
    assert not said.direction.any()
    assert said.level[0] == pytest.approx(0.5)


def noisy(seed: int, groups: int, intervals: int) -> list[Interval]:
    """Jumps of PoW, intervals with few sessions, and with none."""
    rng = np.random.default_rng(seed)
    series = Series(rng)
    level = np.full(groups, 0.05)
    out = []
    for _ in range(intervals):
        level = np.where(rng.random(groups) < 0.08, rng.choice([0.01, 0.05, 0.2, 0.38], groups), level)
        out.append(series.next(level, rng.choice([0.0, 10.0, 100.0, 1000.0], groups, p=[0.1, 0.1, 0.4, 0.4])))
    return out


def assert_same(left: Regimes, right: Regimes, pick: slice = slice(None)) -> None:
    for name, values in vars(left).items():
        other = getattr(right, name)[pick]
        assert values.tolist() == other.tolist() or np.array_equal(values, other, equal_nan=True), name


def columns(interval: Interval, pick: slice) -> Interval:
    return Interval(interval.pow[pick], interval.square[pick], interval.users[pick], interval.end_s)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 59))
def test_restarts_forget_nothing_and_announce_nothing_again(seed, at):
    intervals = noisy(seed, 4, 60)
    lasting, restarted = RegimeMonitor(RULES), RegimeMonitor(RULES)
    for number, interval in enumerate(intervals):
        if number == at:
            file = io.BytesIO()
            np.savez(file, **restarted.dump())
            file.seek(0)
            restarted = RegimeMonitor(RULES)
            with np.load(file, allow_pickle=False) as state:
                restarted.load(dict(state))
            assert not restarted.close(intervals[number - 1]).direction.any()
        assert_same(lasting.close(interval), restarted.close(interval))


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_groups_do_not_depend_on_one_another(seed):
    intervals = noisy(seed, 5, 60)
    together, alone = RegimeMonitor(RULES), [RegimeMonitor(RULES) for _ in range(5)]
    for interval in intervals:
        said = together.close(interval)
        for group, monitor in enumerate(alone):
            one = slice(group, group + 1)
            assert_same(monitor.close(columns(interval, one)), said, one)


def test_the_noisy_series_announce_both_ways():
    """The two tests above would pass without any detected change."""
    monitor = RegimeMonitor(RULES)
    for interval in noisy(1, 50, 60):
        said = monitor.close(interval)
    assert (said.changes.sum(axis=0) > 10).all()


def test_groups_may_come_later():
    intervals = noisy(5, 3, 80)
    growing, late = RegimeMonitor(RULES), RegimeMonitor(RULES)
    for number, interval in enumerate(intervals):
        said = growing.close(columns(interval, slice(0, 3 if number >= 30 else 2)))
        if number >= 30:
            assert_same(late.close(columns(interval, slice(2, 3))), said, slice(2, 3))
    with pytest.raises(ValueError, match="groups are never removed"):
        growing.close(columns(intervals[-1], slice(0, 2)))


def test_a_group_that_is_removed_begins_from_scratch_and_the_others_are_as_before():
    monitor, others, fresh = (RegimeMonitor(RULES) for _ in range(3))
    changes = []
    for number, interval in enumerate(noisy(5, 4, 80)):
        if number == 40:
            assert changes[-1] > 0
            monitor.remove_groups(np.array([1, 9]))
        told = monitor.close(interval)
        changes.append(told.changes[1].sum())
        assert_same(others.close(columns(interval, slice(2, 4))), told, slice(2, 4))
        if number >= 40:
            assert_same(fresh.close(columns(interval, slice(1, 2))), told, slice(1, 2))


def test_a_told_result_stays_as_it_was():
    monitor = RegimeMonitor(RULES)
    for at in range(20):
        first = monitor.close(exact(at + 1, 0.05))
    before = {name: values.copy() for name, values in vars(first).items()}
    monitor.close(exact(21, 0.5))
    assert all(np.array_equal(before[name], values) for name, values in vars(first).items() if name != "changed_s")
    assert np.isnan(first.changed_s[0])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: RegimeRules(degraded=Threshold(0.1, 0.1)), "degraded is entered at a PoW of 0.1 and left at 0.1"),
        (lambda: RegimeRules(bad=Threshold(1.1, 0.2)), "recovery < threshold <= 1"),
        (lambda: RegimeRules(degraded=Threshold(0.4, 0.1)), "expected bad above degraded"),
        (lambda: RegimeRules(dwell=0), "dwell is 0"),
        (lambda: RegimeRules(min_sessions=0), "min_sessions 0"),
        (lambda: RegimeRules(stale_s=float("nan")), "stale_s nan"),
        (lambda: DetectorRules(memory=0), "at least 1 rating interval"),
        (lambda: DetectorRules(hold=4), "hold <= limit"),
        (lambda: DetectorRules(spread=0), "above 0"),
        (lambda: DetectorRules(caution=0.5), "caution from 1"),
        (lambda: DriftRules(recent=20), "recent < older"),
        (lambda: DriftRules(limit=0), "limit and usual above 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused_in_words(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong()


def test_a_dump_from_before_slow_rises_continues_with_the_same_levels():
    intervals = noisy(7, 4, 60)
    lasting, upgraded = RegimeMonitor(RULES), RegimeMonitor(RULES)
    for interval in intervals[:40]:
        lasting.close(interval)
    state = lasting.dump()
    new = {name for name, _ in DRIFT}
    old = np.dtype([(name, TRACK[name]) for name in TRACK.names or () if name not in new])
    before = np.zeros(len(state["detector"]), old)
    for name in old.names or ():
        before[name] = state["detector"][name]
    upgraded.load(state | {"detector": before})
    for interval in intervals[40:]:
        assert_same(lasting.close(interval), upgraded.close(interval))
    before["age"] = 10_000
    upgraded.load(state | {"detector": before})
    assert set(upgraded.dump()["detector"]["age"].tolist()) == {DriftRules().learning}


@pytest.mark.parametrize("part", ["groups", "detector"])
def test_a_dump_of_another_version_is_refused(part):
    state = RegimeMonitor(RULES).dump() | {part: np.zeros(1, np.dtype([("other", np.int64)]))}
    with pytest.raises(ValueError, match="columns"):
        RegimeMonitor(RULES).load(state)
