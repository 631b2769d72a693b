"""Shards of a service add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.counting.groups import Groups
from qoemon.core.counting.monitor import Monitor
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.sharding.merger import Merger
from qoemon.core.snapshot.builder import SnapshotBuilder
from tests.support.core import VIDEO, WEB, WINDOWS_S, batch, plan, responses, same_tally
from tests.support.streams import FEWER, Step, streams

PLAN = plan(VIDEO, WEB)


def merge(tallies: Sequence[ServiceCounts], limit: int = 100) -> ServiceCounts:
    return Merger(Groups(1, limit)).merge(tallies)


def by_group(tally: ServiceCounts, column: np.ndarray) -> dict[tuple[str, ...], list[float]]:
    """Shards may meet the groups in another order."""
    return dict(zip(tally.groups, column.tolist(), strict=True))


def same_distribution(one: Distribution, other: Distribution, order: list[int]) -> None:
    for name in ("observations", "mos", "sos", "gob", "pow", "ratings", "quantiles", "band_gob", "band_pow"):
        mine, theirs = getattr(one, name), getattr(other, name)[order]
        assert mine == pytest.approx(theirs, abs=1e-9, nan_ok=True), name


@FEWER
@given(streams(clients=6), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_shards_merged_equal_the_whole(steps: list[Step], shard_of: list[int]) -> None:
    whole, shards = Monitor(PLAN), [Monitor(PLAN) for _ in range(3)]
    end_s = steps[-1][0] / 1000 + 60
    for now_ms, said in steps:
        for shard, monitor in enumerate(shards):
            mine = [each for each in said if shard_of[int(each.session[1:])] == shard]
            monitor.apply(batch(mine), now_ms / 1000)
            monitor.apply(responses(now_ms / 1000, [shard + 1.0], session=f"w{shard}", seq=now_ms), now_ms / 1000)
            whole.apply(batch(mine), now_ms / 1000)
            whole.apply(responses(now_ms / 1000, [shard + 1.0], session=f"w{shard}", seq=now_ms), now_ms / 1000)
    wholes = whole.tallies(end_s)
    merged = [merge(parts) for parts in zip(*(monitor.tallies(end_s) for monitor in shards), strict=True)]
    for one, other in zip(wholes, merged, strict=True):
        assert one.service == other.service
        assert set(one.groups) == set(other.groups)
        for mine, theirs in [(one.windows[w], other.windows[w]) for w in WINDOWS_S] + [
            (one.qos, other.qos),
            (one.active_sessions, other.active_sessions),
            (one.open_stalls, other.open_stalls),
            (one.oldest_stall_s, other.oldest_stall_s),
            *((one.users[w], other.users[w]) for w in WINDOWS_S),
            *zip(one.marginals, other.marginals, strict=True),
        ]:
            assert by_group(one, mine) == by_group(other, theirs)
        order = [other.groups.index(group) for group in one.groups]
        assert one.expected_ratings == pytest.approx(other.expected_ratings[order], abs=1e-9)
    judge = SnapshotBuilder(PLAN)
    told = [judge.snapshot(each, time_s=0, events={}, sessions=0) for each in (wholes, merged)]
    for one, other in zip(told[0].services, told[1].services, strict=True):
        order = [other.tally.groups.index(group) for group in one.tally.groups]
        for length in WINDOWS_S:
            same_distribution(one.distributions[length], other.distributions[length], order)


def test_a_tally_alone_is_its_own_merge() -> None:
    monitor = Monitor(PLAN)
    monitor.apply(responses(1_700_000_040, [1.0, 2.0]), 1_700_000_040)
    for tally in monitor.tallies(1_700_000_100):
        assert same_tally(merge([tally]), tally)


def test_groups_known_to_one_shard_only_are_kept_apart() -> None:
    tallies = []
    for group, times in (("eu", 2), ("us", 3)):
        monitor = Monitor(PLAN)
        monitor.apply(responses(1_700_000_040, [1.0] * times, group=group), 1_700_000_040)
        tallies.append(monitor.tallies(1_700_000_050)[1])
    both = merge(tallies)
    assert both.groups == (("eu",), ("us",))
    assert both.windows[60].sum(axis=1).tolist() == [2, 3]


def test_groups_beyond_the_limit_are_added_up_as_other() -> None:
    """Also two of one shard, and its own `other`."""
    tallies = []
    for groups in (("eu",), ("us", "asia", "other")):
        monitor = Monitor(PLAN)
        for times, group in enumerate(groups, 1):
            monitor.apply(responses(1_700_000_040, [1.0] * times, group=group, session=group), 1_700_000_040)
        tallies.append(monitor.tallies(1_700_000_050)[1])
    both = merge(tallies, limit=1)
    assert both.groups == (("eu",), ("other",))
    assert both.windows[60].sum(axis=1).tolist() == [1, 6]
    assert both.users[60].tolist() == [1, 3]


def test_a_group_keeps_its_number_whatever_shard_speaks_first() -> None:
    merger, monitors = Merger(Groups(1, 9)), [Monitor(PLAN) for _ in range(2)]
    monitors[0].apply(responses(1_700_000_040, [1.0], group="eu"), 1_700_000_040)
    assert merger.merge([monitor.tallies(1_700_000_050)[1] for monitor in monitors]).groups == (("eu",),)
    monitors[1].apply(responses(1_700_000_050, [1.0], group="us"), 1_700_000_050)
    tallies = [monitor.tallies(1_700_000_060)[1] for monitor in monitors]
    assert merger.merge(tallies[::-1]).groups == (("eu",), ("us",))


def test_a_window_that_no_shard_has_changed_is_the_same_array() -> None:
    """So it is not judged again, though shards may be far away: only what has changed is new."""
    merger, monitor = Merger(Groups(1, 9)), Monitor(PLAN)
    monitor.apply(responses(1_700_000_040, [1.0]), 1_700_000_040)
    first, second, third = (
        merger.merge([monitor.tallies(at_s)[1]]) for at_s in (1700000110, 1700000120, 1700000160)
    )
    assert first.windows[300] is second.windows[300]
    assert second.windows[300] is not third.windows[300]


def test_what_is_expected_does_not_fall_not_by_a_last_digit_nor_while_a_shard_comes_back() -> None:
    monitor = Monitor(PLAN)
    monitor.apply(responses(1_700_000_040, [1.0]), 1_700_000_040)
    tally = monitor.tallies(1_700_000_100)[1]
    parts = [replace(tally, expected_ratings=np.full((1, 5), share)) for share in (0.1, 0.2, 0.3)]
    orders = [merge([parts[i] for i in order]).expected_ratings[0, 0] for order in ((0, 1, 2), (2, 1, 0))]
    assert orders[0] > orders[1], "they differ by rounding"
    merger = Merger(Groups(1, 9))
    assert merger.merge(parts).expected_ratings[0, 0] == orders[0]
    assert merger.merge(parts[::-1]).expected_ratings[0, 0] == orders[0]
    fallen = [replace(part, expected_ratings=part.expected_ratings / 2) for part in parts]
    assert merger.merge(fallen).expected_ratings[0, 0] == orders[0]
