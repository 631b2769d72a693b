"""Groups that were silent for long free their place: in one shard and several, and over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.arrays import Counts, Floats
from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.counting.groups import OTHER
from qoemon.core.counting.monitor import Monitor
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.wire.batch import Batch
from tests.support.core import WEB, WINDOWS_S, OneShard, plan, responses, shard_counts

T0 = 1_700_000_040
IDLE_S = 600
STAYS_S = 300 + max(WINDOWS_S) + IDLE_S
"""So long a group stays after its last report: its sessions expire, then windows become empty, then it is idle."""


def told(idle_s: float = IDLE_S, groups: int = 100) -> Plan:
    usual = plan(WEB, groups=groups)
    return replace(usual, limits=replace(usual.limits, group_idle_s=idle_s))


class Divided:
    """Three shards and their evaluation; wide: how many groups a shard accepts by itself."""

    def __init__(self, plan: Plan, wide: int = 100) -> None:
        self.plan, self.wide = plan, told(groups=wide)
        self.shards = [Monitor(self.wide) for _ in range(3)]
        self.evaluation = Evaluation(plan, (), RegimeRules())

    def apply(self, number: int, batch: Batch, at_s: float) -> None:
        self.shards[number % 3].apply(batch, at_s)

    def counts(self, at_s: float) -> ServiceCounts:
        handed_on = [sparse_counts(shard_counts(shard, at_s, 10)) for shard in self.shards]
        (service,) = self.evaluation.tick(handed_on).snapshot.services
        for shard in self.shards:
            shard.freeze_groups(self.evaluation.full)
        return service.counts

    def restart(self) -> None:
        states, sums = [shard.dump() for shard in self.shards], self.evaluation.dump()
        self.shards = [Monitor(self.wide) for _ in range(3)]
        self.evaluation = Evaluation(self.plan, (), RegimeRules())
        for shard, state in zip(self.shards, states, strict=True):
            shard.load(state)
        self.evaluation.load(sums)


def restarted(shard: OneShard, plan: Plan) -> OneShard:
    again = OneShard(plan)
    again.load(shard.dump())
    return again


def held(counts: ServiceCounts, column: Counts | Floats) -> dict[str, list[float]]:
    """A column by group, without free numbers."""
    rows = zip(counts.groups, column.tolist(), counts.free.tolist(), strict=True)
    return {labels[0]: row for labels, row, free in rows if not free}


def changing() -> Iterator[tuple[int, list[tuple[int, str, float]]]]:
    """Minutes, and who is served in each: number, group, response time. Each group pauses for 80 minutes."""
    rng = np.random.default_rng(3)
    for minute in range(200):
        groups = [f"g{(minute // 20 + ahead) % 6}" for ahead in range(2)]
        yield minute, [(n, group, float(rng.exponential())) for group in groups for n in range(3)]


@pytest.mark.parametrize("clock_step_s", [0, 6000])
def test_a_group_that_returns_after_long_silence_begins_at_0_and_the_others_are_as_without_that(
    clock_step_s: int,
) -> None:
    """To the last digit in three shards, with restarts; numbers are given to other groups."""
    whole, divided, forever = OneShard(told()), Divided(told()), OneShard(told(np.inf))
    begins: dict[str, np.ndarray] = {}
    before: set[str] = set()
    removed = 0
    for minute, served in changing():
        at_s = T0 + 60 * minute + (clock_step_s if minute >= 70 else 0)
        if clock_step_s and minute == 70:
            for each in (whole, forever, *divided.shards, divided.evaluation):
                each.shift(clock_step_s)
        for number, group, time_s in served:
            batch = responses(at_s + 5, [time_s], session=f"{group}{minute}-{number}", group=group)
            for one in (whole, forever):
                one.apply(batch, at_s + 5)
            divided.apply(number, batch, at_s + 5)
        (mine,), (all_,), other = whole.counts(at_s + 60), forever.counts(at_s + 60), divided.counts(at_s + 60)
        totals, ours = held(all_, all_.expected_ratings), held(mine, mine.expected_ratings)
        for group in before - ours.keys():
            begins[group], removed = np.array(totals[group]), removed + 1
        before = set(ours)
        for group, ratings in ours.items():
            assert np.add(ratings, begins.get(group, 0)) == pytest.approx(totals[group])
        for window_s in WINDOWS_S:
            for column in ("windows", "users"):
                here, there = (getattr(each, column)[window_s] for each in (mine, all_))
                with_any = {group: row for group, row in held(all_, there).items() if np.any(row)}
                assert {group: row for group, row in held(mine, here).items() if np.any(row)} == with_any
                assert held(other, getattr(other, column)[window_s]) == held(mine, here)
        assert held(other, other.expected_ratings) == ours
        assert held(other, other.exported_ratings) == held(mine, mine.exported_ratings)
        assert held(other, other.marginals[0]) == held(mine, mine.marginals[0])
        if minute % 50 == 25:
            whole = restarted(whole, told())
            divided.restart()
    assert removed > 4
    assert len(mine.groups) < 6 == len(all_.groups)


def test_a_place_that_is_free_again_is_given_to_a_new_group() -> None:
    """In all shards: those that had to pool new groups do not have to any more."""
    few = told(groups=2)
    whole, divided = OneShard(few), Divided(few, wide=4)

    def serve(at_s: float, *groups: str) -> list[dict[str, list[float]]]:
        for number, group in enumerate(groups * 3):
            batch = responses(at_s, [1.0], session=f"{group}{at_s}{number}", group=group)
            whole.apply(batch, at_s)
            divided.apply(number // len(groups), batch, at_s)
        counts = (*whole.counts(at_s + 10), divided.counts(at_s + 10))
        return [held(each, each.users[60]) for each in counts]

    serve(T0, "a", "b")
    for users in serve(T0 + 60, "b", "c"):
        assert users == {"a": 0, "b": 3, OTHER: 3}
    for minute in range(2, STAYS_S // 60 + 5):
        found = serve(T0 + 60 * minute, "b")
        assert minute > STAYS_S // 60 or all("a" in users for users in found), minute
    assert not any("a" in users for users in found)
    for users in serve(T0 + STAYS_S + 300, "b", "d"):
        assert {group: n for group, n in users.items() if n} == {"b": 3, "d": 3}


def test_groups_of_a_shard_that_has_lost_its_state_stay_until_they_are_silent_for_long() -> None:
    evaluation, lost = Evaluation(told(), (), RegimeRules()), Monitor(told())
    lost.apply(responses(T0, [1.0] * 4), T0)
    for at_s in range(T0 + 10, T0 + 200, 10):
        evaluation.tick([shard_counts(lost, at_s, 10)])
    fresh = Monitor(told())
    evaluation.lose(0)
    ended_s = T0 + 660 + IDLE_S
    for at_s in range(T0 + 200, ended_s + 100, 10):
        (service,) = evaluation.tick([shard_counts(fresh, at_s, 10)]).snapshot.services
        expected = {"eu": 4} if at_s <= ended_s else {}
        if abs(at_s - ended_s) > 60:
            assert held(service.counts, service.counts.expected_ratings.sum(axis=1).round(9)) == expected, at_s - T0


def test_a_session_that_has_left_a_group_for_long_does_not_keep_it_and_stays_one_user() -> None:
    shard, forever = OneShard(told()), OneShard(told(np.inf))
    for minute in range(STAYS_S // 60 + 10):
        at_s = T0 + 60.0 * minute
        batch = responses(at_s, [1.0], group="eu" if minute < 2 else "us", seq=minute)
        for each in (shard, forever):
            each.apply(batch, at_s)
        (mine,), (all_,) = shard.counts(at_s + 10), forever.counts(at_s + 10)
        assert held(mine, mine.users[60])["us" if minute > 1 else "eu"] == 1
        if minute > STAYS_S // 60 + 5:
            assert held(mine, mine.users[600]) == {"us": 1}
    batch = responses(at_s + 20, [1.0], group="asia", seq=minute + 1)
    for each in (shard, forever):
        each.apply(batch, at_s + 20)
    (mine,), (all_,) = shard.counts(at_s + 130), forever.counts(at_s + 130)
    assert held(mine, mine.users[600]) == {"asia": 1, "us": 1}
    assert {group: n for group, n in held(all_, all_.users[600]).items() if n} == {"asia": 1, "us": 1}
