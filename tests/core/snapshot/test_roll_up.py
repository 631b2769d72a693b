"""Roll-ups equal what one counts who never knew the labels that are summed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.roll_up import roll_up
from qoemon.core.snapshot.snapshot import ServiceSnapshot
from qoemon.core.wire.report import Route
from tests.support.core import T0, WEB, OneShard, batch, plan, responses, same_tally
from tests.support.cube import DELTAS, PLAN, Cube, nobody
from tests.support.oracle import Said

CDN = RollUpKey(("cdn",))


def same_ratings(one: ServiceSnapshot, other: ServiceSnapshot) -> None:
    """Every figure of every window is the same, to the last digit."""
    assert one.distributions.keys() == other.distributions.keys()
    for length, mine in one.distributions.items():
        for name, column in vars(mine).items():
            np.testing.assert_array_equal(column, getattr(other.distributions[length], name), err_msg=name)
    np.testing.assert_array_equal(one.contributions, other.contributions)
    np.testing.assert_array_equal(one.excess_poor, other.excess_poor)
    np.testing.assert_array_equal(one.doubtful, other.doubtful)


@pytest.mark.parametrize("by", [("region",), ("cdn",), ()])
def test_a_roll_up_is_what_somebody_counts_who_knows_only_its_labels(by: tuple[str, ...]) -> None:
    cube = Cube(regions=("eu", "us", "asia"), cdns=("a", "b"), viewers=4)
    blind = OneShard(replace(PLAN, labels=by, roll_ups=()))
    places = [PLAN.labels.index(name) for name in by]

    def hit(region: str, cdn: str) -> bool:
        return cdn == "b" or (region == "eu" and cube.at_s > T0 + 200)

    for _ in range(40):
        said = [replace(one, group=tuple(one.group[place] for place in places)) for one in cube.said(hit)]
        blind.apply(batch(said), cube.at_s)
        snapshot = cube.tick(hit).snapshot
        (mine,) = snapshot.roll_ups[RollUpKey(by)].services.values()
        (theirs,) = blind.snapshot(cube.at_s).services
        # Totals are sums of what the groups export, which are floats, and 0 for new groups.
        totals = {"expected_ratings": mine.counts.expected_ratings, "marginals": mine.counts.marginals}
        assert same_tally(mine.counts, replace(theirs.counts, **totals))
        same_ratings(mine, theirs)
    assert mine.counts.expected_ratings == pytest.approx(theirs.counts.expected_ratings)
    assert [each.tolist() for each in mine.counts.marginals] == [each.tolist() for each in theirs.counts.marginals]
    assert 0.2 < theirs.distributions[300].pow.mean() < 0.9


def test_a_roll_up_at_a_request_is_that_of_the_tick() -> None:
    cube = Cube(regions=("eu", "us"), cdns=("a", "b"))
    cube.minute(nobody)
    snapshot = cube.minute(lambda _, cdn: cdn == "a").snapshot
    (kept,) = snapshot.roll_ups[CDN].services.values()
    assert roll_up(snapshot, CDN, snapshot.services[0]) is kept
    computed = roll_up(replace(snapshot, roll_ups={}), CDN, snapshot.services[0])
    assert same_tally(computed.counts, kept.counts)
    same_ratings(computed, kept)


def test_only_selected_groups_are_summed() -> None:
    cube = Cube(regions=("eu", "us", "asia"), cdns=("a", "b"), viewers=5)
    snapshot = cube.minute(lambda region, _: region == "asia").snapshot
    key = RollUpKey(("cdn",), (("region", ("eu", "us")),))
    some = roll_up(snapshot, key, snapshot.services[0])
    assert some.counts.groups == (("a",), ("b",))
    assert some.counts.users[60].tolist() == [10, 10]
    whole = roll_up(snapshot, CDN, snapshot.services[0])
    assert whole.counts.users[60].tolist() == [15, 15]
    assert some.distributions[60].pow.max() < 0.1 < whole.distributions[60].pow.min()


def test_the_whole_service_is_one_sum_also_without_groups() -> None:
    shard = OneShard(PLAN)
    empty = shard.snapshot(T0)
    (service,) = empty.roll_ups[RollUpKey(())].services.values()
    assert service.counts.groups == ()
    one = Said("s", T0 * 1000, ("eu", "a"), play_ms=10_000, stalls=0, stall_ms=0)
    shard.apply(batch([one]), T0)
    (service,) = shard.snapshot(T0 + 10).roll_ups[RollUpKey(())].services.values()
    assert service.counts.groups == ((),)
    assert service.counts.users[60].tolist() == [1]


def test_a_session_that_moves_counts_once_in_each_group_that_it_was_in() -> None:
    """At most so often is it counted in a roll-up: docs/roll-ups.md."""
    told = replace(plan(DELTAS), roll_ups=((),))
    shard = OneShard(told)
    for number in range(30):
        at_s = T0 + 10 * number
        group = ("eu", "us", "eu")[number // 10]
        shard.apply(batch([Said("s", at_s * 1000, (group,), play_ms=10_000, stalls=0, stall_ms=0)]), at_s)
    snapshot = shard.snapshot(T0 + 300)
    (service,) = snapshot.roll_ups[RollUpKey(())].services.values()
    assert service.counts.users[300].sum() == snapshot.services[0].counts.users[300].sum()
    assert service.counts.users[300].tolist() == [2]


def test_numbers_of_sums_stay_when_groups_come_and_go() -> None:
    """As those of groups do: the regimes of a roll-up are kept by number."""
    usual = plan(WEB, groups=100)
    told = replace(
        usual, labels=("region", "cdn"), roll_ups=(("cdn",),), limits=replace(usual.limits, group_idle_s=600)
    )
    shard = OneShard(told)
    numbers: dict[str, set[int]] = {}
    shown: list[list[str]] = []
    for minute in range(120):
        at_s = T0 + 60 * minute
        live = ["a", "b"] if minute < 20 else ["c", "b"] if minute < 80 else ["a", "b"]
        for cdn in live:
            group = Route("web", ("eu" if minute % 2 else "us", cdn))
            shard.apply(replace(responses(at_s, [0.5], session=f"{cdn} {minute}"), routes=(group,)), at_s)
        services = shard.snapshot(at_s + 10).roll_ups[CDN].services
        groups, free = services["web"].counts.groups, services["web"].counts.free.tolist()
        used = {labels[0]: at for at, labels in enumerate(groups) if not free[at]}
        for cdn, number in used.items():
            numbers.setdefault(cdn, set()).add(number)
        shown.append(sorted(used))
    assert numbers["b"] == {1}
    assert shown[15] == ["a", "b"]
    assert shown[30] == ["a", "b", "c"]
    assert shown[79] == ["b", "c"], "a has been silent for long, and freed its place"
    assert numbers["a"] == {0}
    assert shown[85] == ["a", "b", "c"]
