"""Groups are limited, and existing groups keep their numbers."""

from __future__ import annotations

import numpy as np

from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import OTHER, Groups
from qoemon.core.counting.monitor import Monitor
from tests.support.core import T0, VIDEO, WEB, OneShard, batch, plan, responses
from tests.support.oracle import Said

PLAN = plan(VIDEO, WEB)


def test_beyond_the_limit_new_label_sets_share_other() -> None:
    groups = Groups(labels=2, limit=2)
    assert [groups.number((c, c)) for c in "aabcdb"] == [
        (0, False),
        (0, False),
        (1, False),
        (2, True),
        (2, True),
        (1, False),
    ]
    assert groups.all == (("a", "a"), ("b", "b"), (OTHER, OTHER))


def test_other_told_by_a_client_takes_no_room() -> None:
    groups = Groups(labels=1, limit=2)
    told = [groups.number((name,)) for name in (OTHER, "a", "b", "c")]
    assert told == [(0, False), (1, False), (2, False), (0, True)]


def test_loaded_groups_keep_their_numbers_and_the_limit() -> None:
    groups, loaded = Groups(labels=1, limit=2), Groups(labels=1, limit=2)
    for name in "abc":
        groups.number((name,))
    loaded.load(groups.all)
    assert [loaded.number((name,)) for name in "abcd"] == [groups.number((name,)) for name in "abcd"]


def test_a_flood_of_label_sets_leaves_honest_groups_their_numbers() -> None:
    """Two honest groups, a limit of two, a hundred invented label sets: the honest windows are unaffected."""
    honest = [
        Said(f"{group}{i}", T0 * 1000 + 5_000, (group,), 0, i % 3, 1_000 * (i % 3), 20_000)
        for group in ("eu", "us")
        for i in range(20)
    ]
    flood = [Said(f"x{i}", T0 * 1000 + 6_000, (f"made-up-{i}",), 0, 1, 9_000, 20_000) for i in range(100)]
    alone, flooded = OneShard(plan(VIDEO, groups=2)), OneShard(plan(VIDEO, groups=2))
    alone.apply(batch(honest), T0 + 5)
    flooded.apply(batch(honest), T0 + 5)
    flooded.apply(batch(flood), T0 + 6)
    (calm,), (tally,) = alone.counts(T0 + 60), flooded.counts(T0 + 60)
    assert tally.groups == (("eu",), ("us",), (OTHER,))
    assert tally.windows[60][:2].tobytes() == calm.windows[60].tobytes()
    assert tally.windows[60][2].sum() == 100
    assert flooded.snapshot(T0 + 60).events[Event.POOLED] == 100
    assert alone.snapshot(T0 + 60).events[Event.POOLED] == 0


def test_the_numbers_of_removed_groups_are_given_to_new_ones_lowest_first() -> None:
    groups = Groups(labels=1, limit=4)
    for name in "abcd":
        groups.number((name,))
    assert groups.number(("e",)) == (4, True)
    groups.remove(np.array([2, 0]))
    assert groups.free.tolist() == [True, False, True, False, False]
    loaded = Groups(labels=1, limit=4)
    loaded.load(groups.all)
    for each in (groups, loaded):
        assert (("a",) in each, ("b",) in each) == (False, True)
        assert [each.is_free(labels) for labels in each.all] == each.free.tolist()
        assert each.taken == 2
        assert each.number(("f",), 7.0) == (0, False)
        assert each.number(("a",)) == (2, False)
        assert each.number(("g",)) == (4, True)
        assert each.all == (("f",), ("b",), ("a",), ("d",), (OTHER,))
        assert each.since_s[0] == 7


def test_other_groups_are_accepted_again_after_a_freeze() -> None:
    groups = Groups(labels=1, limit=4)
    groups.freeze([("a",)])
    assert groups.number(("b",)) == (0, True)
    groups.freeze(None)
    assert groups.number(("b",)) == (1, False)


def test_a_frozen_service_is_frozen_after_a_restart_and_others_are_not() -> None:
    monitor, again = Monitor(PLAN), Monitor(PLAN)
    monitor.freeze_groups({"video": [("eu",)]})
    again.load(monitor.dump())
    for number, group in enumerate(("us", "eu", "asia")):
        again.apply(batch([Said("s", (number + 1) * 1000 + T0 * 1000, (group,), seq=number)]), T0)
        again.apply(responses(T0, [1.0], group=group, session=group), T0)
    assert again.events[Event.POOLED] == 2
    assert [counts.groups for counts in again.counts(T0 + 10)] == [
        (("other",), ("eu",)),
        (("us",), ("eu",), ("asia",)),
    ]
    again.freeze_groups({})
    thawed = Monitor(PLAN)
    thawed.load(again.dump())
    thawed.apply(batch([Said("t", T0 * 1000, ("us",), seq=0)]), T0 + 20)
    assert thawed.events[Event.POOLED] == 2


def test_the_only_group_of_a_service_without_labels_is_not_taken_for_a_free_number() -> None:
    groups = Groups(labels=0, limit=4)
    groups.number(())
    assert not groups.is_free(())
    loaded = Groups(labels=0, limit=4)
    loaded.load(groups.all)
    assert loaded.number(()) == (0, False)
    assert not loaded.free.any()
