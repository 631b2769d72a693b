"""Attribution of PoW to factors, compared with single users."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoemon.core.arrays import Counts, Floats
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import RESPONSE_BINS, STALL_BINS
from qoemon.core.qoe.mapping import VIDEO_STALL, VOICE_G107, WEB_IQX, RatingModel
from qoemon.core.snapshot.attribution import Attribution
from tests.support.core import T0, VIDEO, WEB, OneShard, batch, plan, responses
from tests.support.oracle import Mixture, Said, video_mos
from tests.support.streams import FEW

STALLS = list(zip(*(axis.tolist() for axis in STALL_BINS.conditions), strict=True))
BINOMIAL = Service("web", WEB_IQX, 0.25, model=RatingModel.BINOMIAL)
LOW = Service("web", WEB_IQX.with_parameters({"scale": 2.0}), 0.25)
SLOTS = 62

users_of = {
    size: st.dictionaries(st.integers(0, size - 1), st.integers(1, 50), min_size=1, max_size=6)
    for size in (STALL_BINS.size, RESPONSE_BINS.size)
}


def histogram(size: int, users: dict[int, int]) -> Counts:
    counts = np.zeros((1, size), np.int64)
    counts[0, list(users)] = list(users.values())
    return counts


def contributions(attribution: Attribution, counts: Counts, excess: float) -> dict[str, float]:
    parts = attribution.contributions(counts, np.array([excess]))
    return dict(zip(attribution.factors, parts[0].tolist(), strict=True))


def poor_with(users: dict[int, int], *, count: bool = True, time: bool = True) -> float:
    """PoW if only these impairments were there. A minute with t s of stalling has taken 60 + t s."""

    def mos(number: int) -> float:
        n, t = STALLS[number][0] * count, STALLS[number][1] * time
        return video_mos(n * (60 + t) / 60, t)

    return Mixture([(mos(number), users_there) for number, users_there in users.items()], VIDEO.theta).pow


def excess_by_bins(service: Service, counts: Counts) -> Floats:
    """PoW of each group by its bins, minus that without any stall."""
    n, t = service.bins.conditions
    kernel = service.kernel(mos=service.mapping(n * (60 + t) / 60, t))
    best = kernel.distribution(histogram(service.bins.size, {0: 1})).pow
    return kernel.distribution(counts).pow - best


@FEW
@given(users_of[STALL_BINS.size])
def test_a_factor_accounts_for_what_it_adds_on_average_over_both_orders(users: dict[int, int]) -> None:
    both, count, time, best = (
        poor_with(users, count=count, time=time)
        for count, time in ((True, True), (True, False), (False, True), (False, False))
    )
    parts = contributions(Attribution(VIDEO), histogram(STALL_BINS.size, users), both - best)
    expected = {
        "stall_count": ((count - best) + (both - time)) / 2,
        "stall_time": ((time - best) + (both - count)) / 2,
    }
    assert parts == pytest.approx(expected, abs=1e-9)


@FEW
@given(users_of[STALL_BINS.size], st.floats(0, 1))
@example({0: 1}, 1.0)
def test_the_parts_add_up_to_what_is_poor_beyond_the_best(users: dict[int, int], excess: float) -> None:
    """PoW is that of the exact conditions, which differ from their bins; no part exceeds the whole."""
    parts = contributions(Attribution(VIDEO), histogram(STALL_BINS.size, users), excess)
    assert sum(parts.values()) == pytest.approx(excess, rel=1e-12)
    assert all(0 <= part <= excess for part in parts.values())


@FEW
@given(st.lists(users_of[STALL_BINS.size], min_size=2, max_size=5))
def test_the_parts_of_groups_add_up_to_those_of_all_their_users(groups: list[dict[int, int]]) -> None:
    counts = np.concatenate([histogram(STALL_BINS.size, users) for users in groups])
    total, attribution = counts.sum(axis=0, keepdims=True), Attribution(VIDEO)
    parts = attribution.contributions(counts, excess_by_bins(VIDEO, counts))
    of_all = attribution.contributions(total, excess_by_bins(VIDEO, total))[0]
    assert counts.sum(axis=1) @ parts == pytest.approx(of_all * total.sum(), abs=1e-9)


@FEW
@given(st.integers(1, 20), st.integers(1, 61))
def test_a_factor_without_an_effect_accounts_for_nothing(n: int, slot: int) -> None:
    """Stalls of no time, time of a stall that began before the interval, and stalls that do not matter."""
    uncounted = Service("video", VIDEO_STALL.with_parameters({"count": 0.0}), 0.3)
    for service, bin_, factor in (
        (VIDEO, n * SLOTS, "stall_time"),
        (VIDEO, slot, "stall_count"),
        (uncounted, n * SLOTS + slot, "stall_count"),
    ):
        parts = contributions(Attribution(service), histogram(STALL_BINS.size, {bin_: 3}), 0.4)
        assert parts.pop(factor) == 0
        assert list(parts.values()) == [0.4]


def test_two_factors_that_are_equally_bad_alone_account_for_the_same() -> None:
    """7 stalls, or 3.5 s, by a mapping in which a second counts as two stalls."""
    service = Service("video", VIDEO_STALL.with_parameters({"count": 6.0, "time": 12.0}), 0.3)
    parts = contributions(Attribution(service), histogram(STALL_BINS.size, {7 * SLOTS + 4: 1}), 0.4)
    assert parts == pytest.approx({"stall_count": 0.2, "stall_time": 0.2}, abs=1e-12)


def test_where_no_bin_is_worse_than_the_best_the_factors_share_alike() -> None:
    parts = contributions(Attribution(VIDEO), histogram(STALL_BINS.size, {0: 5}), 0.1)
    assert parts == {"stall_count": 0.05, "stall_time": 0.05}


def test_an_impairment_that_a_mapping_likes_accounts_for_nothing() -> None:
    liked = Service("video", VIDEO_STALL.with_parameters({"count": -1.0, "floor": 1.0}), 0.3)
    parts = contributions(Attribution(liked), histogram(STALL_BINS.size, {3 * SLOTS + 30: 2}), 0.3)
    assert parts == {"stall_count": 0.0, "stall_time": 0.3}


@FEW
@given(users_of[RESPONSE_BINS.size], st.floats(0, 1))
@pytest.mark.parametrize("service", [WEB, BINOMIAL, LOW], ids=["beta", "binomial", "poor at best"])
def test_waiting_accounts_for_all_that_is_poor_where_users_wait(
    service: Service, users: dict[int, int], excess: float
) -> None:
    parts = contributions(Attribution(service), histogram(RESPONSE_BINS.size, users), excess)
    assert parts == {"response_time": excess}


def test_where_even_the_best_is_poor_to_some_that_part_is_not_attributed() -> None:
    monitor = OneShard(plan(LOW))
    monitor.apply(responses(T0, [0.0, 4.0, 8.0]), T0)
    (service,) = monitor.snapshot(T0 + 10).services
    best = LOW.kernel(mos=LOW.mapping.reach[-1:]).distribution(np.array([[1]])).pow[0]
    assert best > 0.3
    assert service.contributions[0] == pytest.approx(service.distributions[60].pow - best, abs=1e-12)


def test_measures_have_no_factors() -> None:
    attribution = Attribution(Service("voice", VOICE_G107, 0.3))
    assert attribution.factors == ()
    assert attribution.contributions(np.zeros((3, 1), np.int64), np.full(3, 0.2)).shape == (3, 0)


def test_groups_do_not_mix_and_an_empty_one_has_none() -> None:
    counts = np.zeros((3, STALL_BINS.size), np.int64)
    counts[0, 700], counts[2, [0, 900, -1]] = 4, [3, 2, 1]
    excess = np.array([0.3, np.nan, 0.2])
    attribution = Attribution(VIDEO)
    together = attribution.contributions(counts, excess)
    assert np.isnan(together[1]).all()
    for group in (0, 2):
        alone = attribution.contributions(counts[[group]], excess[[group]])[0]
        assert together[group] == pytest.approx(alone)


def test_where_nobody_is_poor_nothing_is_accounted_for() -> None:
    assert set(contributions(Attribution(VIDEO), histogram(STALL_BINS.size, {0: 5}), 0.0).values()) == {0.0}


def test_a_snapshot_tells_what_to_fix() -> None:
    """Long stalls in one region, many short ones in the other; together the factors account for the whole PoW."""
    monitor = OneShard(plan(VIDEO))
    shares_of = {"eu": {"stalls": 1, "stall_ms": 20_000}, "us": {"stalls": 18, "stall_ms": 1_000}}
    for region, stalled in shares_of.items():
        said = [Said(f"{region} {i}", T0 * 1000, (region,), play_ms=30_000, **stalled) for i in range(9)]
        monitor.apply(batch(said), T0)
    (service,) = monitor.snapshot(T0 + 10).services
    assert service.factors == ("stall_count", "stall_time")
    eu, us = service.contributions
    assert eu[1] > 4 * eu[0]
    assert us[0] > 4 * us[1]
    assert service.contributions.sum(axis=1) == pytest.approx(service.distributions[60].pow)
    assert service.excess_poor == pytest.approx(9 * service.distributions[60].pow)


@pytest.mark.parametrize("silent_s", [50, 60, 180])
def test_a_total_outage_is_explained_by_stall_duration(silent_s: int) -> None:
    """All players stall once and fall silent, some of them at their very start."""
    monitor = OneShard(plan(VIDEO))
    said = [Said(f"s{i}", T0 * 1000, ("eu",), 0, 1, 0, 1_000 * (i % 30), stalled=True) for i in range(169)]
    monitor.apply(batch(said), T0)
    (service,) = monitor.snapshot(T0 + silent_s).services
    pow_ = service.distributions[60].pow[0]
    count, time = service.contributions[0]
    assert pow_ > 0.88
    assert count + time == pytest.approx(pow_, rel=1e-12)
    assert time > 0.97 * pow_
