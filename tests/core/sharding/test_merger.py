"""Counts of several shards add up to those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import Sparse
from qoemon.core.counting.counts import BaseCounts, Event, ServiceCounts
from qoemon.core.counting.monitor import Monitor
from qoemon.core.plan.plan import Clock, Plan
from qoemon.core.sharding.merger import Merger
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.sparse import dump_intervals, load_intervals, sparse_counts
from qoemon.core.wire.batch import Batch, batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.core import (
    MEDIA,
    VIDEO,
    WEB,
    WINDOWS_S,
    OneShard,
    batch,
    plan,
    responses,
    same_tally,
    shard_counts,
)
from tests.support.streams import FEWER, Step, streams

PLAN = plan(VIDEO, WEB)
T0 = 1_700_000_040


def merger(limit: int = 100) -> Merger:
    told = plan(VIDEO, WEB, groups=limit)
    return Merger(WEB, told, WEB.kernel(told.quantiles))


def merge(shards: Sequence[BaseCounts], into: Merger | None = None) -> ServiceCounts:
    whole = into or merger()
    return whole.merge(shards, whole.number_groups(shards), T0)


def web_of(monitor: Monitor, now_s: float) -> BaseCounts:
    return monitor.counts(now_s)[1]


def by_group(total: ServiceCounts, column: np.ndarray) -> dict[tuple[str, ...], list[float]]:
    """Shards may have the groups in another order."""
    return dict(zip(total.groups, column.tolist(), strict=True))


@FEWER
@given(
    streams(clients=6, measured=True),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
    st.booleans(),
    st.sampled_from([PLAN, plan(MEDIA, WEB)]),
)
def test_shards_merged_equal_the_whole(steps: list[Step], shard_of: list[int], packed: bool, told: Plan) -> None:
    """Integers and expected ratings are equal bit for bit, also for sparse counts."""
    whole, divided, shards = OneShard(told), OneShard(told), [Monitor(told) for _ in range(3)]
    end_s = steps[-1][0] / 1000 + 60
    for now_ms, said in steps:
        for shard, monitor in enumerate(shards):
            mine = [each for each in said if shard_of[int(each.session[1:])] == shard]
            monitor.apply(batch(mine), now_ms / 1000)
            monitor.apply(responses(now_ms / 1000, [shard + 1.0], session=f"w{shard}", seq=now_ms), now_ms / 1000)
            whole.apply(batch(mine), now_ms / 1000)
            whole.apply(responses(now_ms / 1000, [shard + 1.0], session=f"w{shard}", seq=now_ms), now_ms / 1000)
    handed_on = [shard_counts(monitor, end_s, 10) for monitor in shards]
    tick = divided.evaluation.tick([sparse_counts(counts) for counts in handed_on] if packed else handed_on)
    for one, merged in zip(whole.counts(end_s), tick.snapshot.services, strict=True):
        other = merged.counts
        assert one.service == other.service
        assert set(one.groups) == set(other.groups)
        for mine, theirs in [(one.windows[w], other.windows[w]) for w in WINDOWS_S] + [
            (one.qos, other.qos),
            (one.active_sessions, other.active_sessions),
            (one.open_stalls, other.open_stalls),
            (one.oldest_stall_s, other.oldest_stall_s),
            (one.quality, other.quality),
            (one.expected_ratings, other.expected_ratings),
            *((one.users[w], other.users[w]) for w in WINDOWS_S),
            *zip(one.marginals, other.marginals, strict=True),
        ]:
            assert by_group(one, mine) == by_group(other, theirs)


def hundreds(count: int) -> list[tuple[float, Batch]]:
    """Reports of 12 viewers and 12 pages in two groups, in the order of their arrival, many of them late.

    Some report each 10 s, some each 90 s; some of their reports are impossible, or of another player.
    """
    rng, told = np.random.default_rng(5), []
    played = np.zeros(12)
    for number in range(count):
        at_s, who = T0 + number * 3.0, int(rng.integers(12))
        if who < 6 and number % 5:
            continue
        ts = at_s - float(rng.choice([0, 0, 0, rng.uniform(0, 400)]))
        played[who] += float(rng.choice([3, 8, 500]))
        stalls = {"stall_count": number // 9, "stall_s": number / 8, "play_s": float(played[who])}
        report = Report(f"v{who}", seq=number, ts=ts, **stalls)
        times_s = [float(rng.exponential()), 400.0][: 1 + number % 2]
        page = Report(f"p{who}", seq=number, ts=ts, response_s=times_s)
        routes = [Route(service, (("eu", "us")[int(rng.integers(2))],)) for service in ("video", "web")]
        told.append((at_s, batch_of([report, page], [0, 1], [at_s] * 2, routes)[0]))
    return told


@pytest.mark.parametrize("clock", [Clock.REPORT, Clock.AUTO])
@pytest.mark.parametrize("packed", [False, True])
def test_late_and_provisional_counts_of_shards_equal_those_of_the_whole(*, clock: Clock, packed: bool) -> None:
    """At every tick, with restarts of a shard and of the sum; closed intervals are stored and loaded."""
    told = plan(VIDEO, WEB, timing={"clock": clock})
    whole, divided, shards = OneShard(told), OneShard(told), [Monitor(told) for _ in range(3)]
    late = 0
    for number, (at_s, some) in enumerate(hundreds(400)):
        mine = int(some.session[0][1:]) % 3
        shards[mine].apply(some, at_s)
        whole.apply(some, at_s)
        handed_on = [shard_counts(monitor, at_s, 10) for monitor in shards]
        late += sum(len(counts.late) for shard in handed_on for each in shard.closed for counts in each.services)
        if packed:
            handed_on = [restored(sparse_counts(counts), told) for counts in handed_on]
        ones, others = whole.counts(at_s), divided.evaluation.tick(handed_on).snapshot.services
        for one, other in zip(ones, (merged.counts for merged in others), strict=True):
            assert_same(one, other)
        if number % 40 == 20:
            state, shards[number % 3] = shards[number % 3].dump(), Monitor(told)
            shards[number % 3].load(state)
            sums, divided = divided.evaluation.dump(), OneShard(told)
            divided.evaluation.load(sums)
    assert late > 10
    assert whole.events[Event.TOO_FAST] > 0


def restored(counts: ShardCounts, told: Plan) -> ShardCounts:
    """With the closed intervals of a dump."""
    closed = load_intervals(dump_intervals(counts.closed, told.services), told.services)
    return replace(counts, closed=tuple(closed))


def assert_same(one: ServiceCounts, other: ServiceCounts) -> None:
    """The same integers and floats by group, in any order of groups."""
    columns = ("qos", "active_sessions", "open_stalls", "oldest_stall_s", "heard", "doubtful")
    columns += ("expected_ratings", "exported_ratings", "new")
    pairs = [(getattr(one, name), getattr(other, name)) for name in columns]
    pairs += [(one.windows[w], other.windows[w]) for w in WINDOWS_S]
    pairs += [(one.users[w], other.users[w]) for w in WINDOWS_S]
    pairs += [(one.squares[w], other.squares[w]) for w in WINDOWS_S]
    pairs += list(zip(one.marginals, other.marginals, strict=True))
    for mine, theirs in pairs:
        assert by_group(one, mine) == by_group(other, theirs)


def test_a_single_shard_is_handed_through_without_a_copy() -> None:
    monitor = Monitor(PLAN)
    monitor.apply(responses(T0, [1.0, 2.0]), T0)
    counts = web_of(monitor, T0 + 60)
    merged = merge([counts])
    assert merged.windows[60] is counts.levels
    assert merged.qos is counts.qos
    assert merged.users[60] is counts.users


def test_sparse_counts_are_whole_in_themselves_and_merge_to_the_same() -> None:
    """Each packed object is complete, however many were packed before."""
    shard = OneShard(PLAN)
    shard.apply(responses(T0, [1.0, 2.0], group="us"), T0)
    handed_on = shard_counts(shard.monitor, T0 + 60, 10)
    first, second = sparse_counts(handed_on), sparse_counts(handed_on)
    for one, other in zip(first.services, second.services, strict=True):
        assert isinstance(one.levels, Sparse)
        assert isinstance(other.levels, Sparse)
        assert np.array_equal(one.levels.cells, other.levels.cells)
    plain, packed = OneShard(PLAN), OneShard(PLAN)
    ticks = plain.evaluation.tick([handed_on]), packed.evaluation.tick([first])
    for a, b in zip(*(tick.snapshot.services for tick in ticks), strict=True):
        assert same_tally(a.counts, b.counts)


def test_groups_known_to_one_shard_only_are_kept_apart() -> None:
    shards = []
    for group, times in (("eu", 2), ("us", 3)):
        monitor = Monitor(PLAN)
        monitor.apply(responses(T0, [1.0] * times, group=group), T0)
        shards.append(web_of(monitor, T0 + 10))
    both = merge(shards)
    assert both.groups == (("eu",), ("us",))
    assert both.windows[60].sum(axis=1).tolist() == [2, 3]


def test_new_groups_are_numbered_in_the_order_in_which_they_were_heard_of() -> None:
    """As in a single shard, so that sums of floats are equal to the last digit."""
    shards = []
    for group, at_s in (("us", T0 + 3), ("eu", T0 + 1), ("asia", T0 + 2)):
        monitor = Monitor(PLAN)
        monitor.apply(responses(at_s, [1.0], group=group), at_s)
        shards.append(web_of(monitor, T0 + 10))
    assert merge(shards).groups == (("eu",), ("asia",), ("us",))


def test_groups_beyond_the_limit_are_added_up_as_other() -> None:
    """Also two groups of one shard, and its own `other`."""
    shards = []
    for groups in (("eu",), ("us", "asia", "other")):
        monitor = Monitor(PLAN)
        for times, group in enumerate(groups, 1):
            monitor.apply(responses(T0 + times, [1.0] * times, group=group, session=group), T0 + times)
        shards.append(web_of(monitor, T0 + 10))
    both = merge(shards, merger(limit=1))
    assert both.groups == (("eu",), ("other",))
    assert both.windows[60].sum(axis=1).tolist() == [1, 6]
    assert both.users[60].tolist() == [1, 3]


def test_a_group_keeps_its_number_whatever_shard_speaks_first() -> None:
    whole, monitors = merger(), [Monitor(PLAN) for _ in range(2)]
    monitors[0].apply(responses(T0, [1.0], group="eu"), T0)
    assert merge([web_of(monitor, T0 + 10) for monitor in monitors], whole).groups == (("eu",),)
    monitors[1].apply(responses(T0 + 10, [1.0], group="us"), T0 + 10)
    shards = [web_of(monitor, T0 + 20) for monitor in monitors]
    assert merge(shards[::-1], whole).groups == (("eu",), ("us",))


def test_a_window_that_has_not_changed_is_the_same_array() -> None:
    """So it is not rated again."""
    shard = OneShard(PLAN)
    shard.apply(responses(T0, [1.0]), T0)
    first, second, third = (shard.counts(at_s)[1] for at_s in (T0 + 70, T0 + 80, T0 + 120))
    assert first.windows[300] is second.windows[300]
    assert second.windows[300] is not third.windows[300]


def exported(counts: ServiceCounts) -> dict[tuple[str, ...], float]:
    """Expected ratings of each group, as exported."""
    return dict(zip(counts.groups, counts.exported_ratings.sum(axis=1).round(9).tolist(), strict=True))


@pytest.mark.parametrize("first_s", [0, 1, 30, 50, 59])
def test_the_counters_of_a_new_group_are_0_for_more_than_a_rating_interval(first_s: int) -> None:
    """Then they have all that was held back; counters of other groups grow as always."""
    shard = OneShard(PLAN)
    shard.apply(responses(T0 - 100, [1.0], session="eu"), T0 - 100)
    seen_s: list[int] = []
    for at_s in range(T0 - 90, T0 + 250, 10):
        if at_s <= T0 + first_s < at_s + 10:
            shard.apply(responses(T0 + first_s, [1.0] * 10, group="us", session="us"), T0 + first_s)
        if at_s % 60 == 0:
            shard.apply(responses(at_s, [1.0], session=f"eu{at_s}"), at_s)
        counts = shard.counts(at_s + 9)[1]
        numbers = exported(counts)
        assert numbers[("eu",)] == pytest.approx(counts.expected_ratings[0].sum()) or at_s < T0 - 20
        if ("us",) in numbers:
            seen_s.append(at_s)
            held = at_s - seen_s[0] <= 60
            assert numbers[("us",)] == (0 if held else 10), at_s - T0
            assert counts.exported_marginals[0][1].sum() == (0 if held else 10)
    assert seen_s
    assert counts.expected_ratings[1].sum() == pytest.approx(10)


def test_a_group_that_was_new_at_a_restart_is_new_for_another_interval() -> None:
    """Also if the restart takes longer; others are not new, nor are those of states of earlier versions."""
    shard = OneShard(PLAN)
    shard.apply(responses(T0, [1.0] * 3), T0)
    for at_s in range(T0 + 10, T0 + 130, 10):
        shard.snapshot(at_s)
    shard.apply(responses(T0 + 120, [1.0] * 5, group="us", session="us"), T0 + 120)
    assert exported(shard.counts(T0 + 130)[1]) == {("eu",): 3, ("us",): 0}
    state = shard.dump()
    again = OneShard(PLAN)
    again.load(state)
    again.evaluation.begin_exports()
    for at_s in range(T0 + 500, T0 + 561, 10):
        assert exported(again.counts(at_s)[1]) == {("eu",): 3, ("us",): 0}
    assert exported(again.counts(T0 + 570)[1]) == {("eu",): 3, ("us",): 5}
    before = OneShard(PLAN)
    before.load({name: array for name, array in state.items() if not name.endswith("new_since_s")})
    assert exported(before.counts(T0 + 500)[1]) == {("eu",): 3, ("us",): 5}


def test_new_groups_move_with_a_step_of_the_clock() -> None:
    shard = OneShard(PLAN)
    shard.apply(responses(T0, [1.0] * 3), T0)
    shard.snapshot(T0 + 10)
    shard.shift(-6000)
    assert exported(shard.counts(T0 - 6000 + 70)[1]) == {("eu",): 0}
    assert exported(shard.counts(T0 - 6000 + 80)[1]) == {("eu",): 3}
